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
from api_smoothing.certify.futility import futility_boundary, until_likely
from api_smoothing.certify.radius import Noise, radius, threshold
from api_smoothing.certify.tally import Tally, bound, most_failed, refuse_surplus

#: p0 from ½ up, in steps of 0.001·σ of Gaussian radius.
_GRID = ndtr(np.arange(0, 7000) / 1000.0)
_LOWER_GRID = np.arange(1, 1000) / 2000.0
_FAR = 2**20  # answers nobody asks for at once
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

    def reach(self, p: float, k: int, n: int) -> int | None:
        """The fewest further votes, all for a class with k of n, before which its bound cannot reach `p`.

        None where it takes more than 2²⁰, or `p` is beyond the grid.
        """
        place = _place(p)
        if place == _GRID.size:
            return None
        more = 1
        while not self._passes(place, k + more, n + more):
            more *= 2
            if more > _FAR:
                return None
        low, high = more // 2, more
        while high - low > 1:  # votes for a class only raise its e-values
            middle = (low + high) // 2
            low, high = (low, middle) if self._passes(place, k + middle, n + middle) else (middle, high)
        return high

    def least_votes(self, p: float, n: int) -> int:
        """The fewest votes among n without which the bound cannot reach `p` at n; n+1 if none do."""
        place, low, high = _place(p), n // 2, n + 1
        while high - low > 1 and place < _GRID.size:
            middle = (low + high) // 2
            low, high = (low, middle) if self._passes(place, middle, n) else (middle, high)
        return high

    def _passes(self, place: int, k: int, n: int) -> bool:
        return log_e(k, n, float(_GRID[place])) >= float(self._log_threshold[place])


def _place(p: float) -> int:
    """The first point of the grid that is `p` or more."""
    return int(np.searchsorted(_GRID, p))


def unanimous_lower(n: int, alpha: float, max_classes: int = 1) -> float:
    """The bound after `n` votes, all for one class: the largest there is."""
    sequence = ConfidenceSequence(alpha, max_classes)
    sequence.look("only", n, n)
    return sequence.lower("only")


def majority_provable(n: int, alpha: float, max_classes: int = 1) -> bool:
    """Whether `n` unanimous votes prove p > ½."""
    return log_e(n, n, 0.5) >= math.log(2.0 * max_classes / alpha)


def leader_lower(k: int, n: int, alpha: float, max_classes: int = 1) -> float:
    """A lower bound below ½ on p of the class with `k` of `n` votes, the most or not, wherever a run stops; 0 if none.

    The largest point of a grid over (0, ½) up to which every e-process is past M/(α·p0). The argument at the top holds
    on that grid as well: a class is wronged with probability α·p_c/M at most. Its lemma needs k − 1 ≥ p0·(n − 1) at a
    crossing; below ½ that can fail only where k = 1, whose E ≤ 1/p0 is never enough.
    """
    if k < 2:
        return 0.0
    p0 = _LOWER_GRID[: int(np.searchsorted(_LOWER_GRID, k / n))]
    over, rest = betaincc(0.5 + k, 0.5 + n - k, p0), betaincc(0.5, 0.5, p0)
    beta = float(betaln(0.5 + k, 0.5 + n - k)) - _BETA_HALVES + np.log(over / rest) + _BETA
    unanimous = _UNANIMOUS if k == n else -math.inf
    log_es = np.logaddexp(beta, unanimous) - k * np.log(p0) - (n - k) * np.log1p(-p0)
    passed = np.append(log_es >= np.log(max_classes / (alpha * p0)), False)
    first = int(np.argmin(passed))
    return float(p0[first - 1]) if first else 0.0


def proved_majority(answers: Sequence[Hashable | None], alpha: float) -> Hashable | None:
    """The class with more than half of the probability, by the confidence sequence after `answers`; else None."""
    sequence, tally = ConfidenceSequence(alpha), Tally()
    for answer in answers:
        tally.add(answer)
        if answer in tally.counts:
            sequence.look(answer, tally.counts[answer], tally.n)
    return sequence.best


