"""CIFAR-10's binary version: pixels as they were, and files that are something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import load

Write = Callable[..., Path]


def test_a_file_gives_pixels_and_names(cifar_file: Write, pictures: NDArray[np.uint8]) -> None:
    """The images are those that were written; labels have the ten usual names."""
    data = open_dataset(cifar_file())
    assert [e.truth for e in data] == ["airplane", "automobile", "bird", "cat", "deer", "dog"]
    assert [e.id for e in data][:2] == ["test_batch/0", "test_batch/1"]
    assert len(data.classes) == 10
    for example, picture in zip(data, pictures, strict=True):
        assert load(example.read()).digest == load(picture).digest


def test_a_folder_is_its_test_set_or_all_batches(cifar_file: Write) -> None:
    """Which one is told; names are read from the file beside."""
    folder = cifar_file("data_batch_1.bin").parent
    cifar_file("data_batch_2.bin")
    assert len(open_dataset(folder)) == 12
    cifar_file("test_batch.bin")
    (folder / "batches.meta.txt").write_text("\n".join(f"class {k}" for k in range(10)) + "\n\n")
    data = open_dataset(folder)
    assert data.told == (f"{folder}: the test set, test_batch.bin; name a file for another batch",)
    assert [e.truth for e in data][:2] == ["class 0", "class 1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 5000}, "5,000 bytes are no whole number of CIFAR-10's records of 3,073"),
        ({"size": 0}, "0 bytes are no whole number"),
        ({"row": 2, "label": 77}, "record 2 has the label 77; there are 10 classes: not CIFAR-10"),
    ],
)
def test_a_file_of_something_else(cifar_file: Write, change: dict[str, int], message: str) -> None:
    """A wrong length and a label of no class are one line that names the file."""
    with pytest.raises(ConfigurationError, match=message):
        open_dataset(cifar_file(**change))


def test_the_pickled_version_is_refused(tmp_path: Path) -> None:
    """It could run code, and is never opened."""
    (tmp_path / "data_batch_1").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match="pickles could run code: get the binary version"):
        open_dataset(tmp_path)
