"""What a run that misses its target has proved all the same.

Claims "p > g" for a rising list of levels g_0 = ½ < g_1 < … < g_m < p0 are nested: each is made only after
the ones below it, and the target implies them all. So one error budget serves them together. Let f(p) bound
the probability that a class of probability p meets the target's boundary, and e_j(p) that its e-process
against p ≤ g_j passes 1/c_j.

A class with g_i < p ≤ g_(i+1) is wronged only by a claim from g_(i+1) on, which needs e_(i+1) or the target:
probability at most c_(i+1) + f(g_(i+1)), both being largest at p = g_(i+1). The other classes have at most 1
− p together and need e_0 or the target: at most o(1 − g_i), o(s) = e_0(s) + f(s), by the lemma of `error_bounds`. So

    c_0 = α/2 − f(½),    c_j = α − f(g_j) − o(1 − g_(j−1))

are sound, and for p in (g_m, p0] the target's own calibration, at α·(1 − RESERVE), leaves RESERVE·α for
e_0(1 − g_m). Where that is too little (targets close to zero) there is no fallback and the run abstains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import cached_property

from api_smoothing.certify.boundary import OpenBoundary
from api_smoothing.certify.error_bounds import open_crossing
from api_smoothing.certify.mixture import tuned_mixture

#: The share of α that a target boundary leaves to the fallback.
RESERVE = 0.002
_STEPS = 8
_HORIZON = 1024

Level = tuple[float, float, OpenBoundary]  # radius, p_lower, boundary
Claim = tuple[Hashable | None, float, float]  # label, p_lower, radius


def fallback_levels(
    target: float,
    alpha: float,
    threshold: Callable[[float], float],
    crossing: Callable[[float], float],
    *,
    version: int,
) -> tuple[Level, ...]:
    """Levels at radii target·j/8, j = 0…7 (0 proves a majority, no radius); empty where α does not suffice.

    `threshold` gives p0(r), `crossing` is f, `version` that of the mixture. The target's boundary must be
    calibrated at α·(1 − RESERVE).
    """
    radii = [target * j / _STEPS for j in range(_STEPS)]
    nulls = [threshold(r) for r in radii]
    base = alpha / 2.0 - crossing(nulls[0])
    if base <= 0.0:
        return ()
    majority = OpenBoundary(tuned_mixture(nulls[0], alpha, version=version), math.log(1.0 / base))

    def others(s: float) -> float:
        return open_crossing(majority, _HORIZON, s)

    levels: list[Level] = [(0.0, nulls[0], majority)]
    for below, r, g in zip(nulls, radii[1:], nulls[1:], strict=False):
        share = alpha - crossing(g) - others(1.0 - below) - crossing(1.0 - below)
        if share <= 0.0:
            break
        levels.append((r, g, OpenBoundary(tuned_mixture(g, alpha, version=version), math.log(1.0 / share))))
    return tuple(levels) if others(1.0 - levels[-1][1]) <= RESERVE * alpha else ()


class Fallback:
    """The largest level proved so far, for one run."""

    def __init__(self, levels: Callable[[], tuple[Level, ...]]) -> None:
        """Nothing proved yet; `levels` are made at the first look, as one who only plans has no use for them."""
        self._levels = levels
        self._proved = 0
        self._label: Hashable | None = None

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels, lowest first; none where α does not suffice."""
        return self._levels()

    def look(self, leader: Hashable | None, top: int, n: int) -> None:
        """Take the counts after an answer: `top` votes for `leader` among n."""
        while self._proved < len(self.levels) and top >= self.levels[self._proved][2].at(n):
            if leader != self._label:
                if self._proved:
                    return  # another class was claimed first; one claim a run
                self._label = leader
            self._proved += 1

    @property
    def best(self) -> Claim:
        """Label, p_lower and radius of the highest claim; None and zeros if there is none above a majority."""
        if self._proved < 2:
            return None, 0.0, 0.0
        certified, p_lower, _ = self.levels[self._proved - 1]
        return self._label, p_lower, certified
