"""How much error a boundary makes over all classes at once, none of them chosen beforehand.

Let f(p) be the probability that one class of probability p ever meets the boundary for p0 (its first passage,
every meeting point having k − 1 ≥ p0·(n − 1)).

Lemma. f(p)/p does not fall on (0, p0]. Proof. Take p < p' ≤ p0. A path with k of n votes has the likelihood
ratio (p/p')·g of p to p', g = (p/p')^(k−1)·((1−p)/(1−p'))^(n−k). g falls with k, and is exp(−(n−1)·KL(p'‖p))
≤ 1 at k − 1 = p'·(n − 1). So g ≤ 1 wherever the boundary is met, and summing over first-passage paths gives
f(p) ≤ (p/p')·f(p'). For p0 ≥ ½ an e-process meets the condition by itself: k − 1 < p0·(n − 1) and k > p0·n
give log E_n ≤ n·KL(k/n‖p0) ≤ (k − np0)²/(np0(1 − p0)) < (1 − p0)/(np0) ≤ 1, below any log threshold in use. ∎

Several classes with p_c ≤ p0 and Σ p_c ≤ M, M the most classes one answer may vote for, err with probability
at most Σ f(p_c) = Σ p_c·(f(p_c)/p_c) ≤ M·f(p0)/p0. For M = 1 more is known: with q the largest p_c, the
others sum to at most 1 − q, so if q ≥ ½ they add at most f(1 − q), and if q < ½ the total is at most 2·f(½).
The error is then the supremum of f(q) + f(1 − q) over q in [½, p0]; f grows with p, so between neighbours a <
b of a grid it is at most f(b) + f(1 − a). If a true class has p > p0, the others sum to less than 1 − p0, and
err less still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from api_smoothing.certify.boundary import CappedBoundary, OpenBoundary
from api_smoothing.certify.crossing import Counts, Passage, passage

#: In place of M: the one class was fixed beforehand on other votes, so only its own error counts.
CHOSEN: Final = 0

_GRID = (0.0, 0.4, 0.7, 0.85, 0.95, 1.0)  # of [½, p0]
_SHORT = 2048


def null_weight(p0: float, max_classes: int) -> float:
    """What multiplies f(p0) in `null_error`, the classes below p0 left out where they hardly count."""
    if max_classes == CHOSEN:
        return 1.0
    if max_classes > 1 or p0 < 0.5:
        return max_classes / p0
    return 2.0 if p0 == 0.5 else 1.0


def null_error(crossing: Callable[[float], float], p0: float, max_classes: int) -> float:
    """An upper bound on the probability that any class with p_c ≤ `p0` is certified.

    `crossing(p)` bounds f(p) from above for p ≤ p0; `max_classes` is M, or CHOSEN.
    """
    if max_classes == CHOSEN:
        return crossing(p0)
    if max_classes > 1 or p0 < 0.5:
        return crossing(p0) * max_classes / p0
    if p0 == 0.5:
        return 2.0 * crossing(0.5)
    worst = 0.0
    grid = [0.5 + share * (p0 - 0.5) for share in _GRID]
    below: float | None = None
    for q in grid:
        here = crossing(q)
        worst = max(worst, here + (crossing(1.0 - below) if below is not None else here))
        below = q
    return worst


def open_crossing(boundary: OpenBoundary, horizon: int, p: float) -> float:
    """Bound P(a class of probability `p` ≤ p0 ever meets `boundary`): exact to `horizon`, Ville after.

    From a state with e-value E_H, still below the threshold 1/a, the probability of ever reaching it is at
    most min(1, a·E_H); the states are weighted with their exact probabilities.
    """
    ran = passage(boundary.counts(horizon), p)
    k = ran.first + np.arange(ran.alive.size)
    later = np.exp(np.minimum(0.0, boundary.mixture.log_e(k, horizon) - boundary.log_threshold))
    return ran.upper + ran.dropped + float((ran.alive * later).sum())


def capped_crossing(
    boundary: CappedBoundary,
    p0: float,
    at_p0: float,
    p: float,
    *,
    passage: Callable[[Counts, float], Passage] = passage,
) -> float:
    """Bound P(a class of probability `p` ≤ `p0` meets `boundary`), given that `at_p0` bounds it for p = p0.

    Exact while it matters: after the n from which every meeting point has a likelihood ratio of p to p0 below
    1e-4, the rest is at most that ratio times `at_p0`.
    """
    counts = boundary.counts(boundary.cap or 0)
    if p == p0 or p == 0.0:
        return at_p0 if p == p0 else 0.0
    n = np.arange(1, counts.size + 1)
    ratio = counts * np.log(p / p0) + np.maximum(n - counts, 0) * np.log((1 - p) / (1 - p0))
    later = np.exp(np.minimum(0.0, np.maximum.accumulate(ratio[::-1])[::-1]))
    split = int(np.searchsorted(-later, -1e-4))
    ran = passage(counts[:split], p) if split else None
    tail = float(later[split]) * at_p0 if split < counts.size else 0.0
    return tail + (ran.upper + ran.dropped if ran else 0.0)


def short_horizon(horizon: int, p: float, p0: float) -> int:
    """The horizon for `open_crossing` at p < p0: what comes late is negligible there, so fewer steps do."""
    return horizon if p == p0 else min(horizon, _SHORT)
