"""Sequential rules: e-processes, boundaries, and their exact error over all classes."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import anytime, mixture
from api_smoothing.certify.boundary import CappedBoundary, OpenBoundary
from api_smoothing.certify.crossing import Counts, passage
from api_smoothing.certify.error_bounds import CHOSEN, capped_crossing, null_error, open_crossing
from api_smoothing.certify.fixed import tail
from api_smoothing.certify.futility import futility_boundary
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spending import constant_boundary, spending_boundary

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001
P0 = float(ndtr(1.0))


@pytest.mark.parametrize("row", GOLDEN["log_e_value"]["rows"])
def test_log_e_golden(row: list[float]) -> None:
    """The truncated mixture's log e-value is the published one."""
    k, n, p0, _, truncated = row
    assert float(mixture.log_e_beta(k, n, p0)) == pytest.approx(truncated, abs=1e-9)


@pytest.mark.parametrize("p0", [0.3, 0.5, P0, 0.99])
@pytest.mark.parametrize("alpha", [ALPHA, 0.05])
def test_mixture_is_a_supermartingale(p0: float, alpha: float) -> None:
    """From any state the expected e-value after one more answer is at most the present one, for every p ≤ p0."""
    made = mixture.tuned_mixture(p0, alpha)
    assert sum(made.weight) == pytest.approx(1.0)
    assert min(made.q) > p0
    n, k = (values.ravel() for values in np.meshgrid([0, 1, 7, 40, 300], [0, 1, 5, 30, 290]))
    n, k = n[k <= n], k[k <= n]
    here = np.exp(made.log_e(k, n))
    for p in np.linspace(0.0, p0, 6):
        after = p * np.exp(made.log_e(k + 1, n + 1)) + (1 - p) * np.exp(made.log_e(k, n + 1))
        assert np.all(after <= here * (1 + 1e-9))


@pytest.mark.parametrize("p0", [0.5, P0])
def test_anytime_e_value_is_a_supermartingale(p0: float) -> None:
    """The Beta mixture with its share on unanimity starts at 1 and does not grow on average at p = p0."""
    assert anytime.log_e(0, 0, p0) == pytest.approx(0.0, abs=1e-12)
    for n, k in ((0, 0), (1, 1), (9, 9), (9, 8), (60, 50), (300, 200)):
        after = p0 * math.exp(anytime.log_e(k + 1, n + 1, p0)) + (1 - p0) * math.exp(
            anytime.log_e(k, n + 1, p0)
        )
        assert after <= math.exp(anytime.log_e(k, n, p0)) * (1 + 1e-9)


@lru_cache
def beta_boundary(p0: float, log_threshold: float, horizon: int) -> Counts:
    """The textbook rule: the Beta mixture alone, no calibration."""
    counts, k = [], 0
    for n in range(1, horizon + 1):
        while k <= n and not (k >= n * p0 and float(mixture.log_e_beta(k, n, p0)) >= log_threshold):
            k += 1
        counts.append(k)
    return np.array(counts)


def test_the_factor_p0_is_needed() -> None:
    """Null sum over two classes at p0=½, N=3000: 7.4e-4 with α' = α·p0, but 1.54e-3, above α, without the factor."""
    with_factor = beta_boundary(0.5, math.log(1 / (ALPHA * 0.5)), 3000)
    without = beta_boundary(0.5, math.log(1 / ALPHA), 3000)
    assert 2 * passage(with_factor, 0.5).upper == pytest.approx(7.4e-4, abs=1e-5)
    assert 2 * passage(without, 0.5).upper == pytest.approx(1.54e-3, abs=1e-5)


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


@pytest.mark.parametrize("p0", [0.5, 0.52, 0.6554217416103242, P0, 0.9772498680518208])
@pytest.mark.parametrize("max_classes", [1, 5])
def test_open_boundary_uses_its_error(p0: float, max_classes: int) -> None:
    """The calibrated error over all nulls is at most α, and at least 0.9·α where one class carries it."""
    boundary = open_boundary(p0, ALPHA, max_classes)
    error = null_error(lambda p: open_crossing(boundary, 4096, p), p0, max_classes)
    assert error <= ALPHA * (1 + 1e-9)
    assert error > 0.9 * ALPHA
    assert boundary.log_threshold <= math.log(max_classes / (ALPHA * p0)) + 1e-12


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


@pytest.mark.parametrize("p0", [0.5, P0, 0.99])
def test_giving_up_on_a_good_image_is_rare(p0: float) -> None:
    """A class at p0 or above is put below p0 with probability at most 0.01, over an unlimited run."""
    boundary = futility_boundary(p0)
    at_p0 = open_crossing(boundary, 4096, 1.0 - p0)
    assert 0.009 < at_p0 <= 0.01 * (1 + 1e-9)
    assert open_crossing(boundary, 1024, (1.0 - p0) * 0.8) < at_p0


@settings(deadline=None, max_examples=30)
@given(p0=st.floats(0.5, 0.99), alpha=st.sampled_from([0.05, 0.001]), n=st.integers(1, 3000), data=st.data())
def test_reach_is_the_first_unanimous_meeting(p0: float, alpha: float, n: int, data: st.DataObject) -> None:
    """`reach` is the smallest m with count+m ≥ K(n+m), for open and capped boundaries; K grows by 0 or 1."""
    made = mixture.tuned_mixture(p0, alpha)
    count = data.draw(st.integers(max(0, int(n * p0) - 50), n))
    unlimited = OpenBoundary(made, math.log(1 / alpha))
    counts = unlimited.counts(n + 6000)
    assert set(np.diff(counts).tolist()) <= {0, 1}
    later = np.arange(0, 6000)
    met = np.nonzero(count + later >= counts[n - 1 + later])[0]
    expected = int(met[0]) if met.size else None
    fresh = OpenBoundary(made, math.log(1 / alpha))  # nothing tabulated yet
    if expected is not None:
        assert unlimited.reach(count, n) == fresh.reach(count, n) == expected
    capped = CappedBoundary(counts[: n + 500])
    assert capped.reach(count, n) == (expected if expected is not None and expected <= 500 else None)


def test_passage_adds_up() -> None:
    """Crossed, fallen, alive and dropped mass sum to 1, and a constant boundary gives the binomial tail."""
    n = np.arange(1, 401)
    run = passage(open_boundary(P0, ALPHA).counts(400), 0.85, n - futility_boundary(P0).counts(400))
    assert run.upper + run.lower + float(run.alive.sum()) + run.dropped == pytest.approx(1.0, abs=1e-12)
    assert run.dropped < 1e-13
    fixed_n = passage(constant_boundary(60, 100).counts(100), 0.5)
    assert fixed_n.upper == pytest.approx(tail(60, 100, 0.5), rel=1e-10)
