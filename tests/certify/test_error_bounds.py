"""The error of a boundary over every distribution of answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import Counts, passage
from api_smoothing.certify.error_bounds import CHOSEN, capped_crossing, null_error, open_crossing
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spending import spending_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))


def joint_error(counts: Counts, probabilities: tuple[float, float, float], p0: float) -> float:
    """Exact probability that any class with p ≤ p0 meets the boundary, all classes counted on the same votes."""
    horizon = counts.size
    nulls = [p <= p0 for p in probabilities]
    mass = np.zeros((horizon + 2, horizon + 2))  # by the counts of the first two classes
    mass[0, 0] = 1.0
    wrong = 0.0
    a, b = np.meshgrid(np.arange(horizon + 2), np.arange(horizon + 2), indexing="ij")
    for n in range(1, horizon + 1):
        step = probabilities[2] * mass
        step[1:, :] += probabilities[0] * mass[:-1, :]
        step[:, 1:] += probabilities[1] * mass[:, :-1]
        met = np.zeros(mass.shape, dtype=bool)
        for own, null in zip((a, b, n - a - b), nulls, strict=True):
            here = (own >= counts[n - 1]) & (a + b <= n)
            wrong += float(step[here & ~met].sum()) if null else 0.0
            met |= here
        step[met] = 0.0
        mass = step
    return wrong


def three_class_nulls(p0: float) -> list[tuple[float, float, float]]:
    """Three-class distributions whose largest class is p0 or less."""
    firsts = [p0, 0.5 * (0.5 + p0), 0.5, 0.4, 1 / 3]
    return [
        (q, (1 - q) * s, (1 - q) * (1 - s)) for q in firsts for s in (0.5, 0.75, 1.0) if (1 - q) * s <= p0
    ]


@pytest.mark.parametrize("p0", [0.5, 0.55, 0.7])
@pytest.mark.parametrize("capped", [False, True])
def test_error_over_three_classes_is_within_alpha(p0: float, *, capped: bool) -> None:
    """Exact joint dynamic programming over three classes, none chosen beforehand: the rules err at most α=0.05."""
    boundary = spending_boundary(p0, 60, 0.05) if capped else open_boundary(p0, 0.05)
    errors = [joint_error(boundary.counts(60), p, p0) for p in three_class_nulls(p0)]
    assert max(errors) <= 0.05
    if capped:
        assert max(errors) > 0.03  # and the error is spent, not hoarded


def test_calibrating_for_one_class_is_unsound_for_all() -> None:
    """A boundary calibrated for a class fixed beforehand errs above α once any class may be certified."""
    chosen = spending_boundary(0.5, 60, 0.05, CHOSEN).counts(60)
    assert joint_error(chosen, (0.5, 0.5, 0.0), 0.5) > 0.05


@pytest.mark.parametrize("p0", [0.5, 0.6, P0])
def test_crossing_over_p_does_not_fall(p0: float) -> None:
    """The lemma, checked: f(p)/p grows with p up to p0, for the e-process and the spending boundary alike."""
    for counts in (open_boundary(p0, 0.05).counts(300), spending_boundary(p0, 300, 0.05).counts(300)):
        ratios = [passage(counts, p).upper / p for p in np.linspace(0.05, p0, 20)]
        assert np.all(np.diff(ratios) >= -1e-15)


def test_the_lemma_needs_its_condition() -> None:
    """A boundary met below p0·(n−1)+1 votes breaks f(p)/p, so the boundaries enforce that condition."""
    eager = np.full(40, 3, dtype=np.int64)
    assert passage(eager, 0.2).upper / 0.2 > passage(eager, 0.5).upper / 0.5
    for boundary in (open_boundary(0.5, 0.05).counts(500), spending_boundary(0.5, 500, 0.05).counts(500)):
        n = np.arange(1, 501)
        assert np.all(boundary - 1 >= 0.5 * (n - 1))


@pytest.mark.parametrize("p0", [0.5, 0.6, P0])
def test_grid_of_nulls_is_covered(p0: float) -> None:
    """f(q)+f(1−q) at 200 values of q in [½, p0] never exceeds the bound taken on the coarse grid."""
    counts = open_boundary(p0, 0.05).counts(300)

    def crossing(p: float) -> float:
        return passage(counts, p).upper

    fine = max(crossing(q) + crossing(1 - q) for q in np.linspace(0.5, p0, 200))
    assert fine <= null_error(crossing, p0, 1) * (1 + 1e-12)


@pytest.mark.parametrize("p0", [0.6, P0])
def test_ville_after_the_horizon_is_an_upper_bound(p0: float) -> None:
    """The bound from a short horizon is never below the exact crossing probability of a long one."""
    boundary = open_boundary(p0, ALPHA)
    exact = passage(boundary.counts(6000), p0).upper
    bounds = [open_crossing(boundary, horizon, p0) for horizon in (64, 512, 4096)]
    assert exact <= bounds[2] <= bounds[1] * (1 + 1e-9) <= bounds[0] * (1 + 2e-9)


def test_capped_crossing_is_an_upper_bound() -> None:
    """The shortened computation for p < p0 is never below the full one, and close to it."""
    boundary = spending_boundary(P0, 2000, ALPHA)
    at_p0 = passage(boundary.counts(2000), P0).upper
    for p in (0.1, 0.5, 0.8, 0.83, P0):
        full = passage(boundary.counts(2000), p).upper
        assert full <= capped_crossing(boundary, P0, at_p0, p) * (1 + 1e-9)
        assert capped_crossing(boundary, P0, at_p0, p) <= full + 2e-4 * ALPHA
