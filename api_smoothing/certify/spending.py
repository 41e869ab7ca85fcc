"""Target boundaries with a known cap N: α is spent exactly, most of it at the end.

Early looks get the e-process boundary, scaled so that they err 0.3·α in all; at N a class is certified at the
smallest count that brings the exact total to α. The power is that of a fixed n = N, the mean number of
answers far smaller. The cap must be fixed before the first answer, and a capped run is not topped up.

Source: Lan and DeMets 1983 (error spending); the probabilities are exact, by dynamic programming over counts.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from api_smoothing.certify.boundary import CappedBoundary
from api_smoothing.certify.crossing import Counts, passage
from api_smoothing.certify.error_bounds import capped_crossing, null_error, null_weight
from api_smoothing.certify.mixture import tuned_mixture
from api_smoothing.certify.sequential import calibrate

EARLY_SHARE = 0.3


@lru_cache(maxsize=512)
def spending_boundary(p0: float, cap: int, alpha: float, max_classes: int = 1) -> CappedBoundary:
    """The boundary that certifies p > `p0` for any class within `cap` answers, total error at most `alpha`.

    `max_classes` is the most classes one answer may vote for, or `error_bounds.CHOSEN` for one class fixed
    beforehand. If even `cap` unanimous answers are not enough, K(cap) = cap + 1.
    """
    mixture = tuned_mixture(p0, alpha, longest=float(cap))
    n = np.arange(1, cap + 1)

    def early(log_threshold: float) -> Counts:
        counts = mixture.smallest_counts(n, log_threshold)
        return _closed_at_the_cap(counts)

    weight = null_weight(p0, max_classes)
    budget = EARLY_SHARE * alpha

    def error(log_threshold: float) -> float:  # steers only: the total is proved at the end
        ran = passage(early(log_threshold), p0)
        return weight * (ran.upper + ran.dropped)

    fitted = calibrate(error, budget, math.log(max(weight, 1.0 / p0) / budget), close=0.97)
    counts = early(fitted)
    counts[-1] = _final_count(counts, p0, alpha, max_classes)
    return CappedBoundary(counts)


def constant_boundary(count: int, cap: int) -> CappedBoundary:
    """K(n) = `count` for every n ≤ `cap`: a fixed-n decision, taken as soon as it can no longer change."""
    return CappedBoundary(np.full(cap, count, dtype=np.int64))


def _closed_at_the_cap(counts: Counts) -> Counts:
    """The same boundary, out of reach at its last answer."""
    closed = counts.copy()
    closed[-1] = closed[-2] + 1 if closed.size > 1 else 2
    return closed


def _error(counts: Counts, p0: float, max_classes: int) -> float:
    ran = passage(counts, p0)
    at_p0 = ran.upper + ran.dropped
    boundary = CappedBoundary(counts)
    return null_error(lambda p: capped_crossing(boundary, p0, at_p0, p), p0, max_classes)


def _final_count(early: Counts, p0: float, alpha: float, max_classes: int) -> int:
    """The smallest K(N) with a total error of at most `alpha`, N+1 if none; `early` is closed at N."""
    cap = early.size

    ran = passage(early, p0)
    tail = np.cumsum(ran.alive[::-1])[::-1]
    enough = np.nonzero(null_weight(p0, max_classes) * (ran.upper + ran.dropped + tail) <= alpha)[0]
    count = max(1 + math.ceil(p0 * (cap - 1)), ran.first + int(enough[0]) if enough.size else cap + 1)

    def error(count: int) -> float:
        counts = early.copy()
        counts[-1] = count
        return _error(counts, p0, max_classes)

    while count <= cap and error(count) > alpha:
        count += 1
    return min(count, int(early[-1]))  # never above where it is out of reach anyway
