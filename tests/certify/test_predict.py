"""PREDICT: a class, or none, without a radius."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.certify import FAILED, predict

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001


def exact_tail(k: int, n: int, p: Fraction) -> Fraction:
    """P(Bin(n, p) ≥ k) in rational arithmetic."""
    a, b = p.numerator, p.denominator - p.numerator
    return Fraction(sum(math.comb(n, i) * a**i * b ** (n - i) for i in range(k, n + 1)), p.denominator**n)


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
