"""Evidence without replacement: a martingale at its worst null, and one that more certificates never lower."""

from __future__ import annotations

import itertools
import math

import pytest

from api_smoothing.claims.course import boundaries, course, worst_null
from api_smoothing.claims.finite import Finite, log_binomial


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.05, 0.3])
@pytest.mark.parametrize(("population", "most"), [(6, 0), (6, 3), (9, 4), (9, 8)])
def test_its_mean_under_the_worst_null_is_one_at_every_time(population: int, most: int, alpha: float) -> None:
    """Sum over every run of its probability times E: 1, or less where there is no alternative or it is excluded."""
    evidence = Finite(population, most, alpha)
    others = population - most
    for looked in range(1, population + 1):
        total = 0.0
        for false in range(others + 1 if alpha else 1):
            law = math.comb(others, false) * alpha**false * (1 - alpha) ** (others - false)
            ones = most + false
            for seen in range(max(0, looked - population + ones), min(looked, ones) + 1):
                ways = math.comb(ones, seen) * math.comb(population - ones, looked - seen)
                total += law * ways / math.comb(population, looked) * math.exp(evidence.log_e(seen, looked))
        assert total <= 1.0 + 1e-9
        if alpha > 0.0 and evidence.log_e(population, population) > -math.inf:
            assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.02, 0.3])
@pytest.mark.parametrize(("population", "most"), [(12, 3), (60, 20), (60, 58), (300, 100)])
def test_one_more_certificate_never_lowers_it(population: int, most: int, alpha: float) -> None:
    """E grows with the certificates among the same images; with one more image it grows, or falls, with its outcome."""
    evidence = Finite(population, most, alpha)
    for looked in range(1, population, max(1, population // 20)):
        before = -math.inf
        for seen in range(looked + 1):
            here = evidence.log_e(seen, looked)
            assert here >= before - 1e-9 or here == before
            before = here
            assert evidence.log_e(seen + 1, looked + 1) >= here - 1e-9
            assert evidence.log_e(seen, looked + 1) <= here + 1e-9


@pytest.mark.parametrize(("at_least", "population"), [(0.4, 500), (0.9, 300), (0.05, 200)])
@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.01])
def test_the_exact_error_is_within_and_near_what_is_allowed(
    at_least: float, population: int, alpha: float
) -> None:
    """Dynamic programme over the worst null: between 2 % and 5 %; without paying for α at 1 % it is above 5 %."""
    proves, refutes = boundaries(at_least, population, alpha=alpha)
    never = refutes * 0 + population + 1
    counts, law = worst_null(at_least, population, alpha=alpha)
    wrong = course(proves, never, counts, law).proved
    assert 0.015 < wrong <= 0.05
    if alpha == 0.01 and at_least == 0.4:
        unpaid, _ = boundaries(at_least, population, alpha=0.0)
        assert course(unpaid, never, counts, law).proved > 0.05


def test_binomial_probabilities() -> None:
    """As they are, and a point at p = 0."""
    for p, (n, k) in itertools.product([0.0, 0.2], [(5, 0), (5, 2), (0, 0)]):
        expected = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        assert math.exp(float(log_binomial(n, k, p))) == pytest.approx(expected)  # type: ignore[arg-type]


def test_out_of_range() -> None:
    """A programmer's error."""
    with pytest.raises(ValueError, match="out of range"):
        Finite(5, 5, 0.1)
