"""The pace that throttles teach: below what was too high, for long, and back up in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.pace import Pace, at_pace, slowed

QUOTA = Quota(unit="image", count=30)


def after(pace: Pace, answered: int) -> Pace:
    return replace(pace, answered=answered)


def test_a_rare_throttle_costs_little() -> None:
    """One throttle takes 7 % off, and within a thousand answers nearly all of that is back."""
    pace = slowed(None, QUOTA)
    assert pace.rate == pytest.approx(0.93 * 30)
    assert after(pace, 600).rate == pytest.approx(30.0, rel=1e-3)


def test_the_rate_stays_below_what_was_too_high_before_it_looks_for_more() -> None:
    """It rises throughout, slowest where it was refused, and has doubled 1,500 answers beyond."""
    pace = slowed(None, QUOTA)
    rates = [after(pace, n).rate for n in range(0, 3001, 100)]
    assert rates == sorted(rates)
    plateau = 0.07 ** (1 / 3) * 1500
    assert after(pace, round(plateau)).rate == pytest.approx(30.0, rel=1e-6)
    assert after(pace, round(plateau + 1500)).rate == pytest.approx(60.0, rel=1e-3)


def test_throttles_in_a_row_come_down_fast_and_not_to_nothing() -> None:
    """A third of the quota is reached in four steps; a hundred leave one in a hundred."""
    pace = slowed(None, QUOTA)
    for _ in range(3):
        pace = slowed(pace, QUOTA)
    assert pace.rate < 10.0
    for _ in range(100):
        pace = slowed(pace, QUOTA)
    assert 0.5 * 0.3 < pace.rate < 0.3


def test_a_quota_is_never_exceeded_by_its_pace() -> None:
    """A pace above the quota leaves it as it is; one below is an even flow of exactly that rate."""
    pace = slowed(None, QUOTA)
    assert at_pace(QUOTA, after(pace, 10_000)) == QUOTA
    lowered = at_pace(QUOTA, pace)
    assert (lowered.count, lowered.count / lowered.seconds) == (1, pytest.approx(pace.rate))
    assert lowered.unit == "image"
