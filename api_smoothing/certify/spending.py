"""Target boundaries with a known cap N: α is spent exactly, on early looks and at the end.

Early looks get the e-process boundary, scaled so that they err by a share of α in all; at N a class is certified at
the smallest count that keeps the exact total within α. The power is nearly that of a fixed n = N, the mean number of
answers far smaller. The cap must be fixed before the first answer, and a capped run is not topped up.

The share was chosen on the vote shares that plans assume (the published logs), by the answers that a certificate
costs: 0.7 where N is at least eight times the unanimous minimum ln(1/α)/ln(1/p0). Below that so many images are decided
at N that a higher K(N) would be missed: it is ½ where K(N) stays what a share of ¼ leaves, else ¼. What the whole
numbers leave over is spent on the steps before N (`_spend_the_rest`), and a class with K(N) votes need not wait for N.

Version 1 has a share of 0.3 throughout, and spends nothing further.

Source: Lan and DeMets 1983 (error spending); the probabilities are exact, by dynamic programming over counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from api_smoothing.certify.boundary import CappedBoundary
from api_smoothing.certify.crossing import Counts, Passages
from api_smoothing.certify.error_bounds import capped_crossing, null_error, null_weight
from api_smoothing.certify.mixture import tuned_mixture
from api_smoothing.certify.sequential import calibrate

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior

_FORMER = 0.3  # of α, for the early looks: version 1
_SAFE, _EVEN, _CHEAP = 0.25, 0.5, 0.7  # version 2
_ROOMY = 8.0  # a cap of so many times the unanimous minimum leaves the last look little to decide
_SPENT = 0.99  # of α: what is left above that is not looked for
_ROWS = 4  # of each kind that are tried
_TRIES = 4
_OVERSHOOT = 0.06  # of a discrete walk, taken off a threshold that is not calibrated


@lru_cache(maxsize=512)
def spending_boundary(
    p0: float,
    cap: int,
    alpha: float,
    max_classes: int = 1,
    *,
    version: int = 2,
    prior: Prior | None = None,
) -> CappedBoundary:
    """The boundary that certifies p > `p0` for any class within `cap` answers, total error at most `alpha`.

    `max_classes` is the most classes one answer may vote for, or `error_bounds.CHOSEN` for one class fixed
    beforehand. If even `cap` unanimous answers are not enough, K(cap) = cap + 1. `version` is that of the rule, and
    with `prior` shapes the mixture of the early looks (see `tuned_mixture`).
    """
    mixture = tuned_mixture(p0, alpha, longest=float(cap), version=version, prior=prior)
    n = np.arange(1, cap + 1)
    errors = _Errors(p0, max_classes)

    @cache
    def early(log_threshold: float) -> Counts:
        counts = mixture.smallest_counts(n, log_threshold)
        return _closed_at_the_cap(counts)

    def spent(share: float) -> Counts:
        budget = share * alpha
        ceiling = math.log(max(errors.weight, 1.0 / p0) / budget)
        counts = early(
            calibrate(lambda trial: errors.at_p0(early(trial)), budget, ceiling, close=0.97)
        ).copy()
        counts[-1] = _final_count(counts, alpha, errors)
        return counts

    if version == 1:
        return CappedBoundary(spent(_FORMER))
    roomy = cap * -math.log(p0) >= _ROOMY * math.log(1.0 / alpha)
    counts = spent(_CHEAP if roomy else _EVEN)
    if not roomy:
        safe = spent(_SAFE)
        counts = safe if counts[-1] > safe[-1] else counts
    if counts[-1] <= cap:
        counts = _spend_the_rest(np.minimum(counts, counts[-1]), alpha, errors)
    return CappedBoundary(counts)


def rough_boundary(p0: float, cap: int, alpha: float) -> CappedBoundary:
    """About `spending_boundary`, for plans alone: neither is its error proved, nor all of α spent.

    It is that boundary itself where the cap is small and the boundary cheap.
    """
    if cap * -math.log(p0) < _ROOMY * math.log(1.0 / alpha):
        return spending_boundary(p0, cap, alpha)
    mixture = tuned_mixture(p0, alpha, longest=float(cap))
    log_threshold = math.log(1.0 / (_CHEAP * alpha)) - _OVERSHOOT
    early = _closed_at_the_cap(mixture.smallest_counts(np.arange(1, cap + 1), log_threshold))
    final = _enough_at_the_cap(early, alpha, _Errors(p0, 1))
    return CappedBoundary(np.append(np.minimum(early[:-1], final), min(final, int(early[-1]))))


def constant_boundary(count: int, cap: int) -> CappedBoundary:
    """K(n) = `count` for every n ≤ `cap`: a fixed-n decision, taken as soon as it can no longer change."""
    return CappedBoundary(np.full(cap, count, dtype=np.int64))


def _closed_at_the_cap(counts: Counts) -> Counts:
    """The same boundary, out of reach at its last answer."""
    closed = counts.copy()
    closed[-1] = closed[-2] + 1 if closed.size > 1 else 2
    return closed


class _Errors:
    """The errors against p ≤ `p0` of the boundaries that one search tries."""

    def __init__(self, p0: float, max_classes: int) -> None:
        self.p0, self._max_classes = p0, max_classes
        self.weight = null_weight(p0, max_classes)
        self.passage = Passages()

    def at_p0(self, counts: Counts) -> float:
        """Without the classes below p0: it steers the search, and proves nothing."""
        ran = self.passage(counts, self.p0)
        return self.weight * (ran.upper + ran.dropped)

    def proved(self, counts: Counts) -> float:
        """Over all classes."""
        ran = self.passage(counts, self.p0)
        at_p0 = ran.upper + ran.dropped
        boundary = CappedBoundary(counts)

        def crossing(p: float) -> float:
            return capped_crossing(boundary, self.p0, at_p0, p, passage=self.passage)

        return null_error(crossing, self.p0, self._max_classes)


def _final_count(early: Counts, alpha: float, errors: _Errors) -> int:
    """The smallest K(N) with a total error of at most `alpha`, N+1 if none; `early` is closed at N."""
    cap = early.size
    count = _enough_at_the_cap(early, alpha, errors)

    def error(count: int) -> float:
        return errors.proved(np.append(early[:-1], count))

    while count <= cap and error(count) > alpha:
        count += 1
    return min(count, int(early[-1]))  # never above where it is out of reach anyway


def _enough_at_the_cap(early: Counts, alpha: float, errors: _Errors) -> int:
    """The smallest K(N) with which a class of probability p0 errs by at most `alpha`, N+1 if none."""
    cap = early.size
    ran = errors.passage(early, errors.p0)
    tail = np.cumsum(ran.alive[::-1])[::-1]
    enough = np.nonzero(errors.weight * (ran.upper + ran.dropped + tail) <= alpha)[0]
    return max(1 + math.ceil(errors.p0 * (cap - 1)), ran.first + int(enough[0]) if enough.size else cap + 1)


def _spend_the_rest(counts: Counts, alpha: float, errors: _Errors) -> Counts:
    """`counts` lowered where it is late, until the exact error uses `alpha` as nearly as the integers let it.

    `counts` never exceeds its last one, K(N). Whatever is lowered, a boundary stays a boundary: the answers that may
    miss the class, n − K(n), do not fall, and k − 1 ≥ p0·(n − 1) wherever it is met, which is all that `error_bounds`
    asks of it. The error of the result is computed as that of any other.
    """
    budget = alpha
    for _ in range(_TRIES):
        trial = _lowered(counts, errors.p0, budget, errors.at_p0)
        error = errors.proved(trial)
        if error <= alpha:
            return trial
        budget *= _SPENT * alpha / error  # steering left out the classes below p0, the proof does not
    return counts


def _lowered(counts: Counts, p0: float, budget: float, steer: Callable[[Counts], float]) -> Counts:
    """Greedily: the last answers that may miss the class may come sooner; then fewer votes will do until late."""
    cap, height = counts.size, int(counts[-1])
    n = np.arange(1, cap + 1)
    spent = steer(counts)
    for misses in range(cap - height, max(-1, cap - height - _ROWS), -1):
        if spent >= _SPENT * budget:
            return counts
        least = math.ceil((misses + (1.0 - p0)) / (1.0 - p0) * (1.0 + 1e-15))

        def sooner(by: int, misses: int = misses, before: Counts = counts, least: int = least) -> Counts:
            first = misses + height - by
            return np.where((n >= max(first, least)), np.minimum(before, n - misses), before)

        counts, spent, _ = _furthest(sooner, height, counts, spent, budget, steer)
    last = cap - 1
    for lower in range(height - 1, max(0, height - 1 - _ROWS), -1):
        last = min(last, 1 + math.floor((lower - 1) / (p0 * (1.0 + 1e-15))))
        if last < 1 or spent >= _SPENT * budget:
            break

        def fewer(until: int, lower: int = lower, before: Counts = counts) -> Counts:
            return np.where(n <= until, np.minimum(before, lower), before)

        counts, spent, until = _furthest(fewer, last, counts, spent, budget, steer)
        last = until - 1
    return counts


def _furthest(
    change: Callable[[int], Counts],
    most: int,
    counts: Counts,
    spent: float,
    budget: float,
    steer: Callable[[Counts], float],
) -> tuple[Counts, float, int]:
    """The largest change up to `most` whose error stays within `budget`, the error, and how large it is; 0: none."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        trial = change(middle)
        made = steer(trial)
        if made <= budget:
            counts, spent, low = trial, made, middle
        else:
            high = middle
    return counts, spent, low
