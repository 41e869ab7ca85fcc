"""Boundaries that spend α up to a cap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import passage
from api_smoothing.certify.error_bounds import CHOSEN, null_error
from api_smoothing.certify.spending import constant_boundary, spending_boundary

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001
P0 = float(ndtr(1.0))
GOLDEN_SPENDING = [
    (*row, GOLDEN["alpha_spending"]["final_K"].get(str(row[0]), {}).get(str(row[1])))
    for row in GOLDEN["alpha_spending"]["rows"]
]


@pytest.mark.parametrize(("p0", "cap", "p", "power", "calls", "final"), GOLDEN_SPENDING)
def test_spending_golden(
    p0: float, cap: int, p: float, power: float, calls: float, final: int | None
) -> None:
    """Class fixed beforehand: the published power and final count, with no more than the published mean calls."""
    counts = spending_boundary(p0, cap, ALPHA, CHOSEN).counts(cap)
    run = passage(counts, p)
    assert run.upper == pytest.approx(power, abs=6e-4)
    assert 0.8 * calls < run.calls <= calls + 0.05
    assert final in (None, counts[-1])


@pytest.mark.parametrize(
    ("p0", "cap", "final"), [(0.5, 1000, 551), (P0, 100, 95), (P0, 1000, 878), (0.5, 100, 67)]
)
def test_spending_final_count_golden(p0: float, cap: int, final: int) -> None:
    """The count that certifies at the cap is the published one."""
    assert spending_boundary(p0, cap, ALPHA, CHOSEN).at(cap) == final


@pytest.mark.parametrize(("p0", "cap"), [(0.5, 100), (P0, 100), (P0, 1000), (0.6554217416103242, 400)])
@pytest.mark.parametrize("max_classes", [CHOSEN, 1, 3])
def test_spending_error_is_exact(p0: float, cap: int, max_classes: int) -> None:
    """The total error is at most α, and one vote less at the cap would exceed it."""
    counts = spending_boundary(p0, cap, ALPHA, max_classes).counts(cap)

    def total(at_cap: int) -> float:
        other = counts.copy()
        other[-1] = at_cap
        return null_error(lambda p: passage(other, p).upper, p0, max_classes)

    assert total(int(counts[-1])) <= ALPHA
    assert total(int(counts[-1]) - 1) > ALPHA * 0.99
    early = counts.copy()
    early[-1] = counts[-2] + 1
    assert passage(early, p0).upper <= 0.3 * ALPHA


@pytest.mark.parametrize(
    ("p0", "p", "cap"), [(P0, 0.99, 100), (P0, 0.95, 1000), (0.5, 0.9, 100), (0.9332, 0.99, 1000)]
)
def test_spending_saves_a_third_at_the_power_of_a_fixed_n(p0: float, p: float, cap: int) -> None:
    """At least 35 % fewer answers than the curtailed fixed-n test, with its power to within 0.002."""
    from api_smoothing.certify import clopper_pearson

    least = int(np.argmax(clopper_pearson.lower(np.arange(cap + 1), cap, ALPHA) >= p0))
    n = np.arange(1, cap + 1)
    paper = passage(constant_boundary(least, cap).counts(cap), p, least - 1 - (cap - n))
    ours = passage(spending_boundary(p0, cap, ALPHA).counts(cap), p)
    assert ours.upper >= paper.upper - 0.002
    assert ours.calls <= 0.65 * paper.calls


def test_a_cap_too_small_is_out_of_reach() -> None:
    """Where even unanimous answers do not suffice the boundary says so."""
    assert spending_boundary(P0, 20, ALPHA).reach(0, 0) is None
    assert spending_boundary(P0, 60, ALPHA).reach(0, 0) is not None
