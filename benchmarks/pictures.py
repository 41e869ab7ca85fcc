"""Images to measure with: CIFAR-10 as it is published, a folder of pictures, or images made here.

Nothing is fetched and nothing is unpickled: of torchvision's folder the pickled batches are read as the list of
literals that they are, see `python_batch`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import decoded, load_images, pictures_in

Images = list[NDArray[np.uint8]]

_PIXELS: Final = 3 * 32 * 32
_KEYS: Final = frozenset({"batch_label", "labels", "data", "filenames"})
#: Where the test images lie below the folder that was given: the archives' own folders, and torchvision's root.
_BELOW: Final = (".", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar10")


def pictures(folder: Path | None, count: int) -> tuple[Images, str]:
    """(`count` images (H,W,3) uint8, what they are). Fewer where `folder` holds fewer. Raises ConfigurationError."""
    if folder is None:
        return made(count), "images made here"
    for place in (folder / name for name in _BELOW):
        if (place / "test_batch").is_file():
            images, _ = python_batch(place / "test_batch")
            return list(images[:count]), "CIFAR-10 test images"
        if any(place.glob("test_batch*.bin")) or any(place.glob("test_*.webp")):
            return list(load_images(place, "test").images[:count].numpy()), "CIFAR-10 test images"
    files = pictures_in(folder)
    if not files:
        raise ConfigurationError(
            f"{folder} holds neither CIFAR-10's test images nor pictures; give another --data"
        )
    return [decoded(file) for file in files[:count]], f"pictures of {folder.name}"


def made(count: int, side: int = 32) -> Images:
    """Smooth blots of colour, the same ones every time."""
    from PIL import Image

    found = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        found.append(np.array(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)))
    return found


def python_batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N,32,32,3) and labels (N,) of one of CIFAR-10's Python batches, of which nothing is executed.

    Such a batch is a pickle of one dictionary: "labels" has N numbers, "data" an array whose bytes are one literal, N
    rows of 3,072 (R, G, B planes). The pickle's instructions are read in order (`pickletools`), and the literals
    after each key are taken. Whatever else it says is not looked at. Raises ConfigurationError for any other file.
    """
    try:
        labels, raw = _literals(file)
    except (ValueError, EOFError, KeyError) as error:
        raise ConfigurationError(
            f"{file} is none of CIFAR-10's batches ({error}); fetch the archive again"
        ) from error
    if not labels or len(raw) != len(labels) * _PIXELS or not set(labels) <= set(range(10)):
        raise ConfigurationError(
            f"{file} is none of CIFAR-10's batches: {len(labels)} labels, {len(raw)} bytes; fetch the archive again"
        )
    rows = np.frombuffer(raw, np.uint8).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(rows.transpose(0, 2, 3, 1)), np.array(labels, np.int64)


def _literals(file: Path) -> tuple[list[int], bytes]:
    labels: list[int] = []
    data = b""
    for key, value in _by_key(file):
        if key == "labels" and isinstance(value, int):
            labels.append(value)
        elif key == "data" and isinstance(value, bytes) and len(value) >= _PIXELS:
            data += value
    return labels, data


def _by_key(file: Path) -> Iterator[tuple[str, int | bytes]]:
    """The literals after each of the dictionary's keys."""
    key = ""
    with file.open("rb") as stream:
        for operation, value, _ in pickletools.genops(stream):
            if "PUT" in operation.name or "GET" in operation.name or operation.name == "PROTO":
                continue  # their numbers are places in the pickle's memory
            if isinstance(value, str):
                if value in _KEYS:
                    key = value
                    continue
                value = value.encode("latin-1", "replace")
            if isinstance(value, int | bytes):
                yield key, value
