"""Folders that Hugging Face's `datasets` wrote; the tests that need the package skip without it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError, MissingExtraError
from api_smoothing.images import load


def png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    """Six images, the second one broken, with classes "cat" and "dog" and a column more."""
    package = pytest.importorskip("datasets")
    data = [{"bytes": b"broken" if k == 1 else png(p), "path": None} for k, p in enumerate(pictures)]
    kinds = {
        "img": package.Image(),
        "animal": package.ClassLabel(names=["cat", "dog"]),
        "n": package.Value("int64"),
    }
    rows = {"img": data, "animal": [0, 1, 0, 1, -1, 1], "n": list(range(6))}
    package.Dataset.from_dict(rows, features=package.Features(kinds)).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_folder(saved: Path, pictures: NDArray[np.uint8]) -> None:
    """Columns are known by their type, images are read as those of files are, a broken one fails alone."""
    data = open_dataset(saved)
    assert [e.truth for e in data] == ["cat", "dog", "cat", "dog", None, "dog"]
    assert data.classes == ("cat", "dog")
    assert f"{saved}: images from column 'img', labels from 'animal' (also there: n)" in data.told
    assert load(data[3].read()).digest == load(pictures[3]).digest
    with pytest.raises(ImageError):
        load(data[1].read())


def test_an_object_of_the_package(saved: Path) -> None:
    """It need not be saved, and its format does not matter."""
    package: Any = pytest.importorskip("datasets")
    loaded = package.load_from_disk(str(saved)).with_format("numpy")
    assert [e.truth for e in open_dataset(loaded, limit=3)] == ["cat", "dog", "cat"]


def test_a_saved_folder_that_is_damaged(saved: Path) -> None:
    """One line, whatever the package raises."""
    for file in saved.glob("*.arrow"):
        file.write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="no data set that can be read") as caught:
        open_dataset(saved)
    assert "\n" not in str(caught.value)


def test_a_folder_of_splits_asks_for_one(tmp_path: Path) -> None:
    """It names one of them; the package is not needed to say so."""
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(ConfigurationError, match=r"holds splits: name one, as .*/test"):
        open_dataset(tmp_path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command that installs it."""
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[datasets\]'"):
        open_dataset(tmp_path)
