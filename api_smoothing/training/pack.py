"""Packs: training images in one small file, and reading them; `packing` writes them.

A pack is a safetensors file: nothing in it runs. `data` (uint8) holds encoded pictures one after the other, `offsets`
(int64) where each begins and the last ends; the header says which are of which set, how large each is before it is
decoded, and the sha256 of `data`.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from api_smoothing.errors import ConfigurationError

SCHEMA: Final = "api-smooth pack/1"
HEADER: Final = "pack"
HELD_OUT: Final = "held-out"
#: What the names of sets of own classes begin with.
OWN: Final = "classes of "

#: Tiles a row, and a column, of a sheet.
ACROSS: Final = 32
FORMATS: Final = ("AVIF", "WEBP", "JPEG", "PNG")

_MOST_BYTES: Final = 8e9  # of a set, decoded
_MOST_SIDE: Final = 4096

#: What a file that we did not write makes the code that reads it raise.
_UNREADABLE: Final = (
    SafetensorError,
    OSError,
    KeyError,
    TypeError,
    ValueError,
    SyntaxError,
    RecursionError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """A set of a pack: `images` (N,side,side,3) uint8, `labels` (N,) where they are known, and whence they are."""

    images: NDArray[np.uint8]
    labels: NDArray[Any] | None
    side: int
    name: str
    archives: list[str]


def read_set(file: Path, name: str) -> Packed:
    """The set `name` ("train", "test", `HELD_OUT`) of the pack `file`.

    Raises ConfigurationError where it is not as it was written, also before a picture that is larger than the header
    says is decoded.
    """
    try:
        with safe_open(file, framework="np") as source:
            head = json.loads((source.metadata() or {})[HEADER])
            data, offsets = source.get_tensor("data"), source.get_tensor("offsets").tolist()
            labelled = f"labels.{name}" in source.keys()  # noqa: SIM118
            labels = source.get_tensor(f"labels.{name}") if labelled else None
        if head["schema"] != SCHEMA or hashlib.sha256(data.tobytes()).hexdigest() != head["sha256"]:
            raise ValueError("its digest")
        if name not in head["sets"]:
            raise ConfigurationError(
                f"the pack {file} holds no {name} images; it has {', '.join(head['sets'])}"
            )
        facts = head["sets"][name]
        side, count, tiles = _bounded(facts)
        first, stop = facts["files"]
        files = [
            data[a:b].tobytes()
            for a, b in zip(offsets[first:stop], offsets[first + 1 : stop + 1], strict=True)
        ]
        images = _images(files, side, count, tiles)
        if labels is not None and labels.shape != (count,):
            raise ValueError("its labels")
        return Packed(
            images=images, labels=labels, side=side, name=str(facts["name"]), archives=[*head["archives"]]
        )
    except ConfigurationError:
        raise
    except _UNREADABLE as error:
        why = " ".join(f"{error}".split())[:100]
        raise ConfigurationError(
            f"{file} is no whole pack ({why}); write it with api-smooth train pack"
        ) from error


def _bounded(facts: Any) -> tuple[int, int, bool]:
    """(side, count, whether they are tiles of sheets), so few that they can be held."""
    side, count, tiles = facts["side"], facts["count"], facts["tiles"]
    if not (type(side) is int and type(count) is int and 1 <= side <= _MOST_SIDE and count >= 1):
        raise ValueError("its sizes")
    if 3 * side * side * count > _MOST_BYTES:
        raise ValueError("more pixels than are read")
    return side, count, bool(tiles)


def _images(files: list[bytes], side: int, count: int, tiles: bool) -> NDArray[np.uint8]:
    images = np.empty((count, side, side, 3), np.uint8)
    done = 0
    for data in files:
        if done == count:
            raise ValueError("more pictures than it says")
        if not tiles:
            images[done] = _decoded(data, side, side)
            done += 1
            continue
        few = min(count - done, ACROSS * ACROSS)
        down = -(-few // ACROSS)
        images[done : done + few] = cut(_decoded(data, ACROSS * side, down * side), side)[:few]
        done += few
    if done != count:
        raise ValueError("fewer pictures than it says")
    return images


def _decoded(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    Image.init()
    known: list[str] = [name for name in FORMATS if name in Image.OPEN]  # AVIF from Pillow 11.3 on
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data), formats=known)
    if image.size != (width, height):  # told before anything is decoded
        raise ValueError(f"a picture of {image.width}×{image.height} pixels, not {width}×{height}")
    return np.asarray(image.convert("RGB"))


def cut(sheet: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The tiles (N,side,side,3) of a sheet (H,W,3), row by row."""
    height, width, _ = sheet.shape
    tiles = sheet.reshape(height // side, side, width // side, side, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, side, side, 3)
