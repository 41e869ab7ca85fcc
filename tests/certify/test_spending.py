"""Boundaries that spend α up to a cap."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify import spending
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
    counts = spending_boundary(p0, cap, ALPHA, CHOSEN, version=1).counts(cap)
    run = passage(counts, p)
    assert run.upper == pytest.approx(power, abs=6e-4)
    assert 0.8 * calls < run.calls <= calls + 0.05
    assert final in (None, counts[-1])


@pytest.mark.parametrize(
    ("p0", "cap", "final"), [(0.5, 1000, 551), (P0, 100, 95), (P0, 1000, 878), (0.5, 100, 67)]
)
def test_spending_final_count_golden(p0: float, cap: int, final: int) -> None:
    """The count that certifies at the cap is the published one."""
    assert spending_boundary(p0, cap, ALPHA, CHOSEN, version=1).at(cap) == final


@pytest.mark.parametrize(("p0", "cap"), [(0.5, 100), (P0, 100), (P0, 1000), (0.6554217416103242, 400)])
@pytest.mark.parametrize("max_classes", [CHOSEN, 1, 3])
def test_spending_error_is_exact(p0: float, cap: int, max_classes: int) -> None:
    """The total error is at most α, and one vote less at the cap would exceed it."""
    counts = spending_boundary(p0, cap, ALPHA, max_classes, version=1).counts(cap)

    def total(at_cap: int) -> float:
        other = counts.copy()
        other[-1] = at_cap
        return null_error(lambda p: passage(other, p).upper, p0, max_classes)

    assert total(int(counts[-1])) <= ALPHA
    assert total(int(counts[-1]) - 1) > ALPHA * 0.99
    early = counts.copy()
    early[-1] = counts[-2] + 1
    assert passage(early, p0).upper <= 0.3 * ALPHA


@pytest.mark.parametrize("p0", [0.5, 0.55, 0.75, P0, 0.9332, 0.9772, 0.99])
@pytest.mark.parametrize(("alpha", "cap"), [(0.05, 100), (0.01, 400), (ALPHA, 100), (ALPHA, 1000)])
@pytest.mark.parametrize("max_classes", [1, 3])
def test_what_the_integers_leave_over_is_spent(p0: float, alpha: float, cap: int, max_classes: int) -> None:
    """Exact total error of all nulls: within α, and at least 0.95 of it wherever anything can be certified."""
    boundary = spending_boundary(p0, cap, alpha, max_classes)
    if boundary.reach(0, 0) is None:
        return
    counts = boundary.counts(cap)
    error = null_error(lambda p: passage(counts, p).upper, p0, max_classes)
    assert 0.95 * alpha <= error <= alpha
    assert np.all(counts - 1 >= p0 * (np.arange(1, cap + 1) - 1) * (1 - 1e-15))


@pytest.mark.parametrize(("p0", "cap"), [(Fraction(1, 2), 30), (Fraction(3, 4), 40)])
def test_the_error_in_rational_arithmetic(p0: Fraction, cap: int) -> None:
    """Without a float anywhere: the worst null sum f(q) + f(1 − q), q from ½ to p0, is at most α, and nearly α."""
    counts = spending_boundary(float(p0), cap, 0.05).counts(cap).tolist()

    def crossing(p: Fraction) -> Fraction:
        alive, met = {0: Fraction(1)}, Fraction(0)
        for least in counts:
            after: dict[int, Fraction] = {}
            for k, mass in alive.items():
                for votes, chance in ((k + 1, p), (k, 1 - p)):
                    after[votes] = after.get(votes, Fraction(0)) + mass * chance
            met += sum(mass for k, mass in after.items() if k >= least)
            alive = {k: mass for k, mass in after.items() if k < least}
        return met

    shares = [Fraction(1, 2) + (p0 - Fraction(1, 2)) * i / 8 for i in range(9)]
    worst = max(crossing(q) + crossing(1 - q) for q in shares)
    assert Fraction(9, 10) * Fraction(1, 20) < worst <= Fraction(1, 20)


@pytest.mark.parametrize(("p0", "cap"), [(P0, 1000), (0.9772, 1000)])
def test_version_2_takes_fewer_answers(p0: float, cap: int) -> None:
    """Against version 1: a unanimous class needs at least a tenth fewer answers, a hard one no more, for like power."""
    old, new = (spending_boundary(p0, cap, ALPHA, version=version) for version in (1, 2))
    unanimous = [boundary.reach(0, 0) or cap for boundary in (old, new)]
    assert unanimous[1] <= 0.93 * unanimous[0]
    n = np.arange(1, cap + 1)
    for p in (1 - (1 - p0) * 0.63, 1 - (1 - p0) * 0.3, 1 - (1 - p0) * 0.05):
        was, now = (passage(b.counts(cap), p, b.at(cap) - 1 - (cap - n)) for b in (old, new))
        assert now.calls < was.calls
        assert now.upper >= was.upper - 0.005


@pytest.mark.parametrize("cap", [60, 100, 200, 300])
def test_a_small_cap_keeps_its_power(cap: int) -> None:
    """Where the cap decides most images, early looks take nothing from it: the power is version 1's or more."""
    old, new = (spending_boundary(P0, cap, ALPHA, version=version) for version in (1, 2))
    assert new.at(cap) <= old.at(cap)
    for p in (0.89, 0.92, 0.95, 0.98):
        assert passage(new.counts(cap), p).upper >= passage(old.counts(cap), p).upper - 1e-4


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


GRID = [
    (float(ndtr(z)), cap, alpha, classes, version)
    for z in (0.0, 1.0, 3.0)
    for cap in (1, 5, 60, 300)
    for alpha in (1e-5, ALPHA, 0.05)
    for classes, version in ((CHOSEN, 2), (1, 1), (1, 2), (3, 2))
]


def test_boundaries_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid: each is that of a search that follows every trial from its start, and all are those once released.

    Whoever goes on with a question, or checks a certificate, must find the counts that it was begun with.
    """
    found = [spending_boundary.__wrapped__(*row[:4], version=row[4]) for row in GRID]
    digest = hashlib.sha256()
    for boundary in found:
        digest.update(boundary.counts(boundary.cap or 0).tobytes())
    assert digest.hexdigest() == "f993c75caaec8575083a74bdec22045fbd7c9d77fff1ff67e98d23ed4e58c744"
    monkeypatch.setattr(spending, "Passages", lambda: passage)
    for row, boundary in zip(GRID, found, strict=True):
        whole = spending_boundary.__wrapped__(*row[:4], version=row[4])
        assert whole.counts(row[1]).tolist() == boundary.counts(row[1]).tolist(), row
