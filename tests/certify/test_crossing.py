"""The exact passage of a walk over a boundary."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import _TINY, _TRIM, Counts, Passages, passage, running
from api_smoothing.certify.fixed import tail
from api_smoothing.certify.futility import futility_boundary
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spending import constant_boundary, spending_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))


def plainly(upper: Counts, p: float, lower: Counts | None = None) -> tuple[object, ...]:
    """The recursion as it is written down, a new array for each answer."""
    mass, first = np.ones(1), 0
    crossed = fallen = calls = dropped = 0.0
    for i, top in enumerate(upper.tolist()):
        calls += 1.0 - crossed - fallen - dropped
        step = np.append(0.0, mass * p)
        step[:-1] += mass * (1.0 - p)
        if first + step.size > top:
            above = step[max(0, top - first) :]
            crossed += float(above.sum())
            step = step[: step.size - above.size]
        if lower is not None and lower[i] >= first:
            below = step[: int(lower[i]) + 1 - first]
            fallen += float(below.sum())
            step, first = step[below.size :], first + below.size
        if i % _TRIM == 0 and step.size > 1:
            low, high = (int(np.sum(np.cumsum(side) < _TINY)) for side in (step, step[::-1]))
            end = step.size - high
            dropped += float(step[:low].sum() + step[end:].sum()) if low < end else float(step.sum())
            step, first = (step[low:end], first + low) if low < end else (step[:0], first)
        mass = step
        if mass.size == 0:
            break
    return crossed, fallen, calls, dropped, mass.tolist()


def figures(upper: Counts, p: float, lower: Counts | None = None) -> tuple[object, ...]:
    ran = passage(upper, p, lower)
    return ran.upper, ran.lower, ran.calls, ran.dropped, ran.alive.tolist()


def test_passage_adds_up() -> None:
    """Crossed, fallen, alive and dropped mass sum to 1, and a constant boundary gives the binomial tail."""
    n = np.arange(1, 401)
    run = passage(open_boundary(P0, ALPHA).counts(400), 0.85, n - futility_boundary(P0).counts(400))
    assert run.upper + run.lower + float(run.alive.sum()) + run.dropped == pytest.approx(1.0, abs=1e-12)
    assert run.dropped < 1e-13
    fixed_n = passage(constant_boundary(60, 100).counts(100), 0.5)
    assert fixed_n.upper == pytest.approx(tail(60, 100, 0.5), rel=1e-10)


@pytest.mark.parametrize("p", [1e-9, 0.16, 0.5, P0, 0.95, 1.0])
def test_passage_is_the_recursion_bit_for_bit(p: float) -> None:
    """Work saved leaves every figure as it was: certificates hang on them."""
    n = np.arange(1, 601)
    capped, endless = spending_boundary(P0, 600, ALPHA).counts(600), open_boundary(P0, ALPHA).counts(600)
    for upper, lower in [
        (capped, None),
        (endless, None),
        (capped, capped[-1] - 1 - (600 - n)),
        (endless, n - futility_boundary(P0).counts(600)),
        (capped, n),
        (n * 0, None),
    ]:
        assert figures(upper, p, lower) == plainly(upper, p, lower)


def test_what_is_followed_on_is_followed_from_the_start_bit_for_bit() -> None:
    """Boundary after boundary, longer and shorter ones, other ones early and late, and two p in turn."""
    rng = np.random.default_rng(0)
    follow, base = Passages(), spending_boundary(P0, 700, ALPHA).counts(700)
    for trial in range(60):
        upper = base[: int(rng.integers(1, 701))].copy()
        upper[int(rng.integers(0, upper.size)) :] += int(rng.integers(-1, 2))
        p = (P0, 0.9)[trial % 2]
        followed, whole = follow(upper, p), passage(upper, p)
        assert followed.alive.tolist() == whole.alive.tolist()
        assert astuple(followed)[:4] == astuple(whole)[:4]
        assert followed.dropped == whole.dropped
        upper -= 1  # whose owner goes on with it


def test_a_search_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capped boundary is found in less than half the steps that its trials have."""
    from api_smoothing.certify import crossing, spending

    steps, trials = [], []
    onward, call = crossing._onward, Passages.__call__

    def counting(ran: object, since: int, upper: Counts, *rest: object) -> object:
        steps.append(upper.size - since)
        return onward(ran, since, upper, *rest)  # type: ignore[arg-type]

    def noting(follow: Passages, upper: Counts, p: float) -> object:
        trials.append(upper.size)
        return call(follow, upper, p)

    monkeypatch.setattr(crossing, "_onward", counting)
    monkeypatch.setattr(Passages, "__call__", noting)
    spending.spending_boundary.__wrapped__(P0, 1000, ALPHA)
    assert sum(steps) < sum(trials) / 2


def test_who_is_still_running_is_what_passages_leave() -> None:
    """For each share, after each answer: 1 less what has crossed and what has fallen."""
    upper = spending_boundary(P0, 300, ALPHA).counts(300)
    lower = np.arange(1, 301) - futility_boundary(P0).counts(300)
    shares = np.array([0.0, 0.3, P0, 0.9, 0.97, 1.0])
    found = running(upper, shares, lower)
    for column, p in enumerate(shares):
        for t in (0, 1, 46, 47, 120, 300):
            ran = passage(upper[:t], float(p), lower[:t])
            assert found[t, column] == pytest.approx(1.0 - ran.upper - ran.lower, abs=1e-11)
