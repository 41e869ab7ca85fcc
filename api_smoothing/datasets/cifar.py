"""CIFAR-10's binary version: records of one label and 32×32 pixels, in .bin files.

A record is 3,073 bytes: the class number, then 1,024 red, 1,024 green and 1,024 blue values, row by row
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.labels import Names, names_in
from api_smoothing.errors import ConfigurationError

_RECORD: Final = 1 + 3 * 32 * 32
_TEST: Final = "test_batch.bin"
_NAMES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def is_cifar(folder: Path) -> bool:
    """Whether the folder is the unpacked archive: in the binary version, or in the pickled one, which is refused."""
    return any(_batches(folder)) or (folder / "data_batch_1").is_file()


def read_cifar(place: Path, numbered: Names) -> DataSet:
    """The images of a .bin file, or of the archive's folder: its test set, else all batches in it.

    Classes have the names in batches.meta.txt beside the file, else the ten usual ones. Reads the labels and no
    image. Raises ConfigurationError for a file of another length, or with labels of other classes.
    """
    files, told = [place], list[str]()
    if place.is_dir():
        files = _batches(place)
        if not files:
            raise ConfigurationError(
                f"{place}: CIFAR-10's Python version, whose pickles could run code: get the binary version"
            )
        if place / _TEST in files:
            files, told = [place / _TEST], [f"{place}: the test set, {_TEST}; name a file for another batch"]
    meta = files[0].parent / "batches.meta.txt"
    names = numbered or names_in([line for line in _meta(meta) if line.strip()] or _NAMES)
    examples = [example for file in files for example in _records(file, names)]
    return assembled(str(place), examples, classes=tuple(names.values()), told=told)


def _batches(folder: Path) -> list[Path]:
    names = [f"data_batch_{number}.bin" for number in range(1, 6)]
    return [folder / name for name in (*names, _TEST) if (folder / name).is_file()]


def _meta(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _records(file: Path, names: Names) -> list[Example]:
    size = file.stat().st_size
    if size == 0 or size % _RECORD:
        raise ConfigurationError(
            f"{file}: {size:,} bytes are no whole number of CIFAR-10's records of {_RECORD:,}: get the file again"
        )
    records = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, _RECORD)
    labels = records[:, 0].tolist()
    strange = next((row for row, label in enumerate(labels) if label not in names), None)
    if strange is not None:
        raise ConfigurationError(
            f"{file}: record {strange} has the label {labels[strange]}; there are {len(names)} classes: not CIFAR-10"
        )
    return [
        Example(id=f"{file.stem}/{row}", image=partial(_image, records, row), truth=names[label])
        for row, label in enumerate(labels)
    ]


def _image(records: NDArray[np.uint8], row: int) -> NDArray[Any]:
    return np.array(records[row, 1:]).reshape(3, 32, 32).transpose(1, 2, 0)
