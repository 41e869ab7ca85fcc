"""Laws that all corruptions keep: repeatable, of the image's size, worse with severity, and cheap."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.corruptions import NAMES, SEVERITIES, corrupt, corrupted, named
from api_smoothing.corruptions.corrupt import draws
from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError

Pixels = NDArray[np.uint8]
#: They draw nothing at random.
FIXED = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}


def distance(a: Pixels, b: Pixels) -> float:
    """Root mean square, in levels."""
    return float(np.sqrt(np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_repeatable_and_of_the_images_size(name: str, small: Pixels) -> None:
    """The same image and seed give the same pixels, in whatever form the image comes; another seed gives others."""
    once = corrupt(small, name, 3)
    assert (once.shape, once.dtype) == (small.shape, np.uint8)
    assert np.array_equal(once, corrupt(Image.fromarray(small), name, 3))
    assert np.array_equal(once, corrupt(small / 255.0, name, 3))
    assert np.array_equal(once, corrupt(small, name, 3, seed=1)) == (name in FIXED)
    assert not np.array_equal(once, small)


#: Glass, elastic and frost trade one parameter for another, and are not always farther away.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"glass_blur", "elastic_transform", "frost"}))
@pytest.mark.parametrize("size", ["small", "photograph"])
def test_a_corruption_grows_with_severity(name: str, size: str, request: pytest.FixtureRequest) -> None:
    """Each severity is farther from the image than the one before."""
    image = request.getfixturevalue(size)
    far = [distance(corrupt(image, name, severity), image) for severity in SEVERITIES]
    assert far == sorted(far)
    assert far[-1] > 1.2 * far[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 40), (50, 33)])
def test_any_size_will_do(name: str, shape: tuple[int, int]) -> None:
    """From one pixel on, whatever the shape; a black and a white image stay within the levels."""
    for image in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)):
        for severity in (1, 5):
            assert corrupt(image, name, severity).shape == image.shape


def test_chance_comes_from_the_image_the_name_and_the_seed() -> None:
    """The stream is the one it always was, and another for each of the three."""
    first = draws(b"a" * 32, "snow", 0).random_sample(2)
    key = hashlib.sha256(b"api-smooth corruption 1\0" + b"a" * 32 + b"snow\x000").digest()
    assert np.array_equal(first, np.random.RandomState(np.frombuffer(key, "<u4")).random_sample(2))
    others = [(b"b" * 32, "snow", 0), (b"a" * 32, "frost", 0), (b"a" * 32, "snow", 1)]
    for other in others:
        assert not np.array_equal(first, draws(*other).random_sample(2))


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        ("fogg", 1, "unknown corruption 'fogg'; did you mean fog"),
        ("fog", 0, "severity must be a whole number from 1 to 5, not 0"),
        ("fog", 3.0, "severity must be a whole number from 1 to 5, not 3.0"),
        ("fog", 6, "not 6"),
        ("fog", 1.5, r"not 1\.5"),
        ("fog", True, "not True"),
    ],
)
def test_names_and_severities_are_checked(name: str, severity: Any, message: str) -> None:
    """In one line, before the image is read."""
    with pytest.raises(ConfigurationError, match=message):
        corrupt("gone.png", name, severity)


def test_words_name_corruptions_at_severities() -> None:
    """All severities, those that are given, or a word's own; each once, in order."""
    assert named(["all"]) == [(name, severity) for name in NAMES for severity in SEVERITIES]
    assert named(["snow:4", " fog", "snow"], [1, 4]) == [("snow", 4), ("fog", 1), ("fog", 4), ("snow", 1)]
    assert named(["all:2"]) == [(name, 2) for name in NAMES]
    for word, why in (("fogg", "did you mean fog"), ("fog:x", "severity in 'fog:x'"), ("fog:6", "not 6")):
        with pytest.raises(ConfigurationError, match=why):
            named([word])


def test_a_data_set_is_corrupted_as_it_is_read(small: Pixels, tmp_path: Any) -> None:
    """Ids, labels and order stay; an image that cannot be read fails alone."""
    data = corrupted(open_dataset([(small, "cat"), (str(tmp_path / "gone.png"), "dog")]), "fog", 2)
    assert [(e.truth, e.path) for e in data] == [("cat", None), ("dog", None)]
    assert data.name == "list (fog 2)"
    assert np.array_equal(np.asarray(data[0].read()), corrupt(small, "fog", 2))
    with pytest.raises(ImageError, match="no such file"):
        data[1].read()
