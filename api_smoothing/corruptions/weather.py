"""Weather: snow, frost, fog, and light."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from api_smoothing.corruptions.blurs import along_line, zoomed
from api_smoothing.corruptions.frozen import window

Pixels = NDArray[np.float64]

#: Mean and deviation of the flakes, their size, the least that is seen, radius and σ of their fall, what is left of x.
_SNOW: Final = (
    (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
_FROST: Final = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # of the image, of the frost
_FOG: Final = (
    (0.2, 3.0),
    (0.5, 3.0),
    (0.75, 2.5),
    (1.0, 2.0),
    (1.5, 1.75),
)  # how much, how fast detail decays
_LIGHT: Final = (0.05, 0.1, 0.15, 0.2, 0.3)
_GREY: Final = np.array([0.299, 0.587, 0.114])


def snow(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Flakes that fall steeply, twice (the second turned by 180°), over an image that is whitened a little."""
    mean, deviation, size, least, radius, sigma, left = _SNOW[severity - 1]
    layer = zoomed(mean + deviation * random.standard_normal(x.shape[:2]), size * scale)
    layer = np.floor(np.clip(np.where(layer < least, 0.0, layer), 0.0, 1.0) * 255.0) / 255.0
    flakes = along_line(layer, radius * scale, sigma * scale, random.uniform(-135.0, -45.0))[:, :, None]
    white = np.maximum(x, (x @ _GREY)[:, :, None] * 1.5 + 0.5)
    snowed: Pixels = left * x + (1.0 - left) * white + flakes + np.rot90(flakes, 2)
    return snowed


def frost(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """A frozen window before the image. It is drawn, as the authors' photographs do not come with this package."""
    of_image, of_frost = _FROST[severity - 1]
    return of_image * x + of_frost * window(x.shape[0], x.shape[1], scale, random)


def fog(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """A plasma fractal added, and the brightest value brought back to what it was."""
    amount, decay = _FOG[severity - 1]
    most = x.max()
    side = 1 << max(5, (max(x.shape[:2]) - 1).bit_length())
    clouds = plasma(side, decay, random)[: x.shape[0], : x.shape[1], None]
    foggy: Pixels = (x + amount * clouds) * (most / (most + amount))
    return foggy


def plasma(side: int, decay: float, random: RandomState) -> Pixels:
    """A height map in [0, 1] by the diamond-square algorithm on a torus; `side` is a power of two.

    Each halving of the step divides the random part by decay².
    """
    heights, step, rough = np.zeros((side, side)), side, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        right, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        middles = (corners + right + below + np.roll(right, -1, 0)) / 4.0
        middles += rough * random.uniform(-1.0, 1.0, corners.shape)
        heights[half::step, half::step] = middles
        between = (corners + right + middles + np.roll(middles, 1, 0)) / 4.0
        heights[::step, half::step] = between + rough * random.uniform(-1.0, 1.0, corners.shape)
        beside = (corners + below + middles + np.roll(middles, 1, 1)) / 4.0
        heights[half::step, ::step] = beside + rough * random.uniform(-1.0, 1.0, corners.shape)
        step, rough = half, rough / decay**2
    heights -= heights.min()
    heights /= heights.max()
    return heights


def brightness(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """The value of HSV raised; with hue and saturation kept, all three channels grow by one factor."""
    value: Pixels = x.max(axis=2, keepdims=True)
    raised = np.minimum(value + _LIGHT[severity - 1], 1.0)
    lit: Pixels = np.where(value > 0.0, x * raised / np.where(value > 0.0, value, 1.0), raised)
    return lit
