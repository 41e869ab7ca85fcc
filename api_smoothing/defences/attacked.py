"""Images that were attacked, kept beside a run file: an attack is made once, however many defences are added later."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from api_smoothing.version import __version__


class Attacked:
    """The attacked images of each batch, in `folder`, as 8-bit numbers; nothing is kept where it is None.

    `settings` are all that decides what an attack makes, but for what a `key` says. A file that is damaged, or of
    another shape, counts as missing: what it held can be made again.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = json.dumps({"version": __version__, **settings}, sort_keys=True, default=str)

    def read(self, key: Sequence[Any], like: Tensor) -> Tensor | None:
        """The images (N,3,H,W) of [0,1] that were written under `key`, of the shape, type and device of `like`."""
        if self._folder is None:
            return None
        try:
            found = np.load(self._file(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.shape != tuple(like.shape):
            return None
        return torch.from_numpy(found).to(like) / 255

    def write(self, key: Sequence[Any], images: Tensor) -> None:
        """Keep `images` (N,3,H,W) of [0,1] under `key`, whole or not at all; not if they are off the 8-bit grid."""
        levels = (images * 255).round()
        if self._folder is None or not torch.equal(levels / 255, images):
            return
        self._folder.mkdir(exist_ok=True)
        draft = self._file(key).with_suffix(f".{os.getpid()}")
        with draft.open("wb") as file:
            np.save(file, levels.to(torch.uint8).cpu().numpy(), allow_pickle=False)
        draft.replace(self._file(key))

    def _file(self, key: Sequence[Any]) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(f"{self._settings} {list(key)!r}".encode())
        return self._folder / f"{digest.hexdigest()[:32]}.npy"
