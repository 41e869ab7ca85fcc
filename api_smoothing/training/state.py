"""A training's state on disk: a safetensors file in parts of at most 16 MB, and a manifest that pins all of it.

A new state has new names until the manifest is put in the place of the old one, so that a kill at any moment leaves
one of the two whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from api_smoothing.digests import not_finite
from api_smoothing.errors import ConfigurationError, WeightsError

MANIFEST: Final = "state.json"
PART: Final = 16_000_000  # bytes

_SCHEMA: Final = "api-smooth training state/1"
_NAME: Final = re.compile(r"state-[0-9a-f]{16}\.\d{3}")


def write_state(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Put `tensors` and `meta` (of JSON) in the place of what `folder` holds.

    Raises ConfigurationError where a number is not finite or the disk does not take it; the old state then stays.
    """
    if name := not_finite(tensors):
        raise ConfigurationError(
            f"{name} is not finite any more, and is not kept; lower the learning rate, or clip more"
        )
    data = save({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    pieces = {
        f"state-{digest[:16]}.{at // PART:03d}": data[at : at + PART] for at in range(0, len(data), PART)
    }
    facts = {
        "schema": _SCHEMA,
        "sha256": digest,
        "parts": [
            {"file": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()}
            for name, piece in pieces.items()
        ],
        "state": dict(meta),
    }
    text = json.dumps(facts | {"digest": _digest(facts)}, indent=1)
    for name, piece in pieces.items():
        replace(folder / name, piece)
    replace(folder / MANIFEST, text.encode())
    for old in folder.glob("state-*"):
        if old.name not in pieces:
            old.unlink(missing_ok=True)


def read_state(folder: Path, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors under `prefix`., what the run wrote about itself) of the state in `folder`. Raises WeightsError."""
    tensors, meta = read_whole(folder)
    return under(tensors, prefix), meta


def read_whole(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(all tensors, what the run wrote about itself) of the state in `folder`. Raises WeightsError."""
    file = folder / MANIFEST
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        digest = facts.pop("digest")
        if facts["schema"] != _SCHEMA or digest != _digest(facts):
            raise ValueError("digest")
        data = b"".join(_part(folder, part) for part in facts["parts"])
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError("sha256")
        tensors = load(data)
        if not_finite(tensors):
            raise ValueError("not finite")
        return tensors, facts["state"]
    except FileNotFoundError as error:
        if error.filename == str(file):
            raise WeightsError(f"no checkpoint {file}; name a run that has begun") from None
        raise _damaged(file) from error
    except (SafetensorError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(file) from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix` and a dot, without these."""
    head = f"{prefix}."
    return {name.removeprefix(head): value for name, value in tensors.items() if name.startswith(head)}


def replace(file: Path, data: bytes) -> None:
    """Make `data` all that `file` holds, at once. Raises ConfigurationError where the disk does not take it."""
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigurationError(
            f"cannot write {file} ({error.strerror}); make room, or give another --out: a training goes on from its "
            "last checkpoint"
        ) from error


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Nobody else trains into `folder` in the block. Raises ConfigurationError where somebody does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise ConfigurationError(f"cannot write {folder} ({error.strerror}); give another --out") from error
    with lock:
        try:
            import fcntl
        except ImportError:  # a platform without it; two trainings in one folder are then the user's to avoid
            pass
        else:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigurationError(
                    f"another training is writing {folder}; wait for its end, or give another --out"
                ) from None
        yield


def _part(folder: Path, part: Mapping[str, Any]) -> bytes:
    name = str(part["file"])
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        raise ValueError("sha256")
    return data


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _damaged(file: Path) -> WeightsError:
    return WeightsError(f"the checkpoint {file} is damaged; delete it, or give --no-resume")
