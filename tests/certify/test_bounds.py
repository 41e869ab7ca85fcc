"""Fixed-n statistics: Clopper-Pearson, radii, the no-split rule, PREDICT."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import FAILED, clopper_pearson, fixed, predict, radius
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001


def exact_tail(k: int, n: int, p: Fraction) -> Fraction:
    """P(Bin(n, p) ≥ k) in rational arithmetic."""
    a, b = p.numerator, p.denominator - p.numerator
    return Fraction(sum(math.comb(n, i) * a**i * b ** (n - i) for i in range(k, n + 1)), p.denominator**n)


@pytest.mark.parametrize("row", GOLDEN["clopper_pearson_lower"]["rows"])
def test_clopper_pearson_golden(row: list[float]) -> None:
    """The lower bound has the published value to 1e-11."""
    n, k, expected = row
    assert float(clopper_pearson.lower(k, n, ALPHA)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("n", [1, 7, 40, 200])
def test_clopper_pearson_is_sound_in_rational_arithmetic(n: int) -> None:
    """The float bound never exceeds the exact one: its exact tail is at most α; and it is tight to 1e-10."""
    for k in sorted({1, 2, n // 3, n // 2, (9 * n) // 10, n - 1, n} & set(range(1, n + 1))):
        low = float(clopper_pearson.lower(k, n, ALPHA))
        assert exact_tail(k, n, Fraction(low)) <= Fraction(1, 1000)
        assert exact_tail(k, n, Fraction(low * (1 + 1e-10))) > Fraction(1, 1000)
        high = float(clopper_pearson.upper(n - k, n, ALPHA))
        assert 1 - exact_tail(n - k + 1, n, Fraction(high)) <= Fraction(1, 1000) * (1 + Fraction(1, 10**9))


def test_raw_incomplete_beta_is_not_sound() -> None:
    """Without the rounding factor some float bound is above the exact one, so the factor is needed."""
    from scipy.special import betaincinv

    unsound = 0
    for n in (20, 50, 100):
        for k in range(1, n + 1, 7):
            raw = float(betaincinv(k, n - k + 1, ALPHA))
            unsound += exact_tail(k, n, Fraction(raw)) > Fraction(ALPHA)
    assert unsound > 0


@settings(deadline=None)
@given(n=st.integers(2, 2000), data=st.data(), alpha=st.floats(1e-6, 0.1))
def test_clopper_pearson_is_monotone(n: int, data: st.DataObject, alpha: float) -> None:
    """More votes, a larger α, or the same votes among fewer answers never lower the bound."""
    k = data.draw(st.integers(0, n - 1))
    here = float(clopper_pearson.lower(k, n, alpha))
    assert float(clopper_pearson.lower(k + 1, n, alpha)) > here
    assert float(clopper_pearson.lower(k, n, min(0.2, alpha * 2))) >= here
    assert float(clopper_pearson.lower(k, n + 1, alpha)) <= here
    assert float(clopper_pearson.upper(k, n, alpha)) >= k / n >= here


def test_clopper_pearson_is_vectorised_and_checked() -> None:
    """Arrays broadcast; counts outside 0…n and α outside (0,1) are refused."""
    assert clopper_pearson.lower(np.arange(11), 10, ALPHA).shape == (11,)
    for bad in ((11, 10, ALPHA), (-1, 10, ALPHA), (1, 10, 0.0), (1, 10, 1.0), (0, 0, ALPHA)):
        with pytest.raises(ValueError, match="must lie"):
            clopper_pearson.lower(*bad)


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


@pytest.mark.parametrize(("n", "k_min"), GOLDEN["no_split_lcb"]["kmin"].items())
def test_no_split_k_min_golden(n: str, k_min: int) -> None:
    """The smallest count that certifies anything is the published one."""
    assert fixed.no_split_k_min(int(n), ALPHA) == k_min


@pytest.mark.parametrize("row", GOLDEN["no_split_lcb"]["rows"])
def test_no_split_lower_golden(row: list[float]) -> None:
    """The no-split bound has the published value; one vote below k_min there is none."""
    n, k, expected = row
    assert fixed.no_split_lower(int(k), int(n), ALPHA) == pytest.approx(expected, abs=2e-10)
    assert fixed.no_split_lower(fixed.no_split_k_min(int(n), ALPHA) - 1, int(n), ALPHA) == 0.0


def test_no_split_beats_the_split_at_equal_price() -> None:
    """120 votes without a split reach 1.5898073σ, the paper's 20+100 stop at 1.5004750σ."""
    assert radius.radius(fixed.no_split_lower(120, 120, ALPHA), sigma=1.0) == pytest.approx(
        1.5898073, abs=1e-7
    )


def counts_of(n: int, classes: int) -> Iterator[tuple[int, ...]]:
    """All ways to share n votes among the classes."""
    if classes == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in counts_of(n - first, classes - 1):
            yield (first, *rest)


