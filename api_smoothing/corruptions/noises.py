"""Noise of each value by itself: it does not grow with the image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Pixels = NDArray[np.float64]

_SIGMA: Final = (0.04, 0.06, 0.08, 0.09, 0.10)
_PHOTONS: Final = (500, 250, 100, 75, 50)  # of a value of 1
_AMOUNT: Final = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """N(0, σ²) added."""
    return x + random.standard_normal(x.shape) * _SIGMA[severity - 1]


def shot_noise(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Poisson(c·x)/c, with c photons for a value of 1."""
    photons = _PHOTONS[severity - 1]
    return random.poisson(x * photons) / photons


def impulse_noise(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Each value, not each pixel, is 0 or 1 with the probability `amount`, both as likely."""
    hit, salt = random.random_sample(x.shape) < _AMOUNT[severity - 1], random.random_sample(x.shape) < 0.5
    return np.where(hit, salt.astype(np.float64), x)
