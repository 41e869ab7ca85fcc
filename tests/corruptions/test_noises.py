"""The three noises have the moments that their parameters say."""

from __future__ import annotations

import numpy as np
import pytest

from api_smoothing.corruptions import noises

GREY = np.full((256, 256, 3), 0.5)
N = GREY.size


def random() -> np.random.RandomState:
    return np.random.RandomState(7)


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate([0.04, 0.06, 0.08, 0.09, 0.10], 1)))
def test_gaussian_noise_has_cifars_sigma(severity: int, sigma: float) -> None:
    """Mean and deviation within four standard errors."""
    noise = noises.gaussian_noise(GREY, severity, 1.0, random()) - GREY
    assert abs(noise.mean()) < 4 * sigma / N**0.5
    assert abs(noise.std() - sigma) < 4 * sigma / (2 * N) ** 0.5


@pytest.mark.parametrize(("severity", "photons"), list(enumerate([500, 250, 100, 75, 50], 1)))
def test_shot_noise_is_poisson(severity: int, photons: int) -> None:
    """Whole photons, with a variance of as many as there are on average."""
    counts = noises.shot_noise(GREY, severity, 1.0, random()) * photons
    assert np.allclose(counts, np.rint(counts))
    mean = photons / 2
    assert abs(counts.mean() - mean) < 4 * (mean / N) ** 0.5
    assert counts.var() == pytest.approx(mean, rel=0.03)
    assert not noises.shot_noise(0 * GREY, severity, 1.0, random()).any()


@pytest.mark.parametrize(("severity", "amount"), list(enumerate([0.01, 0.02, 0.03, 0.05, 0.07], 1)))
def test_impulse_noise_hits_values_not_pixels(severity: int, amount: float) -> None:
    """A share of the values is 0 or 1, half each, each channel by itself."""
    noisy = noises.impulse_noise(GREY, severity, 1.0, random())
    hit = noisy != 0.5
    assert set(np.unique(noisy)) == {0.0, 0.5, 1.0}
    assert abs(hit.mean() - amount) < 4 * (amount / N) ** 0.5
    assert abs(noisy[hit].mean() - 0.5) < 4 * 0.5 / hit.sum() ** 0.5
    both = (hit[..., 0] & hit[..., 1]).mean()
    assert both < 5 * amount**2
