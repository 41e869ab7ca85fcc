"""Intervals cover: checked by enumeration, in rational arithmetic where the claim is exact."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from api_smoothing.claims import intervals
from api_smoothing.errors import ConfigurationError

HALF = Fraction(1, 40)  # of 5 %, at each end


def binomial(k: int, n: int, p: Fraction) -> Fraction:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def hypergeometric(k: int, n: int, ones: int, population: int) -> Fraction:
    return Fraction(math.comb(ones, k) * math.comb(population - ones, n - k), math.comb(population, n))


@pytest.mark.parametrize("n", [1, 2, 7, 23])
def test_each_end_of_the_binomial_interval_errs_at_most_half(n: int) -> None:
    """At and around every end the exact tail beyond it is at most 2.5 %, and it is as large just inside."""
    ends = [intervals.exact(k, n) for k in range(n + 1)]
    for k, (low, high) in enumerate(ends):
        if k:
            tail = sum(binomial(i, n, Fraction(low)) for i in range(k, n + 1))
            inside = sum(binomial(i, n, Fraction(low) + Fraction(1, 10**6)) for i in range(k, n + 1))
            assert tail <= HALF < inside
        assert (low, high) == pytest.approx((1 - ends[n - k][1], 1 - ends[n - k][0]), abs=1e-12)
    assert ends[0][0] == 0.0
    assert ends[n][1] == 1.0


def test_the_usual_example() -> None:
    """5 and 0 of 10, as any table of Clopper and Pearson's has them."""
    assert intervals.exact(5, 10) == pytest.approx((0.1871, 0.8129), abs=5e-5)
    assert intervals.exact(0, 10) == pytest.approx((0.0, 0.3085), abs=5e-5)
    assert intervals.exact(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("n", "population"), [(1, 1), (3, 7), (6, 12), (12, 12), (10, 25)])
def test_the_interval_of_a_finite_set_covers_every_set(n: int, population: int) -> None:
    """For each number of ones: the draws whose interval is above it, and those below, have at most 2.5 % each."""
    found = [intervals.exact_finite(k, n, population) for k in range(n + 1)]
    for ones in range(population + 1):
        share = ones / population
        draws = range(max(0, n - population + ones), min(n, ones) + 1)
        for wrong in ({k for k in draws if found[k][0] > share}, {k for k in draws if found[k][1] < share}):
            assert sum(hypergeometric(k, n, ones, population) for k in wrong) <= HALF
    if n == population:
        assert found == [(k / n, k / n) for k in range(n + 1)]


def test_the_finite_interval_is_as_short_as_inversion_allows() -> None:
    """One step further in at either end, that end's exact tail is above 2.5 %."""
    n, population, k = 10, 25, 4
    low, high = intervals.exact_finite(k, n, population)
    for ones, tail in ((round(low * population), range(k, n + 1)), (round(high * population), range(k + 1))):
        assert sum(hypergeometric(i, n, ones, population) for i in tail) > HALF
    assert low > intervals.exact(k, n)[0]
    assert high < intervals.exact(k, n)[1]


SUPPORTS = [(0.0, 0.5, 1.0), (0.0, 0.1, 0.9), (0.2, 0.7, 1.0)]


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("n", [4, 12])
def test_the_interval_of_a_mean_covers_by_enumeration(support: tuple[float, ...], n: int) -> None:
    """Every multinomial over three values on a grid: each end errs with at most 2.5 %."""
    samples = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    found = [intervals.mean(np.repeat(support, counts), 1.0) for counts in samples]
    ways = [math.factorial(n) / math.prod(map(math.factorial, counts)) for counts in samples]
    for shares in itertools.product([0.0, 0.02, 0.1, 0.3, 0.6, 1.0], repeat=2):
        if sum(shares) > 1.0:
            continue
        p = (*shares, 1.0 - sum(shares))
        true = sum(a * b for a, b in zip(support, p, strict=True))
        weight = [
            w * math.prod(a**c for a, c in zip(p, s, strict=True)) for w, s in zip(ways, samples, strict=True)
        ]
        assert sum(w for w, (low, _) in zip(weight, found, strict=True) if low > true + 1e-12) <= 0.025
        assert sum(w for w, (_, high) in zip(weight, found, strict=True) if high < true - 1e-12) <= 0.025


@pytest.mark.parametrize("drawn", [2, 5, 8])
def test_the_interval_of_a_mean_covers_draws_without_replacement(drawn: int) -> None:
    """Every sample of a set of eight: each end errs with at most 2.5 % (here at 60 %: 20 %)."""
    values = [0.0, 0.0, 0.1, 0.3, 0.3, 0.9, 1.0, 1.0]
    samples = list(itertools.combinations(values, drawn))
    true = sum(values) / len(values)
    found = [intervals.mean(sample, 1.0, 0.6) for sample in samples]
    assert sum(low > true for low, _ in found) <= 0.2 * len(samples)
    assert sum(high < true for _, high in found) <= 0.2 * len(samples)


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    """500 radii, half of them 0: at most 1.6 times as wide as ±1.96 standard errors, which has no such guarantee."""
    rng = np.random.default_rng(0)
    radii = np.where(rng.random(500) < 0.5, 0.0, rng.uniform(0.1, 0.37, 500))
    low, high = intervals.mean(radii, 0.375)
    assert low < radii.mean() < high
    assert high - low < 1.6 * 2 * 1.96 * radii.std() / math.sqrt(500)
    assert intervals.mean(radii[::-1], 0.375) == pytest.approx((low, high), rel=1e-12)
    scaled = intervals.mean(radii * 10.0, 3.75)
    assert scaled == pytest.approx((10 * low, 10 * high), rel=1e-9)


def test_values_that_are_all_the_same() -> None:
    """All zeros: the mean is at most a little above what a share would be below; none at all: nothing is known."""
    low, high = intervals.mean([0.0] * 500, 1.0)
    assert low == 0.0
    assert high < 1.8 * intervals.exact(0, 500)[1]
    assert intervals.mean([], 2.0) == (0.0, 2.0)


def test_what_is_out_of_range_is_refused() -> None:
    """One line each."""
    for call in (
        lambda: intervals.exact(3, 2),
        lambda: intervals.exact(1, 2, 1.0),
        lambda: intervals.exact_finite(1, 5, 4),
        lambda: intervals.mean([0.5, 1.5], 1.0),
        lambda: intervals.mean([math.nan], 1.0),
    ):
        with pytest.raises(ConfigurationError):
            call()
