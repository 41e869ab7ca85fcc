"""From a probability to a radius, and back."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import clopper_pearson, radius
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError
from api_smoothing.thresholds import noise_table

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


def grid_law(noise: str, sigma: float) -> tuple[dict[int, Fraction], float]:
    """The exact probabilities of a value's noise on the 8-bit grid, in steps of 1/255, and its slack."""
    table = noise_table(noise, sigma, 1)  # type: ignore[arg-type]
    ends = [0, *(int(threshold) for threshold in table.thresholds), 2**64]
    law = {j - table.largest: Fraction(b - a, 2**64) for j, (a, b) in enumerate(pairwise(ends))}
    return law, table.slack


def worst_share(law: dict[int, Fraction], shift: tuple[int, ...], share: Fraction) -> Fraction:
    """The least share at x + shift of any class that has `share` at x: Neyman–Pearson, in rational numbers."""
    here = {z: prod((law[i] for i in z), start=Fraction(1)) for z in product(law, repeat=len(shift))}
    there = {
        z: prod((law.get(i - s, Fraction(0)) for i, s in zip(z, shift, strict=True)), start=Fraction(1))
        for z in here
    }
    left, kept = share, Fraction(0)
    for z in sorted(here, key=lambda z: there[z] / here[z] if here[z] else Fraction(10**9)):
        part = min(here[z], left)
        kept += there[z] * part / here[z] if part else 0
        left -= part
    return kept


@pytest.mark.parametrize("noise", ["uniform", "laplace"])
@pytest.mark.parametrize("shift", [(1,), (2,), (3,), (4,), (1, 1), (2, 1), (3, 0), (1, -2)])
def test_an_l1_radius_holds_on_the_grid(noise: radius.Noise, shift: tuple[int, ...]) -> None:
    """No classifier of grid values whose class has p0(r) here loses its majority at ℓ1 distance r; some come near."""
    sigma = 0.02 if noise == "uniform" else 0.01
    law, slack = grid_law(noise, sigma)
    distance = sum(map(abs, shift)) / 255
    needed = radius.threshold(distance, sigma=sigma, noise=noise, slack=len(shift) * slack)
    assert radius.radius(needed + 1e-9, sigma=sigma, noise=noise, slack=len(shift) * slack) >= distance
    worst = worst_share(law, shift, Fraction(needed))
    assert worst >= Fraction(1, 2)
    if len(shift) == 1:
        assert worst < Fraction(1, 2) + max(law.values()), "a radius that is tight but for one step"
        short = worst_share(law, shift, Fraction(needed) - max(law.values()))
        assert short < Fraction(1, 2), "with less, some classifier loses it"
