"""Fixed-n rules: n is chosen before the first vote, and all n are counted before a radius is named.

With a target radius the decision may be taken as soon as the remaining votes cannot change it; the radius
then named is the target and no more. A run is neither called complete early nor topped up.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from scipy.special import betainc

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.base import Bound, Stopped
from api_smoothing.certify.radius import Noise, radius
from api_smoothing.certify.tally import Tally, bound, most_failed, refuse_surplus

_TAIL_UP = 1.0 + 1e-12  # rounding of betainc


def tail(k: int, n: int, p: float) -> float:
    """f_k(p) = P(Bin(n, p) ≥ k), rounded up."""
    if k <= 0:
        return 1.0
    return float(betainc(k, n - k + 1, p)) * _TAIL_UP if k <= n else 0.0


@lru_cache(maxsize=1024)
def no_split_k_min(n: int, alpha: float) -> int:
    """The smallest k with 2·P(Bin(n, ½) ≥ k) ≤ `alpha`: below it no class is certified. n+1 if there is none."""
    low, high = n // 2, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if 2.0 * tail(middle, n, 0.5) <= alpha else (middle, high)
    return high


def no_split_lower(k: int, n: int, alpha: float) -> float:
    """A lower bound on p of the class with most votes, `k` of `n`, chosen by the same votes; 0: abstain.

    LCB_k = inf{p ≥ ½: f_k(p) + f_kmin(1−p) > α}, rounded down. If the true p_c of a class is below its bound
    at k, then k ≥ K(p_c), the smallest count with LCB > p_c: that has probability at most f_K(p_c) if p_c ≥
    ½, and every other class must reach k_min to be certified at all, with total probability at most f_kmin(1
    − p_c), as f(p)/p grows below (k_min − 1)/(n − 1). The two sum to at most α. Using f_k(1−p) for the second
    term, or the Clopper-Pearson bound at α on the same votes, is unsound.
    """
    least = no_split_k_min(n, alpha)
    if k < least:
        return 0.0
    low, high = 0.5, (k - 1) / (n - 1) if n > 1 and k < n else 1.0
    # f_k(p) and f_kmin(1−p) are both convex here, so the sum exceeds α on one side only
    for _ in range(64):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _no_split_error(k, least, n, middle) <= alpha else (low, middle)
    return low * (1.0 - clopper_pearson.ROUNDING)


def _no_split_error(k: int, least: int, n: int, p: float) -> float:
    return tail(k, n, p) + tail(least, n, 1.0 - p)


def leader_lower(k: int, n: int, alpha: float) -> float:
    """A lower bound on p of the class with most votes, `k` of `n` or more, for a run that abstains; 0 if there is none.

    inf{p: f_k(p) > α·p}, rounded down. A class is wronged if it gets K(p_c) votes, the smallest count whose bound is
    above p_c: probability f_K(p_c) ≤ α·p_c. Over all classes, as Σ p_c ≤ 1, that is at most α, though the votes chose
    the class. The Clopper-Pearson bound at α is not: 65 of 100 votes give 0.4914, and three classes of 0.4913, 0.4913
    and 0.0174 break it with probability 0.0024 at α = 0.001. Fewer votes of the planned `n` only lower the bound.
    """
    if k < 2 or n < 2:  # f_1(p) > α·p for every p
        return 0.0
    low, high = 0.0, min((k - 1) / (n - 1), 0.5)  # f_k(p)/p grows there
    for _ in range(64):
        middle = (low + high) / 2.0
        low, high = (middle, high) if tail(k, n, middle) <= alpha * middle else (low, middle)
    return low * (1.0 - clopper_pearson.ROUNDING)


def no_split_count(p0: float, n: int, alpha: float) -> int:
    """The smallest k whose no-split bound reaches `p0`; n+1 if there is none."""
    low, high = no_split_k_min(n, alpha) - 1, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if no_split_lower(middle, n, alpha) >= p0 else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """When a fixed run is settled: `enough` votes certify the target (n+1: none do), fewer than `floor` nothing.

    It is void when more than `most_failed` answers have failed.
    """

    n: int
    enough: int
    floor: int
    most_failed: int

    def settle(self, votes: int, counted: int, failed: int) -> Stopped | None:
        """Why the run ends with `votes` among the `counted` answers so far; None if it goes on."""
        if failed > self.most_failed:
            return "failed"
        if votes >= self.enough:
            return "target"
        if counted == self.n:
            return "n"
        return "futile" if votes + self.n - counted < self.floor else None

    def until_settled(self, votes: int, counted: int) -> int:
        """The fewest further answers that can settle it, if they do not fail."""
        rest = self.n - counted
        in_vain = rest - (self.floor - votes) + 1 if self.floor > votes else rest
        return max(1, min(rest, self.enough - votes, in_vain))

    def reason(self, stopped: Stopped | None, votes: int) -> str:
        """In words, why a run was given up."""
        if stopped != "futile":
            return ""
        return f"certain: {votes} votes, and the rest of n={self.n} cannot bring them to {self.floor}"


class FixedCertifier:
    """The no-split rule: all `n` votes both choose the class and bound its probability."""

    method = "fixed"

    def __init__(
        self,
        *,
        n: int,
        alpha: float,
        sigma: float,
        target: float | None = None,
        p0: float | None = None,
        noise: Noise = "gaussian",
        slack: float = 0.0,
    ) -> None:
        """With `target`, `p0` is what must be exceeded for it, and the decision is taken once it is settled."""
        self._n, self._alpha, self._target = n, alpha, target
        self._p0 = p0
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        enough = n + 1 if p0 is None else no_split_count(p0, n, alpha)
        floor = no_split_k_min(n, alpha) if p0 is None else enough
        self.decision = Decision(n=n, enough=enough, floor=floor, most_failed=most_failed(n))
        self._tally = Tally()
        self._stopped: Stopped | None = None

    def need(self) -> int:
        """See Certifier."""
        return 0 if self._stopped else self.decision.until_settled(self._tally.top, self._tally.n)

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond n, or beyond the decision."""
        for i, answer in enumerate(answers):
            if self._stopped == "failed":
                return
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            self._tally.add(answer)
            self._stopped = self.decision.settle(self._tally.top, self._tally.n, self._tally.failed)

    def result(self) -> Bound:
        """The bound once n is complete or the target decided; abstained before."""
        votes, reached = self._tally.top, None if self._target is None else self._stopped == "target"
        p_lower = certified = 0.0
        if self._stopped == "target" and self._target is not None and self._p0 is not None:
            p_lower, certified = self._p0, self._target
        elif self._stopped == "n":
            p_lower = no_split_lower(votes, self._n, self._alpha)
            certified = self._radius(p_lower) if p_lower else 0.0
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=self._tally.leader,
            radius=certified,
            p_lower=p_lower,
            reached=reached,
            reason=self.decision.reason(self._stopped, votes),
            leader_lower=leader_lower(votes, self._n, self._alpha),
        )
