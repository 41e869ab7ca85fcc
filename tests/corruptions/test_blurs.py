"""The blurs against slow and literal versions of what they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter, zoom

from api_smoothing.corruptions import blurs

Pixels = NDArray[np.float64]


def random(seed: int = 7) -> np.random.RandomState:
    return np.random.RandomState(seed)


@pytest.fixture
def x() -> Pixels:
    return np.random.default_rng(0).random((32, 32, 3))


def cv2_kernel(radius: float, soft: float) -> Pixels:
    """The authors' kernel: a disk on 17×17 pixels, blurred by a Gaussian of 3×3."""
    row = np.arange(-8, 9)
    disk = (row[:, None] ** 2 + row**2 <= radius**2).astype(float)
    bell = np.exp(-np.array([1, 0, 1]) / (2 * soft**2))
    bell /= bell.sum()
    return convolve(disk / disk.sum(), np.outer(bell, bell), mode="constant")


@pytest.mark.parametrize(
    ("severity", "radius", "soft"), [(1, 0.3, 0.4), (2, 0.4, 0.5), (3, 0.5, 0.6), (4, 1, 0.2), (5, 1.5, 0.1)]
)
def test_defocus_is_the_authors_kernel(x: Pixels, severity: int, radius: float, soft: float) -> None:
    """At 32 pixels, with the edges mirrored as OpenCV does."""
    kernel = cv2_kernel(radius, soft)
    literal = np.stack([convolve(x[..., c], kernel, mode="mirror") for c in range(3)], 2)
    assert np.allclose(blurs.defocus_blur(x, severity, 1.0, random()), literal, atol=1e-12)


def literal_glass(x: Pixels, sigma: float, times: int, random: np.random.RandomState) -> Pixels:
    """The authors' loop with a shift of 1, with its copies in place of swaps, on the same draws."""
    x = np.floor(gaussian_filter(x, (sigma, sigma, 0), mode="nearest") * 255 + 1e-6) / 255
    for _ in range(times):
        down, right = random.randint(-1, 1, size=(2, 30, 30))
        for h in range(31, 1, -1):
            for w in range(31, 1, -1):
                other = h + down[h - 2, w - 2], w + right[h - 2, w - 2]
                x[h, w], x[other] = (
                    x[other],
                    x[h, w],
                )  # rows are views: the first is overwritten before it is copied
    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


@pytest.mark.parametrize(
    ("severity", "sigma", "times"), [(1, 0.05, 1), (2, 0.25, 1), (3, 0.4, 1), (4, 0.25, 2), (5, 0.4, 2)]
)
def test_glass_is_the_authors_loop(x: Pixels, severity: int, sigma: float, times: int) -> None:
    """All pixels at once are the loop over each."""
    assert np.allclose(blurs.glass_blur(x, severity, 1.0, random()), literal_glass(x, sigma, times, random()))


def literal_line(x: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """Each pixel by itself."""
    out, angle = np.zeros_like(x), math.radians(degrees)
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(2 * radius + 1)]
    for (row, column), _ in np.ndenumerate(x[..., 0]):
        for k, weight in enumerate(weights):
            below, right = math.ceil(k * math.sin(angle) - 0.5), math.ceil(k * math.cos(angle) - 0.5)
            there = min(max(row + below, 0), 31), min(max(column + right, 0), 31)
            out[row, column] += weight / sum(weights) * x[there]
    return out


@pytest.mark.parametrize(
    ("radius", "sigma", "degrees"), [(6, 1, 20.0), (8, 2, -45.0), (9, 2.5, -135.0), (9, 2.5, 0.0)]
)
def test_a_line_is_half_a_gaussian_in_whole_pixels(
    x: Pixels, radius: int, sigma: float, degrees: float
) -> None:
    """With the edges repeated; a constant stays one."""
    assert np.allclose(
        blurs.along_line(x, radius, sigma, degrees), literal_line(x, radius, sigma, degrees), atol=1e-5
    )
    assert np.allclose(blurs.along_line(np.full((5, 7), 0.3), radius, sigma, degrees), 0.3)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.05, 1.17, 1.25, 2.25, 4.5])
@pytest.mark.parametrize("shape", [(32, 32, 3), (37, 50, 3), (33, 47)])
def test_zooming_is_scipys(factor: float, shape: Any) -> None:
    """To the last digits, for colour and grey, square or not."""
    x = np.random.default_rng(1).random(shape)
    kept = [math.ceil(side / factor) for side in shape[:2]]
    cut = [slice((side - k) // 2, (side - k) // 2 + k) for side, k in zip(shape, kept, strict=False)]
    large = zoom(x[cut[0], cut[1]], (factor, factor, *[1] * (len(shape) - 2)), order=1)
    top, left = ((there - side) // 2 for there, side in zip(large.shape[:2], shape[:2], strict=True))
    literal = large[top : top + shape[0], left : left + shape[1]]
    assert np.allclose(blurs.zoomed(x, factor), literal, atol=1e-12)


def test_zoom_blur_is_the_mean_of_all_and_the_image(x: Pixels) -> None:
    """Severity 1 goes to 1.05 in steps of 0.01, as numpy counts them."""
    factors = np.arange(1, 1.06, 0.01)
    literal = (x + sum(blurs.zoomed(x, f) for f in factors)) / (len(factors) + 1)
    assert np.allclose(blurs.zoom_blur(x, 1, 1.0, random()), literal)


def test_lengths_grow_with_the_image() -> None:
    """An image seven times as large is blurred as if it had been enlarged after the blur."""
    small = np.random.default_rng(2).random((32, 32, 3))
    large = np.kron(small, np.ones((7, 7, 1)))
    for blur in (blurs.defocus_blur, blurs.zoom_blur, blurs.motion_blur):
        wanted = np.kron(blur(small, 5, 1.0, random()), np.ones((7, 7, 1)))
        got = blur(large, 5, 7.0, random())
        assert (
            np.abs(got - wanted)[28:-28, 28:-28].mean() < 0.6 * np.abs(large - wanted)[28:-28, 28:-28].mean()
        )
