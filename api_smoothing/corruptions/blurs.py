"""Blurs: by a lens out of focus, frosted glass, motion, and zooming."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

Pixels = NDArray[np.float64]

_DEFOCUS: Final = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # radius, σ of its edge
_GLASS: Final = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))  # σ, shift, times
_MOTION: Final = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius, σ
_ZOOM: Final = (1.06, 1.11, 1.16, 1.21, 1.26)  # up to which, in steps of 0.01


def defocus_blur(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Convolution with a disk whose edge is softened by a Gaussian."""
    radius, soft = _DEFOCUS[severity - 1]
    kernel = _disk(radius * scale, soft * scale, round(scale))
    half = kernel.shape[0] // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="reflect")
    blurred: Pixels = fftconvolve(padded, kernel[:, :, None], mode="valid", axes=(0, 1))
    return blurred


def _disk(radius: float, soft: float, reach: int) -> Pixels:
    """A disk of whole pixels, and around it a Gaussian that reaches `reach` pixels."""
    half = math.ceil(radius) + reach
    row = np.arange(-half, half + 1)
    disk = (row[:, None] ** 2 + row**2 <= radius**2).astype(np.float64)
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2.0 * soft**2))
    soft_disk: Pixels = fftconvolve(disk / disk.sum(), np.outer(bell, bell) / bell.sum() ** 2, mode="same")
    return soft_disk


def glass_blur(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Blur; then each pixel becomes one up to `shift` above or left of it, or less than that below or right; blur.

    The authors' loop means to swap pixels, but copies them, as its rows are views; and as it goes from the lower right,
    a shift of 1 reads what is not yet changed. All at once is therefore the same there.
    """
    sigma, shift, times = _GLASS[severity - 1]
    sigma, shift = sigma * scale, round(shift * scale)
    x = np.floor(_bell(x, sigma) * 255.0 + 1e-6) / 255.0
    height, width = x.shape[:2]
    for _ in range(times):
        rows, columns = np.arange(shift + 1, height - shift + 1), np.arange(shift + 1, width - shift + 1)
        down, right = random.randint(-shift, shift, size=(2, len(rows), len(columns)))
        moved = x[rows[:, None] + down, columns + right]
        x = x.copy()
        x[rows[:, None], columns] = moved
    return _bell(x, sigma)


def _bell(x: Pixels, sigma: float) -> Pixels:
    blurred: Pixels = gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
    return blurred


def motion_blur(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Along a line of a random direction within 45° of the horizontal; to the nearest level, as ImageMagick has it."""
    radius, sigma = _MOTION[severity - 1]
    moved = along_line(x, radius * scale, sigma * scale, random.uniform(-45.0, 45.0))
    return np.rint(moved * 255.0) / 255.0


def along_line(x: Pixels, radius: float, sigma: float, degrees: float) -> Pixels:
    """ImageMagick's motion blur: half a Gaussian over 2·⌈radius⌉ + 1 whole pixels from each, edges repeated."""
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    angle = math.radians(degrees)
    across, down = (np.ceil(steps * part - 0.5).astype(int) for part in (math.cos(angle), math.sin(angle)))
    seen = np.flatnonzero(weights > 1e-7)  # what is left out is less than a thousandth of a level
    reach = int(np.abs([across[seen], down[seen]]).max())
    padded = np.pad(x, [(reach, reach)] * 2 + [(0, 0)] * (x.ndim - 2), mode="edge")
    out = np.zeros_like(x)
    for step in seen:
        top, left = reach + down[step], reach + across[step]
        out += weights[step] * padded[top : top + x.shape[0], left : left + x.shape[1]]
    return out


def zoom_blur(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """The mean of the image and of what is seen of it while zooming in."""
    factors = np.arange(1.0, _ZOOM[severity - 1], 0.01)
    seen = sum((zoomed(x, factor) for factor in factors), np.zeros_like(x))
    return (x + seen) / (len(factors) + 1)


def zoomed(x: Pixels, factor: float) -> Pixels:
    """The middle of (H, W, …), enlarged `factor` times by linear interpolation to (H, W), as scipy.ndimage.zoom does.

    Of n samples it makes round(n·factor), the first and the last on those of the n; the middle ones are kept.
    """
    for axis in (0, 1):
        side = x.shape[axis]
        kept = math.ceil(side / factor)
        large = round(kept * factor)
        places = (np.arange(side) + (large - side) // 2) * ((kept - 1) / max(1, large - 1))
        low = np.minimum(places.astype(int), max(0, kept - 2))
        part = (places - low).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        low += (side - kept) // 2
        x = (1.0 - part) * x.take(low, axis) + part * x.take(np.minimum(low + 1, side - 1), axis)
    return x