class AnytimeCertifier:
    """Best radius, valid at every n; ends at `limit` answers, or when a majority is out of reach.

    A later run may go on from the same answers with a larger limit: what was proved stays proved. With a `target`
    it ends as soon as the bound reaches that radius, or will not: certainly within the limit, or in all likelihood
    (see `futility`). Every question about the same answers may be put to it, whatever made somebody ask it.
    """

    method = "sequential"

    def __init__(
        self,
        *,
        limit: int | None,
        limit_name: Literal["n", "budget"],
        alpha: float,
        sigma: float,
        noise: Noise = "gaussian",
        slack: float = 0.0,
        max_classes: int = 1,
        target: float | None = None,
    ) -> None:
        """`limit` answers at most; None, with a target alone, sets no limit."""
        if limit is None and target is None:
            raise ValueError("without a target there must be a limit")
        self._limit, self._limit_name, self._target = limit, limit_name, target
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        self._alpha, self._classes = alpha, max_classes
        self._sequence = ConfidenceSequence(alpha, max_classes)
        self._p0 = 0.5 if target is None else threshold(target, sigma=sigma, noise=noise, slack=slack)
        self._lower = None if target is None else futility_boundary(self._p0)
        self._floor = None if limit is None else self._sequence.least_votes(self._p0, limit)
        self._tally = Tally()
        self._stopped: Stopped | None = None
        self._reason = ""
        self._give_up()

    def need(self) -> int:
        """See Certifier: all that is left, unless a class could be decided or out of reach sooner."""
        if self._stopped:
            return 0
        top, n = self._tally.top, self._tally.n
        ways = [until_likely(self._lower, top, n)]
        if self._target is not None:
            ways.append(self._sequence.reach(self._p0, top, n))
        if self._limit is not None and self._floor is not None:
            rest = self._limit - n
            ways += [rest, rest - (self._floor - top) + 1 if self._deciding else None]
        return max(1, min((way for way in ways if way is not None), default=1))

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond the limit."""
        for i, answer in enumerate(answers):
            if self._stopped == "failed":
                return
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            self._tally.add(answer)
            if answer in self._tally.counts:
                self._sequence.look(answer, self._tally.counts[answer], self._tally.n)
            self._decide()

    @property
    def _deciding(self) -> bool:
        """Whether what is looked for, the target or a majority, is open still."""
        return self._target is not None or self._sequence.best is None

    def _decide(self) -> None:
        top, n = self._tally.top, self._tally.n
        if self._target is not None:
            if self._limit is not None and self._tally.failed > most_failed(self._limit):
                self._stopped = "failed"
                return
            if self._sequence.lower(self._sequence.best) >= self._p0:
                self._stopped = "target"
                return
        if n == self._limit:
            self._stopped = self._limit_name
        else:
            self._give_up()
            if self._stopped is None and self._lower is not None and n - top >= self._lower.at(n):
                self._stopped = "futile"
                self._reason = f"in all likelihood: every class is below p={self._p0:.4g} at level 0.01"

    def _give_up(self) -> None:
        """End where all that is left could not prove what is looked for."""
        if self._limit is None or self._floor is None or not self._deciding:
            return
        if self._tally.top + self._limit - self._tally.n >= self._floor:
            return
        if self._tally.n == 0:
            least = self._sequence.reach(self._p0, 0, 0)
            self._reason = f"certain: {self._limit} answers are too few, even if all agree"
            self._reason += (
                "" if least is None else f"; one more question about this image takes {least} or more"
            )
        elif self._target is None:
            self._reason = "certain: too few votes are left to prove a majority"
        else:
            told = f"{self._tally.top} of {self._tally.n} votes, and {self._limit} answers"
            self._reason = f"certain: {told} cannot make them enough"
        # What the budget cannot decide is not futile: with more money it might be certified.
        short = self._limit_name == "budget" and (self._target is not None or self._tally.n == 0)
        self._stopped = "budget" if short else "futile"

    def result(self) -> Bound:
        """The target if it was met, else the best radius proved so far."""
        label = self._sequence.best
        p_lower = self._sequence.lower(label)
        met = self._stopped == "target"
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=label,
            radius=self._target if met and self._target is not None else self._radius(p_lower),
            p_lower=self._p0 if met else p_lower,
            reached=None if self._target is None else met,
            reason=self._reason,
            leader_lower=leader_lower(self._tally.top, self._tally.n, self._alpha, self._classes),
        )
