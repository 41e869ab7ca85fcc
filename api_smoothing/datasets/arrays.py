"""Images and labels in one .npz archive."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.columns import IMAGES, LABELS, column, guessed
from api_smoothing.datasets.labels import Names, truth_of
from api_smoothing.errors import ConfigurationError, ImageError

MAX_BYTES: Final = 16 * 2**30  # of an array, unpacked
#: Where images of this name have labels of that one.
_TOGETHER: Final = {"x_test": "y_test", "test_images": "test_labels", "x": "y", "arr_0": "arr_1"}
_DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an array is, without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Images:
    """The array of images: read whole when the first one is asked for, then kept."""

    def __init__(self, file: Path, name: str, channels_first: bool) -> None:
        """Nothing is read here."""
        self._file, self._name, self._channels_first = file, name, channels_first
        self._values: NDArray[Any] | None = None
        self._reading = threading.Lock()

    def __call__(self, number: int) -> NDArray[Any]:
        """Image `number`, (H, W, 3) or (H, W), as it is stored. Raises ImageError where the archive is damaged."""
        with self._reading:
            if self._values is None:
                try:
                    self._values = _array(self._file, self._name)
                except ConfigurationError as error:
                    raise ImageError(str(error)) from None
        image: NDArray[Any] = self._values[number]
        return image.transpose(1, 2, 0) if self._channels_first else image


def read_arrays(file: Path, numbered: Names, *, images: str | None, labels: str | None) -> DataSet:
    """The images of an archive, with the labels beside them, if any; ids are row numbers. Nothing is unpickled.

    Images are (N, H, W, 3), (N, H, W, 1), (N, H, W), or (N, 3, H, W), which is told; uint8, uint16 or float. Labels
    are N numbers or texts. Which arrays are meant is guessed, and told, where it is not given. Reads the labels and
    no image. Raises ConfigurationError for arrays that are not there, or are none of these.
    """
    heads, where = _heads(file), str(file)
    names = list(heads)
    of_images = column(names, images, IMAGES, "array", where)
    if of_images is None:
        raise ConfigurationError(
            f"{file}: no images among {', '.join(names) or 'no arrays'}: name them with column_path (--column-path)"
        )
    together = _TOGETHER.get(of_images.casefold())
    of_labels = column(names, labels, (together, *LABELS) if together else LABELS, "array", where)
    told = [guessed(names, of_images, of_labels, "array", where)] if images is None or labels is None else []
    count, channels_first = _layout(heads[of_images], f"{file}: {of_images}")
    if channels_first:
        told.append(f"{file}: {of_images} has its channels first, {heads[of_images].shape}, and is turned")
    truths = [None] * count if of_labels is None else _truths(file, of_labels, heads, count, numbered)
    pictures = Images(file, of_images, channels_first)
    examples = [
        Example(id=str(number), image=partial(pictures, number), truth=truth)
        for number, truth in enumerate(truths)
    ]
    return assembled(where, examples, classes=tuple(numbered.values()), told=told)


def _layout(head: Head, where: str) -> tuple[int, bool]:
    """How many images, and whether their channels come first."""
    shape, kind = head.shape, head.dtype
    if kind.kind != "f" and kind.name not in ("uint8", "uint16"):
        raise ConfigurationError(f"{where}: {kind} values are ambiguous: save uint8, or float in [0,1]")
    channels_first = len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3)
    if not channels_first and not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise ConfigurationError(f"{where}: shape {shape} is none of images: save (N, H, W, 3) or (N, H, W)")
    return shape[0], channels_first


def _truths(
    file: Path, name: str, heads: Mapping[str, Head], count: int, numbered: Names
) -> list[str | None]:
    head, where = heads[name], f"{file}: {name}"
    if head.shape not in ((count,), (count, 1)):
        raise ConfigurationError(f"{where}: shape {head.shape} is not one label for each of {count:,} images")
    if head.dtype.kind not in "iuUSb":
        raise ConfigurationError(f"{where}: {head.dtype} values are no labels: save whole numbers or text")
    values = _array(file, name).reshape(count).tolist()
    return [truth_of(value, numbered, f"{where}, row {row}") for row, value in enumerate(values)]


def _heads(file: Path) -> dict[str, Head]:
    """The arrays of the archive by name. Raises ConfigurationError for what is none, or could run code."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _head(archive, name, file) for name in members}
    except _DAMAGE as error:
        raise _damaged(file, error) from None


def _head(archive: zipfile.ZipFile, name: str, file: Path) -> Head:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in readers:
            raise ValueError(f"{name} is of version {version}")
        shape, _, dtype = readers[version](member)
        size = archive.getinfo(name).file_size - member.tell()
    where = f"{file}: {name.removesuffix('.npy')}"
    if dtype.hasobject:
        raise ConfigurationError(
            f"{where}: holds pickled objects, which could run code: save numbers or text"
        )
    expected = dtype.itemsize * int(np.prod(shape, dtype=object))
    if expected != size:
        raise ConfigurationError(
            f"{where}: cut short or padded ({size:,} bytes for {expected:,}): save it again"
        )
    if expected > MAX_BYTES:
        raise ConfigurationError(
            f"{where}: {expected / 2**30:.0f} GiB unpacked: save the images as files instead"
        )
    return Head(shape=shape, dtype=dtype)


def _array(file: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            values: NDArray[Any] = archive[name]
            return values
    except (*_DAMAGE, MemoryError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: BaseException) -> ConfigurationError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return ConfigurationError(
        f"{file}: no .npz archive that can be read ({reason}): save it again with numpy.savez"
    )
