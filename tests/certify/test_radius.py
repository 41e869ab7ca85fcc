"""From a probability to a radius, and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import clopper_pearson, radius
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001


@pytest.mark.parametrize("row", GOLDEN["radius_over_sigma"])
def test_gaussian_radius_golden(row: list[float]) -> None:
    """R/σ of the paper's protocol has the published value."""
    n, k, expected = row
    p = float(clopper_pearson.lower(k, n, ALPHA))
    assert radius.radius(p, sigma=1.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("row", GOLDEN["pa_pb_radius_over_sigma"]["rows"])
def test_runner_up_radius_golden(row: list[float]) -> None:
    """The radius from both classes has the published value."""
    k_a, k_b, n, expected = row
    p_a, p_b = clopper_pearson.runner_up(int(k_a), int(k_b), int(n), ALPHA)
    assert radius.runner_up_radius(p_a, p_b, sigma=1.0) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "laplace"])
@settings(deadline=None)
@given(share=st.floats(0.01, 0.99), sigma=st.floats(0.05, 2.0), slack=st.floats(0.0, 1e-3))
def test_radius_and_threshold_are_inverse(
    noise: radius.Noise, share: float, sigma: float, slack: float
) -> None:
    """p0(r) is the probability whose radius is r, slack included, and never certifies more than r."""
    target = share * {"gaussian": 3.0, "uniform": 1.6, "laplace": 3.0}[noise] * sigma
    p0 = radius.threshold(target, sigma=sigma, noise=noise, slack=slack)
    assert radius.radius(p0, sigma=sigma, noise=noise, slack=slack) == pytest.approx(target, rel=1e-8)
    assert radius.radius(p0 - 1e-6, sigma=sigma, noise=noise, slack=slack) < target


def test_l1_radii() -> None:
    """Uniform and Laplace radii are the published formulas in λ = √3σ and b = σ/√2."""
    assert radius.radius(0.9, sigma=1 / math.sqrt(3), noise="uniform") == pytest.approx(2 * 0.4)
    assert radius.radius(0.9, sigma=math.sqrt(2), noise="laplace") == pytest.approx(-math.log(2 * 0.1))
    assert radius.linf_from_l2(2.0, 4) == pytest.approx(1.0)


def test_no_majority_no_radius() -> None:
    """At or below ½, after the slack, there is no radius."""
    assert radius.radius(0.5, sigma=1.0) == 0.0
    assert radius.radius(0.5 + 1e-9, sigma=1.0, slack=1e-8) == 0.0


def test_unreachable_and_invalid_settings() -> None:
    """No probability reaches a radius of 9σ; nonsense settings are refused in one line."""
    with pytest.raises(UnreachableRadiusError):
        radius.threshold(9.0, sigma=1.0)
    with pytest.raises(UnreachableRadiusError):
        radius.threshold(1.8, sigma=1.0, noise="uniform")
    for bad in ({"sigma": 0.0}, {"sigma": 1.0, "slack": 0.6}, {"sigma": 1.0, "noise": "salt"}):
        with pytest.raises(ConfigurationError) as caught:
            radius.threshold(0.1, **bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_threshold(k: int) -> None:
    """Shifted by r a class at the top-k threshold keeps 1/(k+1); k=1 is the ordinary threshold."""
    p0 = radius.top_k_threshold(0.3, k, sigma=0.5)
    from scipy.special import ndtri

    assert float(ndtr(ndtri(p0) - 0.6)) == pytest.approx(1 / (k + 1))
    assert radius.top_k_threshold(0.3, 1, sigma=0.5) == pytest.approx(radius.threshold(0.3, sigma=0.5))
