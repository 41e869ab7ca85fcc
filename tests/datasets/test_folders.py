"""Folders: classes, flat ones, and what lies in them that is no image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import load

Fill = Callable[..., Path]


def test_a_folder_of_classes_gives_labels(fill: Fill) -> None:
    """The label is the first folder's name, however deep; ids are paths below the folder, in order."""
    data = open_dataset(fill("dog/b.png", "cat/deep/er/a.png", "cat/b.png", "c.png"))
    assert [(e.id, e.truth) for e in data] == [
        ("c.png", None),
        ("cat/b.png", "cat"),
        ("cat/deep/er/a.png", "cat"),
        ("dog/b.png", "dog"),
    ]
    assert data.classes == ("cat", "dog")
    assert [line.split(": ", 1)[-1] for line in data.told] == [
        "images lie deeper than one folder; their label is the first one's name",
        "1 of 4 images have no label",
    ]


def test_a_flat_folder_has_no_labels(fill: Fill) -> None:
    """Images are what `images.load` reads from the path."""
    folder = fill("b.png", "a.png")
    data = open_dataset(folder)
    assert [(e.id, e.truth) for e in data] == [("a.png", None), ("b.png", None)]
    assert load(data[0].read()).digest == load(folder / "a.png").digest
    assert data.told == ()


def test_what_is_no_image_is_passed_over_and_told_once(fill: Fill) -> None:
    """Hidden files, other files and links to folders are counted in one sentence."""
    folder = fill("cat/a.png", "cat/._a.png", "cat/.DS_Store", "cat/notes.txt", ".hidden/b.png")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    data = open_dataset(folder)
    assert [e.id for e in data] == ["cat/a.png"]
    assert data.told == (f"{folder}: 4 files are passed over (1 .txt, 2 hidden, 1 link to a folder)",)


def test_splits_are_no_classes(fill: Fill) -> None:
    """A folder whose folders are called train and val asks for one of them."""
    with pytest.raises(ConfigurationError, match=r"splits, not classes \(train, val\): name one, as .*/val"):
        open_dataset(fill("train/cat/a.png", "val/cat/a.png"))


def test_a_folder_without_images_is_one_line(fill: Fill, tmp_path: Path) -> None:
    """An empty one, and one in which other things lie, which are named."""
    with pytest.raises(ImageError, match=r"no images in this folder \(1 file is passed over \(1 \.txt\)\)"):
        open_dataset(fill("notes.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no images in this folder: name one"):
        open_dataset(tmp_path / "empty")


def test_a_loop_of_links_between_files_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    """It is found when it is read, in one line, and the others are there."""
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "c.png")
    data = open_dataset(tmp_path)
    assert [e.id for e in data] == ["a.png", "b.png", "c.png"]
    with pytest.raises(ImageError):
        load(data[0].read())
    assert load(data[2].read()).size == (4, 4)


def test_a_name_that_is_not_utf8_has_an_id_that_is(fill: Fill) -> None:
    """The id can be written to any file; the path stays what opens it."""
    folder = fill("a.png")
    try:
        (folder / "a.png").rename(os.fsdecode(bytes(folder) + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system takes no such name")
    (example,) = open_dataset(folder)
    assert example.id == "\\xff.png"
    assert load(example.read()).size == (32, 32)


def test_ten_thousand_files_are_opened_without_reading_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty files do: nobody looks into them. Opening takes seconds, also where a sample is drawn."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(5_000):
            (tmp_path / name / f"{number:05d}.jpg").touch()
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("an image was opened"))
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: pytest.fail("a file was opened"))
    start = time.monotonic()
    assert len(open_dataset(tmp_path)) == 10_000
    assert len(open_dataset(tmp_path, sample=100, sample_seed=1)) == 100
    assert time.monotonic() - start < 20
