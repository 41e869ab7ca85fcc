"""The best radius at any time: a lower confidence sequence for every class, that only grows.

For each p0 of a fine grid over [½, 1) class c has the e-process against p_c ≤ p0, with threshold M/(α·p0).
What is claimed is the largest grid point up to which *every* e-process has passed its threshold at some time
so far.

Soundness. Let p_c lie between the neighbours g ≤ p_c ≤ h of the grid. To be wronged, c must have passed at h:
probability at most (p_c/h)·α·h/M = α·p_c/M by the lemma of `error_bounds`. If p_c < ½ it must have passed at h = ½:
(p_c/½)·α·½/M, the same. Over all classes, Σ p_c ≤ M, this is at most α: with no class chosen beforehand, at
every n at once, so the run may be stopped, resumed and topped up at will.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import betaincc, betaln, ndtr

from api_smoothing.certify.base import Bound, Stopped
from api_smoothing.certify.radius import Noise, radius
from api_smoothing.certify.tally import Tally, bound, refuse_surplus

#: p0 from ½ up, in steps of 0.001·σ of Gaussian radius.
_GRID = ndtr(np.arange(0, 7000) / 1000.0)
_UNANIMOUS = math.log(0.2)  # prior weight of q = 1 beside the Beta mixture
_BETA = math.log(0.8)
_BETA_HALVES = float(betaln(0.5, 0.5))


def log_e(k: int, n: int, p0: float) -> float:
    """Log e-value against p ≤ p0: Beta(½,½) truncated to (p0, 1) with weight 0.8, q = 1 with weight 0.2."""
    over = float(betaincc(0.5 + k, 0.5 + n - k, p0))
    if over <= 0.0:
        return -math.inf
    null = k * math.log(p0) + (n - k) * math.log1p(-p0)
    truncated = float(betaincc(0.5, 0.5, p0))
    beta = float(betaln(0.5 + k, 0.5 + n - k)) + math.log(over) - _BETA_HALVES - math.log(truncated)
    beta += _BETA - null
    if k < n:
        return beta
    unanimous = _UNANIMOUS - null
    return max(beta, unanimous) + math.log1p(math.exp(-abs(beta - unanimous)))


class ConfidenceSequence:
    """The running lower bounds of one run, by class."""

    def __init__(self, alpha: float, max_classes: int = 1) -> None:
        """Total error `alpha` over all classes; one answer votes for at most `max_classes` of them."""
        self._log_threshold = np.log(max_classes / (alpha * _GRID))
        self._proved: dict[Hashable, int] = {}

    def look(self, label: Hashable, k: int, n: int) -> None:
        """Take a vote for `label`, its k-th among n answers (other answers cannot raise its bound)."""
        if 2 * k <= n:
            return
        proved = self._proved.get(label, 0)
        while proved < _GRID.size and log_e(k, n, float(_GRID[proved])) >= self._log_threshold[proved]:
            proved += 1
        if proved:
            self._proved[label] = proved

    def lower(self, label: Hashable) -> float:
        """The proved lower bound on the probability of `label`; 0 if there is none above ½."""
        proved = self._proved.get(label, 0)
        return float(_GRID[proved - 1]) if proved else 0.0

    @property
    def best(self) -> Hashable | None:
        """The class with the largest bound."""
        return max(self._proved, key=self._proved.__getitem__, default=None)


def unanimous_lower(n: int, alpha: float, max_classes: int = 1) -> float:
    """The bound after `n` votes, all for one class: the largest there is."""
    sequence = ConfidenceSequence(alpha, max_classes)
    sequence.look("only", n, n)
    return sequence.lower("only")


def majority_provable(n: int, alpha: float, max_classes: int = 1) -> bool:
    """Whether `n` unanimous votes prove p > ½."""
    return log_e(n, n, 0.5) >= math.log(2.0 * max_classes / alpha)


class AnytimeCertifier:
    """Best radius, valid at every n; ends at `limit` answers, or when a majority is out of reach.

    A later run may go on from the same answers with a larger limit: what was proved stays proved.
    """

    method = "sequential"

    def __init__(
        self,
        *,
        limit: int,
        limit_name: Literal["n", "budget"],
        alpha: float,
        sigma: float,
        noise: Noise = "gaussian",
        slack: float = 0.0,
        max_classes: int = 1,
    ) -> None:
        """`limit` answers at most."""
        self._limit, self._limit_name = limit, limit_name
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        self._sequence = ConfidenceSequence(alpha, max_classes)
        self._floor = _least_votes(limit, math.log(2.0 * max_classes / alpha))
        self._tally = Tally()
        self._stopped: Stopped | None = None

    def need(self) -> int:
        """See Certifier: all that is left, unless a class could be out of reach sooner."""
        if self._stopped:
            return 0
        rest = self._limit - self._tally.n
        if self._sequence.best is not None:
            return rest
        return min(rest, max(1, rest - (self._floor - self._tally.top) + 1))

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond the limit."""
        for i, answer in enumerate(answers):
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            self._tally.add(answer)
            if answer in self._tally.counts:
                self._sequence.look(answer, self._tally.counts[answer], self._tally.n)
            rest = self._limit - self._tally.n
            if rest == 0:
                self._stopped = self._limit_name
            elif self._sequence.best is None and self._tally.top + rest < self._floor:
                self._stopped = "futile"

    def result(self) -> Bound:
        """The best radius proved so far."""
        label = self._sequence.best
        p_lower = self._sequence.lower(label)
        reason = "certain: too few votes are left to prove a majority" if self._stopped == "futile" else ""
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=label,
            radius=self._radius(p_lower),
            p_lower=p_lower,
            reached=None,
            reason=reason,
        )


def _least_votes(n: int, log_threshold: float) -> int:
    """The fewest votes among `n` that prove a majority; n+1 if none do. Failures so far cannot lower it."""
    low, high = n // 2, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log_e(middle, n, 0.5) >= log_threshold else (middle, high)
    return high
