"""Contrast, bending, coarse pixels and JPEG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.corruptions import corrupt, digital

Pixels = NDArray[np.float64]


class Fixed(np.random.RandomState):
    """Draws what it is told to: the corners' moves, then no shift."""

    def __init__(self, moves: Pixels) -> None:
        super().__init__(0)
        self._moves = moves

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> Pixels:  # type: ignore[override]
        return self._moves if size == (3, 2) else np.zeros(size)


@pytest.mark.parametrize(("severity", "left"), list(enumerate([0.75, 0.5, 0.4, 0.3, 0.15], 1)))
def test_contrast_keeps_the_means(severity: int, left: float) -> None:
    """Each channel's, and the given part of its deviation."""
    x = np.random.default_rng(0).random((9, 8, 3))
    got = digital.contrast(x, severity, 1.0, np.random.RandomState(0))
    assert np.allclose(got.mean(axis=(0, 1)), x.mean(axis=(0, 1)))
    assert np.allclose(got.std(axis=(0, 1)), left * x.std(axis=(0, 1)))


def test_corners_that_move_alike_move_the_image() -> None:
    """Three points moved by (2, 1) pixels shift it so; unmoved ones leave it."""
    x = np.random.default_rng(0).random((32, 32, 3))
    same = digital.elastic_transform(x, 1, 1.0, Fixed(np.zeros((3, 2))))
    assert np.allclose(same, x)
    moved = digital.elastic_transform(x, 1, 1.0, Fixed(np.tile([2.0, 1.0], (3, 1))))
    assert np.allclose(moved[1:, 2:], x[:-1, :-2])


def test_shifts_have_the_size_that_the_parameters_say() -> None:
    """At severity 5 a ramp is displaced by about 0.5 pixels of 32, at 32 and at 224 pixels alike."""
    for scale in (1, 7):
        side = 32 * scale
        ramp = np.repeat(np.linspace(0.0, 1.0, side)[None, :, None], side, 0).repeat(3, 2)

        class NoCorners(np.random.RandomState):
            def uniform(self, low: float, high: float, size: tuple[int, ...]) -> Pixels:  # type: ignore[override]
                return np.zeros(size) if size == (3, 2) else super().uniform(low, high, size)

        bent = digital.elastic_transform(ramp, 5, float(scale), NoCorners(4))
        shift = (bent - ramp)[2 * scale : -2 * scale, 4 * scale : -4 * scale].std() * 31
        assert shift == pytest.approx(0.54, rel=0.15)


@pytest.mark.parametrize(("severity", "ratio"), list(enumerate([0.95, 0.9, 0.85, 0.75, 0.65], 1)))
def test_pixelate_is_pillows(severity: int, ratio: float) -> None:
    """Down to whole pixels and back, by boxes."""
    x = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    small = Image.fromarray(x).resize((int(40 * ratio), int(32 * ratio)), Image.Resampling.BOX)
    assert np.array_equal(
        corrupt(x, "pixelate", severity), np.asarray(small.resize((40, 32), Image.Resampling.BOX))
    )


@pytest.mark.parametrize(("severity", "quality"), list(enumerate([80, 65, 58, 50, 40], 1)))
def test_jpeg_is_pillows(severity: int, quality: int) -> None:
    """With CIFAR-10-C's qualities, not ImageNet-C's."""
    x = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=quality)
    assert np.array_equal(corrupt(x, "jpeg_compression", severity), np.asarray(Image.open(file)))