def multinomial_error(n: int, probabilities: tuple[float, ...], lower: dict[int, float]) -> float:
    """Exact probability that the class with most votes gets a bound above its true probability."""
    error = 0.0
    for counts in counts_of(n, len(probabilities)):
        top = max(counts)
        weight = math.factorial(n)
        for k in counts:
            weight //= math.factorial(k)
        chance = weight * math.prod(p**k for p, k in zip(probabilities, counts, strict=True))
        if any(k == top and lower[k] > p for p, k in zip(probabilities, counts, strict=True)):
            error += chance
    return error


NULLS = [(q, 1 - q) for q in np.linspace(0.5, 0.98, 25)] + [
    (q, (1 - q) * s, (1 - q) * (1 - s))
    for q in (0.34, 0.45, 0.5, 0.52, 0.6, 0.75, 0.9)
    for s in (0.5, 0.8, 1.0)
]


def worst_error(lower: dict[int, float], extra: tuple[float, ...] = ()) -> float:
    """The largest error over the nulls, and over two classes just below every bound, where errors peak."""
    edges = [(b - 1e-12, 1 - b + 1e-12) for b in (*lower.values(), *extra) if b > 0.5]
    return max(multinomial_error(30, p, lower) for p in [*NULLS, *edges])


def test_no_split_is_sound_by_enumeration() -> None:
    """All 2- and 3-class multinomials of 30 votes: the no-split bound errs at most α, and uses most of it."""
    lower = {k: fixed.no_split_lower(k, 30, 0.05) for k in range(31)}
    assert 0.03 < worst_error(lower) <= 0.05


def test_reusing_the_votes_at_full_alpha_is_unsound() -> None:
    """Choosing the class with the votes that then bound it breaks α: the enumeration sees it."""
    lower = {k: float(clopper_pearson.lower(k, 30, 0.05)) for k in range(31)}
    lower = {k: p if p > 0.5 else 0.0 for k, p in lower.items()}
    assert worst_error(lower) > 0.055


def test_the_symmetric_bound_is_unsound() -> None:
    """f_k(p)+f_k(1−p) in place of f_k(p)+f_kmin(1−p) errs 0.0519 at α=0.05: the enumeration sees it."""
    least = fixed.no_split_k_min(30, 0.05)

    def trap(k: int) -> float:
        if k < least:
            return 0.0
        grid = np.linspace(0.5, 1.0, 200_001)[:-1]
        from scipy.special import betainc

        total = betainc(k, 31 - k, grid) + betainc(k, 31 - k, 1 - grid)
        return float(grid[np.argmax(total > 0.05)])

    assert worst_error({k: trap(k) for k in range(31)}) == pytest.approx(0.0519, abs=2e-4)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(20, 3000), data=st.data(), alpha=st.floats(1e-4, 0.05))
def test_no_split_is_monotone_and_below_the_split_bound(n: int, data: st.DataObject, alpha: float) -> None:
    """More votes or a larger α raise the bound; it never exceeds Clopper-Pearson's on the same votes."""
    k = data.draw(st.integers(fixed.no_split_k_min(n, alpha), n))
    here = fixed.no_split_lower(k, n, alpha)
    assert here <= float(clopper_pearson.lower(k, n, alpha)) * (1 + 1e-9)
    assert fixed.no_split_lower(k - 1, n, alpha) < here
    assert fixed.no_split_lower(k, n, alpha * 1.5) >= here


@pytest.mark.parametrize("row", GOLDEN["predict_two_sided_binomial"])
def test_two_sided_binomial_golden(row: list[float]) -> None:
    """PREDICT's p-value is the published one, in either order."""
    first, second, expected = row
    assert predict.two_sided_p_value(int(first), int(second)) == pytest.approx(expected, rel=1e-5)
    assert predict.two_sided_p_value(int(second), int(first)) == predict.two_sided_p_value(
        int(first), int(second)
    )


@settings(deadline=None)
@given(a=st.integers(0, 60), b=st.integers(0, 60))
def test_two_sided_binomial_is_sound(a: int, b: int) -> None:
    """It is never below the exact rational p-value."""
    exact = min(Fraction(1), 2 * exact_tail(max(a, b), a + b, Fraction(1, 2))) if a != b else Fraction(1)
    assert exact <= Fraction(predict.two_sided_p_value(a, b)) <= exact * (1 + Fraction(1, 10**9))


def test_predict_abstains_unless_the_lead_is_clear() -> None:
    """67 to 33 decides at α=0.001, 66 to 34 does not; failures and "no label" count against the leader."""
    assert predict.predict(["cat"] * 67 + ["dog"] * 33, ALPHA) == "cat"
    assert predict.predict(["cat"] * 66 + ["dog"] * 34, ALPHA) is None
    assert predict.predict(["cat"] * 66 + [None] * 17 + [FAILED] * 17, ALPHA) is None
    assert predict.predict(["cat"] * 67 + [None] * 17 + [FAILED] * 16, ALPHA) == "cat"
    assert predict.predict([None] * 50, ALPHA) is None
