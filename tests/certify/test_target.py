"""Certified at a target, or given up."""

from __future__ import annotations

import pytest
from certifiers import run, stream
from scipy.special import ndtr

from api_smoothing.certify import certifier, fixed
from api_smoothing.certify.plan import target_boundary


def test_a_run_below_the_target_says_why_it_stopped() -> None:
    """Giving up names whether it was certain or likely; a budget names what the target still needed."""
    likely, _ = run(certifier(target=0.25, sigma=0.25), stream(0, 0.4), one_by_one=False)
    assert (likely.stopped, likely.reached) == ("futile", False)
    assert "likelihood" in likely.reason
    certain, _ = run(certifier(target=0.25, sigma=0.25, n=45), stream(2, 0.88), one_by_one=False)
    assert certain.stopped == "futile"
    assert "certain" in certain.reason
    made = certifier(target=0.25, sigma=0.25, cap=200)
    made.add(["a"] * 20 + ["b"] * 2 + ["a"] * 20 + ["b"] * 2)
    while made.need():
        made.add(["a" if made.result().n % 12 else "b"])
    assert made.result().stopped in ("budget", "target", "futile")


@pytest.mark.parametrize("budget", [{"n": 60}, {"cap": 60}])
@pytest.mark.parametrize("p", [0.8, 0.9])
def test_certain_futility_is_neither_early_nor_late(budget: dict[str, int], p: float) -> None:
    """A run is given up for certain at the first n at which unanimous answers could not bring the target."""
    for seed in range(25):
        made, answers, top, n = certifier(target=0.25, sigma=0.25, **budget), stream(seed, p), 0, 0
        boundary = target_boundary(float(ndtr(1.0)), alpha=0.001, cap=budget.get("n"))
        while made.need():
            needed = boundary.reach(top, n)
            assert needed is not None
            assert n + needed <= 60
            made.add([next(answers)])
            top, n = max(made.result().counts.values(), default=0), n + 1
        if "certain" in made.result().reason:
            needed = boundary.reach(top, n)
            assert needed is None or n + needed > 60


def test_no_split_target_agrees_with_the_full_run() -> None:
    """A curtailed fixed-n decision is the decision of all n votes."""
    for seed in range(30):
        answers = [a for a, _ in zip(stream(seed, 0.8), range(200), strict=False)]
        curtailed = certifier(n=200, target=0.12, sigma=0.25, method="fixed")
        i = 0
        while need := curtailed.need():
            curtailed.add(answers[i : i + need])
            i += need
        votes = sum(a == "a" for a in answers)
        p_lower = fixed.no_split_lower(votes, 200, 0.001)
        assert curtailed.result().reached == (p_lower >= ndtr(0.12 / 0.25) * (1 + 1e-14))
