"""Archives of arrays: layouts, labels, and what is refused before an image is read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import load


def save(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def test_images_and_labels_by_their_usual_names(tmp_path: Path, pictures: NDArray[np.uint8]) -> None:
    """The test half is taken where there are two, and what else is there is told."""
    path = save(tmp_path, x_train=pictures[:1], y_train=[1], x_test=pictures, y_test=np.arange(6)[:, None])
    data = open_dataset(path, classes=list("abcdef"))
    assert [e.truth for e in data] == list("abcdef")
    assert [e.id for e in data] == list("012345")
    assert data.told == (
        f"{path}: images from array 'x_test', labels from 'y_test' (also there: x_train, y_train)",
    )
    assert load(data[3].read()).digest == load(pictures[3]).digest


@pytest.mark.parametrize("layout", ["channels first", "grey", "one channel", "unit floats", "16 bits"])
def test_layouts(tmp_path: Path, pictures: NDArray[np.uint8], layout: str) -> None:
    """An image is read as it would be from the array alone; channels that come first are turned, and told."""
    stored, alone = {
        "channels first": (pictures.transpose(0, 3, 1, 2), pictures[2]),
        "grey": (pictures[..., 0], pictures[2, :, :, 0]),
        "one channel": (pictures[..., :1], pictures[2, :, :, 0]),
        "unit floats": (pictures.astype(np.float32) / 255, pictures[2]),
        "16 bits": (pictures.astype(np.uint16) * 257, pictures[2]),
    }[layout]
    data = open_dataset(save(tmp_path, images=stored, labels=["a"] * 6))
    assert load(data[2].read()).digest == load(alone).digest
    assert any("channels first" in line for line in data.told) == (layout == "channels first")


def test_no_image_is_read_before_it_is_asked_for(
    tmp_path: Path, pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening reads heads and labels; the images are read once, however many are asked for."""
    path, read = save(tmp_path, images=pictures, labels=np.arange(6)), list[str]()
    whole = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, key: (read.append(key), whole(self, key))[1]
    )
    data = open_dataset(path)
    assert read == ["labels"]
    for example in data:
        example.read()
    assert read == ["labels", "images"]


def test_arrays_that_are_named(tmp_path: Path, pictures: NDArray[np.uint8]) -> None:
    """Names are taken exactly, and nothing is told."""
    path = save(tmp_path, p=pictures, q=[str(k) for k in range(6)])
    data = open_dataset(path, column_path="p", column_label="q")
    assert ([e.truth for e in data], data.told) == (list("012345"), ())
    with pytest.raises(ConfigurationError, match=r"no images among p, q: name them with column_path"):
        open_dataset(path)


IMAGES = np.zeros((3, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": [1, 2, 3]}, "no images among labels"),
        ({}, "no images among no arrays"),
        ({"images": IMAGES.astype(np.int64)}, "images: int64 values are ambiguous"),
        ({"images": IMAGES, "labels": [1, 2]}, r"labels: shape \(2,\) is not one label for each of 3 images"),
        (
            {"images": IMAGES, "labels": np.eye(3)},
            r"labels: shape \(3, 3\) is not one label for each of 3 images",
        ),
        ({"images": IMAGES, "labels": [0.5, 1, 2]}, "labels: float64 values are no labels"),
        ({"images": IMAGES[0, 0]}, r"shape \(4, 3\) is none of images"),
        ({"images": np.zeros((3, 5, 4, 4), np.uint8)}, r"shape \(3, 5, 4, 4\) is none of images"),
        ({"images": IMAGES[:0]}, "no images in this data set"),
    ],
)
def test_arrays_that_are_no_data_set(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """Each is refused in one line when the archive is opened."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_dataset(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


class Exploding:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.exit, ("unpickled",))


@pytest.mark.parametrize("name", ["images", "labels", "other"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    """An array of objects is refused by its head, wherever it stands."""
    bad = np.array([Exploding()] * 3, dtype=object)
    with pytest.raises(ConfigurationError, match=f"{name}: holds pickled objects, which could run code"):
        open_dataset(save(tmp_path, **{"images": IMAGES, "labels": [0, 1, 2], name: bad}))


def test_archives_that_are_damaged(tmp_path: Path) -> None:
    """No archive, one that is cut, a head that promises more than there is: one line; nothing is allocated."""
    whole = save(tmp_path, images=IMAGES).read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "bad.npz").write_bytes(data)
        with pytest.raises(ConfigurationError, match=r"no \.npz archive that can be read"):
            open_dataset(tmp_path / "bad.npz")
    head = (
        whole[whole.index(b"\x93NUMPY") :]
        .split(b"\n", 1)[0]
        .replace(b"(3, 4, 4, 3)", b"(9999999999, 9999999, 3)")
    )
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr(
            "images.npy", head[:8] + len(head[10:] + b"\n").to_bytes(2, "little") + head[10:] + b"\n"
        )
    with pytest.raises(ConfigurationError, match="images: cut short or padded"):
        open_dataset(tmp_path / "bad.npz")


def test_damage_that_only_reading_finds_is_an_image_error(
    tmp_path: Path, pictures: NDArray[np.uint8]
) -> None:
    """A flipped byte among the pixels is found by the archive's checksum, in one line."""
    path = save(tmp_path, images=pictures)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    opened = open_dataset(path)
    with pytest.raises(ImageError, match=r"no \.npz archive that can be read"):
        opened[0].read()
