"""Python objects as data sets: lists, generators, what torchvision has, MAITE's protocol."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import load

Pictures = NDArray[np.uint8]


def test_pairs_and_images_of_any_kind(tmp_path: Path, pictures: Pictures) -> None:
    """Arrays, pictures, tensors and paths, with names, numbers or nothing; ids are numbers, or the path."""
    Image.fromarray(pictures[3]).save(tmp_path / "d.png")
    mixed = [
        (pictures[0], "a"),
        (Image.fromarray(pictures[1]), np.int64(2)),
        (torch.from_numpy(pictures[2]).permute(2, 0, 1), torch.tensor(1)),
        [str(tmp_path / "d.png"), None],
        pictures[4],
    ]
    data = open_dataset(mixed)
    assert [e.truth for e in data] == ["a", "2", "1", None, None]
    assert [e.id for e in data] == ["0", "1", "2", str(tmp_path / "d.png"), "4"]
    for example, picture in zip(data, pictures, strict=False):
        assert load(example.read()).digest == load(picture).digest


def test_a_generator_is_read_only_as_far_as_the_limit(pictures: Pictures) -> None:
    """What comes is kept; nothing beyond the limit is asked for."""
    asked = []

    def source() -> Iterator[tuple[Any, int]]:
        for number, picture in enumerate(pictures):
            asked.append(number)
            yield picture, number

    data = open_dataset(source(), limit=2)
    assert ([e.truth for e in data], asked) == (["0", "1"], [0, 1])


class MapStyle:
    """As torchvision's data sets are: a length, an index, classes; item 1 cannot be read."""

    classes = ("cat", "dog")

    def __init__(self, pictures: Pictures) -> None:
        self.pictures, self.reads = pictures, 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.reads += 1
        if index == 1:
            raise OSError("broken\nfile")
        return Image.fromarray(self.pictures[index]), index % 2


def test_a_map_style_data_set_names_its_classes(pictures: Pictures) -> None:
    """Its images are not kept; the item that cannot be read is told, and fails alone, in one line."""
    source = MapStyle(pictures)
    data = open_dataset(source)
    assert [e.truth for e in data] == ["cat", None, "cat", "dog", "cat", "dog"]
    assert data.classes == ("cat", "dog")
    assert "MapStyle: 1 item cannot be read" in data.told
    assert load(data[2].read()).digest == load(pictures[2]).digest
    assert source.reads == 7 + 1  # MAITE or not is told by one
    with pytest.raises(ImageError, match=r"MapStyle: item 1 cannot be read \(broken file\)"):
        data[1].read()


class Maite:
    """MAITE's protocol: (C, H, W), scores, metadata."""

    metadata = {"id": "toy", "index2label": {0: "cat", 1: "dog"}}  # noqa: RUF012 - as the protocol has it

    def __init__(self, pictures: Pictures, target: Any = None, key: str = "id") -> None:
        self.pictures, self.target, self.key = pictures, target, key
        self.images = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, Any, dict[str, Any]]:
        self.images += 1
        scores = np.eye(2)[index % 2] if self.target is None else self.target
        return self.pictures[index].transpose(2, 0, 1), scores, {self.key: f"image-{index}"}


class Fieldwise(Maite):
    """Its field-wise protocol."""

    def get_input(self, index: int) -> Any:
        return self[index][0]

    def get_target(self, index: int) -> Any:
        return torch.tensor([0.9, 0.1])

    def get_metadata(self, index: int) -> dict[str, Any]:
        return {"id": index}


def test_maites_protocol(pictures: Pictures) -> None:
    """Ids are the metadata's, the label is that of the highest score, images are turned."""
    data = open_dataset(Maite(pictures))
    assert [(e.id, e.truth) for e in data][:2] == [("image-0", "cat"), ("image-1", "dog")]
    assert load(data[2].read()).digest == load(pictures[2]).digest


def test_maites_fieldwise_protocol_reads_no_image(pictures: Pictures) -> None:
    """Labels and ids are asked for alone; one image is read to see what it is."""
    source = Fieldwise(pictures)
    data = open_dataset(source)
    assert [(e.id, e.truth) for e in data] == [(str(k), "cat") for k in range(6)]
    assert source.images == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda p: Maite(p, target=1), None),
        (lambda p: Maite(p, target=np.array([0.5, 0.5])), "2 classes have the highest score"),
        (lambda p: Maite(p, target=np.zeros((2, 2))), r"a target of shape \(2, 2\) is no class"),
        (lambda p: Maite(p, target=7), "label 7 has no name"),
        (lambda p: Maite(p, key="name"), "its metadata has no id"),
    ],
)
def test_maites_targets(pictures: Pictures, source: Any, message: str | None) -> None:
    """A class number will do; scores that name no class, numbers without a name and images without an id do not."""
    if message is None:
        assert {e.truth for e in open_dataset(source(pictures))} == {"dog"}
        return
    with pytest.raises(ConfigurationError, match=message):
        open_dataset(source(pictures))


class _Table:
    """As a data frame is: an index finds columns, not rows."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, name: Any) -> Any:
        raise KeyError(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "int: no data set"),
        ([], "no images"),
        (b"data", "one image, not a data set"),
        (io.BytesIO(b"data"), "one image, not a data set"),
        (np.zeros((4, 4, 3), np.uint8), "one image, not a data set"),
        ({"a": 1}, "not a mapping"),
        ((np.zeros((2, 4, 4, 3)), [0, 1]), r"zip\(images, labels\)"),
        ([{"image": 1}], "an item is a mapping"),
        (_Table(), r"_Table: no item can be read; the first: _Table: item 0 cannot be read \(0\)"),
        ([(1, 2, 3)], "an item of 3 parts"),
        ([(np.zeros((4, 4, 3)), 0.5)], "item 0: '0.5' is no label"),
        ([("a.png", "cat"), ("a.png", "dog")], "a.png has two labels, cat and dog"),
    ],
)
def test_what_is_no_data_set(source: Any, message: str) -> None:
    """Each is one line that says what to pass."""
    with pytest.raises(ConfigurationError, match=message):
        open_dataset(source)


def test_paths_that_are_there_twice_are_one_image() -> None:
    """It is told."""
    data = open_dataset([("a.png", "cat"), ("b.png", "cat"), ("a.png", "cat")])
    assert [e.id for e in data] == ["a.png", "b.png"]
    assert data.told == ("list: 1 item names an image again; passed over",)
