"""The exact lower bound on a share, in floats that never exceed it."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.certify import clopper_pearson

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
