"""A target that is missed: the smaller radius that was proved beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from certifiers import ALPHA, run, stream
from scipy.special import ndtr

from api_smoothing.certify import certifier
from api_smoothing.certify.crossing import passage
from api_smoothing.certify.fallback import Fallback
from api_smoothing.certify.plan import target_boundary
from api_smoothing.certify.target import TargetCertifier


def test_a_missed_target_reports_what_was_proved() -> None:
    """A share well above ½ but below the target is certified at a smaller radius, with reached=False."""
    bound, _ = run(certifier(target=0.5, sigma=0.25), stream(1, 0.965), one_by_one=False)
    assert bound.stopped == "futile"
    assert bound.reached is False
    assert bound.label == "a"
    assert 0.0 < bound.radius < 0.5
    assert bound.p_lower >= ndtr(bound.radius / 0.25)


@lru_cache
def fallback_run() -> tuple[float, TargetCertifier]:
    """A capped target whose fallback is proved at α=0.05."""
    made = certifier(target=0.35, sigma=0.25, alpha=ALPHA, n=120)
    assert isinstance(made, TargetCertifier)
    return float(ndtr(0.35 / 0.25)), made


def claims_error(q: float, other: float, horizon: int, wrong_if: Callable[[float, float], bool]) -> float:
    """Exact probability of a wrong claim by target or fallback: class a has `q`, class b `other`, the rest none."""
    p0, made = fallback_run()
    levels = made._fallback.levels
    counts = target_boundary(p0, alpha=ALPHA, cap=120).counts(horizon)
    tables = [boundary.counts(horizon) for _, _, boundary in levels]
    states: dict[tuple[int, int, int, str], float] = {(0, 0, 0, ""): 1.0}  # votes a, votes b, proved, by whom
    error = 0.0
    for n in range(1, horizon + 1):
        after: dict[tuple[int, int, int, str], float] = {}
        for (a, b, proved, who), mass in states.items():
            for da, db, chance in ((1, 0, q), (0, 1, other), (0, 0, 1 - q - other)):
                if chance * mass < 1e-15:
                    continue
                ka, kb, j, by = a + da, b + db, proved, who
                top, label = max((ka, "a"), (kb, "b"))
                p = q if label == "a" else other
                if top >= counts[n - 1]:
                    error += chance * mass if wrong_if(p0, p) else 0.0
                    continue
                while j < len(levels) and top >= tables[j][n - 1] and by in ("", label):
                    j, by = j + 1, label
                if j > proved and wrong_if(levels[j - 1][1], p):
                    error += chance * mass
                    continue
                key = (ka, kb, j, by)
                after[key] = after.get(key, 0.0) + chance * mass
        states = after
    return error


def test_fallback_and_target_share_one_alpha() -> None:
    """Exact DP: the probability of any wrong claim, target or smaller radius, is at most α wherever p lies."""
    _, made = fallback_run()
    levels = made._fallback.levels
    assert len(levels) == 8
    for _, g, _ in [levels[0], levels[1], levels[4], levels[7]]:
        for other in (1 - g, 0.0):
            error = claims_error(g, other, 60, lambda level, p: p <= level)
            assert error <= ALPHA
    p0, _ = fallback_run()
    assert claims_error(p0, 1 - p0, 60, lambda level, p: p <= level) <= ALPHA


def test_the_fallback_leaves_the_target_its_share() -> None:
    """At every level: its own error, the target's, and what the other classes can do, sum to at most α."""
    p0, made = fallback_run()
    levels = made._fallback.levels
    target = target_boundary(p0, alpha=ALPHA, cap=120).counts(120)
    majority = levels[0][2]

    def others(p: float) -> float:
        return passage(target, p).upper + passage(majority.counts(600), p).upper

    own = [math.exp(-boundary.log_threshold) for _, _, boundary in levels]  # Ville
    assert 2 * (own[0] + passage(target, 0.5).upper) <= ALPHA
    for (_, below, _), (_, g, _), level in zip(levels, levels[1:], own[1:], strict=False):
        assert level + passage(target, g).upper + others(1 - below) <= ALPHA * (1 + 1e-9)
    assert passage(target, p0).upper + others(1 - levels[-1][1]) <= ALPHA


def test_the_fallback_claims_in_order() -> None:
    """A level is claimed only after all lower ones, and by one class only."""
    _, made = fallback_run()
    levels = made._fallback.levels
    fresh = Fallback(lambda: levels)
    fresh.look("a", 60, 60)
    assert fresh.best[0] == "a"
    assert fresh.best[2] == levels[-1][0]
    fresh.look("b", 100, 120)
    assert fresh.best[0] == "a"
