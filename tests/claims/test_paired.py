"""The paired tests, by enumeration of every table."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from api_smoothing.claims import paired
from api_smoothing.errors import ConfigurationError


def test_mcnemar_is_the_binomial_tail() -> None:
    """In rational arithmetic, rounded up by no more than 10⁻⁹."""
    for b, c in [(0, 0), (5, 0), (12, 3), (3, 12), (60, 40)]:
        n = b + c
        exact = Fraction(sum(math.comb(n, i) for i in range(b, n + 1)), 2**n)
        assert exact <= Fraction(paired.mcnemar(b, c)) <= exact * (1 + Fraction(1, 10**8)) or exact == 1
    assert paired.mcnemar_two_sided(10, 2) == pytest.approx(158 / 4096)
    assert paired.mcnemar_two_sided(2, 10) == paired.mcnemar_two_sided(10, 2)
    assert paired.mcnemar_two_sided(3, 3) == 1.0


def tables(n: int) -> list[tuple[int, int]]:
    return [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]


@pytest.mark.parametrize(("n", "most"), [(12, 0.0), (12, 0.1), (20, 0.05), (20, 0.3)])
def test_chance_fails_at_most_one_build_in_twenty(n: int, most: float) -> None:
    """Every table of n pairs at every null on a grid: P(p ≤ 0.05) ≤ 0.05, and so at 0.2 and 0.01."""
    found = tables(n)
    p_values = np.array([paired.drop_p_value(b, c, n, most) for b, c in found])
    ways = np.array([math.factorial(n) / math.prod(map(math.factorial, (b, c, n - b - c))) for b, c in found])
    b, c = (np.array(column) for column in zip(*found, strict=True))
    for p01 in np.linspace(0.0, (1.0 - most) / 2.0, 15):
        for drop in {most, most / 2.0, 0.0}:
            p10 = p01 + drop
            law = ways * p10**b * p01**c * max(0.0, 1.0 - p10 - p01) ** (n - b - c)
            assert law.sum() == pytest.approx(1.0)
            for level in (0.2, 0.05, 0.01):
                assert law[p_values <= level].sum() <= level


def test_the_tail_of_the_difference_is_exact() -> None:
    """Against the sum over all tables."""
    n, p10, p01 = 9, 0.3, 0.15
    for seen in range(-2, 10):
        expected = sum(
            math.factorial(n)
            / math.prod(map(math.factorial, (b, c, n - b - c)))
            * p10**b
            * p01**c
            * (1 - p10 - p01) ** (n - b - c)
            for b, c in tables(n)
            if b - c >= max(seen, 0)
        )
        if seen >= 0:
            assert paired._difference_at_least(seen, n, p10, p01) == pytest.approx(expected)


def test_a_margin_makes_it_harder_to_fail() -> None:
    """The p-value rises with the drop that is allowed, once there is a margin, and falls with the drop seen."""
    allowed = [paired.drop_p_value(60, 10, 500, most) for most in (0.01, 0.02, 0.05, 0.08, 0.12)]
    assert allowed == sorted(allowed)
    seen = [paired.drop_p_value(b, 10, 500, 0.02) for b in (20, 30, 40, 60)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 0.01


def test_the_gate_says_why() -> None:
    """One line, with counts and p-value; equal runs pass, a run that lost 30 of 500 does not."""
    before = [True] * 300 + [False] * 200
    after = [False] * 30 + [True] * 270 + [False] * 195 + [True] * 5
    failed = paired.gate(zip(before, after, strict=True), 0.02)
    assert not failed.passed
    assert failed.why.startswith(
        "accuracy fell by more than 0.02: 300 of 500 before, 275 now: 30 lost, 5 gained"
    )
    assert "\n" not in failed.why
    assert paired.gate(zip(before, before, strict=True)).passed
    assert paired.gate(zip(after, before, strict=True)).passed


def test_a_floor_fails_by_the_binomial_test() -> None:
    """The largest count that fails at 0.5 of 100 is the 5 % quantile: 41; all of a floor of 1 must be right."""
    assert [k for k in range(101) if not paired.floor(k, 100, 0.5).passed] == list(range(42))
    assert not paired.floor(99, 100, 1.0).passed
    assert paired.floor(0, 100, 0.0).passed
    assert "accuracy is below 0.5: 30 of 100" in paired.floor(30, 100, 0.5).why


def test_what_does_not_fit_is_refused() -> None:
    """No pair in common, counts that do not fit, a margin out of range."""
    for call in (
        lambda: paired.gate([]),
        lambda: paired.drop_p_value(3, 3, 5),
        lambda: paired.drop_p_value(1, 1, 5, 1.0),
        lambda: paired.floor(0, 0, 0.5),
        lambda: paired.floor(1, 2, 1.5),
    ):
        with pytest.raises(ConfigurationError):
            call()
