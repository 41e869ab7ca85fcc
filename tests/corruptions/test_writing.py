"""Corrupted copies on disk are a data set again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.corruptions import corrupt, write
from api_smoothing.corruptions.writing import file_names
from api_smoothing.datasets import Example, open_dataset
from api_smoothing.datasets.base import assembled
from api_smoothing.errors import ConfigurationError

Pixels = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, small: Pixels) -> Path:
    """Two classes; of the three images one is broken."""
    for number, name in enumerate(["cat/a.png", "cat/b.png", "dog/a.png"]):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(small, number, 0)).save(path)
    (tmp_path / "set/cat/b.png").write_bytes(b"broken")
    return tmp_path / "set"


def test_a_folder_of_classes_stays_one(folder: Path, tmp_path: Path) -> None:
    """The copies are the corrupted pixels; the broken image is told, and the others are written."""
    told: list[str] = []
    failed = write(open_dataset(folder), ["fog", "snow"], [2, 5], tmp_path / "out", tell=told.append)
    assert list(failed) == ["cat/b.png"]
    assert told == list(failed.values())
    for name in ("fog", "snow"):
        for severity in (2, 5):
            data = open_dataset(tmp_path / "out" / name / str(severity))
            assert [(e.id, e.truth) for e in data] == [("cat/a.png", "cat"), ("dog/a.png", "dog")]
            wanted = corrupt(folder / "dog/a.png", name, severity)
            assert np.array_equal(np.asarray(Image.open(str(data[1].path))), wanted)


def test_labels_that_are_no_folders_are_in_a_table(small: Pixels, tmp_path: Path) -> None:
    """It opens as a data set with the same labels."""
    data = open_dataset([(small, "cat"), (np.roll(small, 1, 0), "dog"), (np.roll(small, 2, 0), None)])
    write(data, ["fog"], [1], tmp_path)
    again = open_dataset(tmp_path / "fog/1/labels.csv")
    assert [(e.id, e.truth) for e in again] == [("0.png", "cat"), ("1.png", "dog"), ("2.png", None)]


def test_files_stay_inside_the_folder_and_apart() -> None:
    """Whatever ids are: absolute, above, equal but for the ending or for case."""
    ids = ["/etc/passwd", "../../x.jpg", "y.jpg", "y.png", "Z.png", "z.webp", "v1.2", ".."]
    names = file_names(assembled("set", [Example(id=one, image="x") for one in ids]))
    assert list(names.values()) == [
        "etc/passwd.png", "x.png", "y.jpg.png", "y.png.png", "Z.png.png", "z.webp.png", "v1.2.png", "image.png",
    ]  # fmt: skip
    names = file_names(assembled("set", [Example(id=one, image="x") for one in ("a", "../a")]))
    assert list(names.values()) == ["0.png", "1.png"]


def test_no_image_of_the_set_is_written_over(small: Pixels, tmp_path: Path) -> None:
    """It is refused in one line, and the image is as it was."""
    place = tmp_path / "fog" / "1"
    place.mkdir(parents=True)
    Image.fromarray(small).save(place / "a.png")
    before = (place / "a.png").read_bytes()
    with pytest.raises(ConfigurationError, match="write to another folder"):
        write(open_dataset(place), ["fog"], [1], tmp_path)
    assert (place / "a.png").read_bytes() == before


def test_copies_do_not_become_images_of_the_set(folder: Path, tmp_path: Path) -> None:
    """Not in the folder itself nor below it: the next command would corrupt and count them."""
    count = len(open_dataset(folder))
    for place in (folder, folder / "foggy"):
        with pytest.raises(ConfigurationError, match="write beside it"):
            write(open_dataset(folder), ["fog"], [1], place)
    assert len(open_dataset(folder)) == count
    write(open_dataset(folder / "cat/a.png"), ["fog"], [1], folder)  # an image is no folder of them
