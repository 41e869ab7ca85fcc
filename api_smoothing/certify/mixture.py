"""Mixture e-processes for H0: p ≤ p0, and the count boundaries they draw.

For q > p0 the likelihood ratio q^k (1−q)^(n−k) / (p0^k (1−p0)^(n−k)) has one-step expectation
p·q/p0 + (1−p)(1−q)/(1−p0) ≤ 1 whenever p ≤ p0. Any mixture over q > p0 that is fixed before the data is
therefore a test supermartingale under all of H0, and P(∃n: E_n ≥ 1/α) ≤ α.

Sources: Ville 1939; Robbins 1970; Waudby-Smith and Ramdas 2024 (betting).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import betaincc, betaln

from api_smoothing.certify.crossing import Counts, Floats

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior

_RATIO = 1.25  # spacing of the components in the number of answers for which each is the best one
_LONGEST = 1e8  # a class needing more answers than this is not looked for
_EXTREME = {1: 0.2, 2: 0.45}  # by version: extra prior mass on the component at 1 (unanimous votes)
_BILLED = 3e4  # version 1: beyond this many answers the prior decays as 1/n
_TILT = 0.15  # version 1: prior ∝ n^tilt up to there
_REACH = 2e4  # version 2: all scales are treated alike up to here, or to four times the shortest
_BEYOND = 0.03  # version 2: all the prior mass there is beyond, so that every p > p0 is certified in the end
_KNOT = 16
_ROWS = 256  # worked on at a time, to stay in the processor's cache
_FAILURE_FREE = -1e5  # log-likelihood ratio of one failure under q = 1


def log_e_beta(k: npt.ArrayLike, n: npt.ArrayLike, p0: npt.ArrayLike) -> Floats:
    """Log e-value of k votes in n answers against p ≤ p0, Beta(½,½) mixture truncated to (p0, 1). Broadcasts.

    −∞ where the evidence is so far below p0 that it underflows.
    """
    votes, answers, null = (np.asarray(v, dtype=np.float64) for v in (k, n, p0))
    a, b = 0.5 + votes, 0.5 + answers - votes
    with np.errstate(divide="ignore"):
        return np.asarray(
            betaln(a, b)
            + np.log(betaincc(a, b, null))
            - betaln(0.5, 0.5)
            - np.log(betaincc(0.5, 0.5, null))
            - votes * np.log(null)
            - (answers - votes) * np.log1p(-null)
        )


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Alternatives `q` > `p0`, each with its prior weight (they sum to 1)."""

    p0: float
    q: tuple[float, ...]
    weight: tuple[float, ...]

    @cached_property
    def _steps(self) -> tuple[Floats, Floats, Floats]:
        q = np.array(self.q)
        with np.errstate(divide="ignore"):
            failure = np.maximum(np.log1p(-q) - math.log1p(-self.p0), _FAILURE_FREE)
        return np.log(self.weight), np.log(q) - math.log(self.p0), failure

    def log_e(self, k: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
        """Log e-value of k votes in n answers; k and n broadcast."""
        votes, answers = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64))
        hits, misses = votes.reshape(-1, 1), (answers - votes).reshape(-1, 1)
        found = np.empty(hits.size)
        for first in range(0, hits.size, _ROWS):
            rows = slice(first, first + _ROWS)
            found[rows] = self._log_e(hits[rows], misses[rows])
        return found.reshape(votes.shape)

    def _log_e(self, hits: Floats, misses: Floats) -> Floats:
        log_weight, success, failure = self._steps
        terms = hits * success
        terms += log_weight
        terms += misses * failure
        peak = terms.max(axis=1)
        terms -= peak[:, None]
        np.exp(terms, out=terms)
        return np.asarray(peak + np.log(terms.sum(axis=1)))

    def smallest_counts(self, n: Counts, log_threshold: float) -> Counts:
        """For each n the smallest k with log E ≥ `log_threshold` and k − 1 ≥ p0·(n − 1); n+1 if none.

        E grows with k at fixed n, so this is a bisection, between the counts at every 16th n, as K never
        falls and rises by at most 1 an answer. The second condition holds by itself for the thresholds in use
        (see `error_bounds`); it is enforced so that the bound on the nulls never rests on that. `n` must be
        consecutive.
        """
        low, high = np.ceil(1.0 + self.p0 * (n - 1) * (1.0 + 1e-15)).astype(np.int64) - 1, n + 1
        knots = np.append(np.arange(0, n.size, _KNOT), n.size - 1)
        coarse = self._bisect(n[knots], low[knots], high[knots], log_threshold)
        before = np.arange(n.size) // _KNOT
        since = np.arange(n.size) - knots[before]
        low = np.maximum(low, coarse[before] - 1)
        high = np.minimum(np.minimum(coarse[before] + since, coarse[before + 1]), n + 1)
        return self._bisect(n, low, np.maximum(high, low + 1), log_threshold)

    def _bisect(self, n: Counts, low: Counts, high: Counts, log_threshold: float) -> Counts:
        low, high = low.copy(), high.copy()
        while (open_ := np.flatnonzero(high - low > 1)).size:
            middle = (low[open_] + high[open_]) // 2
            enough = self.log_e(middle, n[open_]) >= log_threshold
            high[open_[enough]] = middle[enough]
            low[open_[~enough]] = middle[~enough]
        return high


def tuned_mixture(
    p0: float, alpha: float, *, longest: float = _LONGEST, version: int = 2, prior: Prior | None = None
) -> Mixture:
    """The prior used against p ≤ `p0` at error `alpha`, spread over the answers an alternative needs.

    Component j is the q whose information limit ln(1/α)/KL(q‖p0) is n_j, n_j geometric from the unanimous
    minimum ln(1/α)/ln(1/p0) to `longest`. Equal weights cost about the same relative overhead at every scale.
    `version` 1 tilts them towards long runs and on to 10⁸ answers. Version 2 does not, and leaves 3 % of the mass for
    what takes more than 2·10⁴: few would pay for that, and every alternative that is listened for delays the others.
    The extra mass at q = 1 serves the many images whose votes are all but unanimous.

    `prior`, learned from other images, takes the part of the mass that its images deserve beside these weights; the
    latter count as `Prior.STRENGTH` images.
    """
    evidence = math.log(1.0 / alpha)
    shortest = evidence / -math.log(p0)
    scales = shortest * _RATIO ** np.arange(
        max(2, math.ceil(math.log(max(1.0, longest / shortest)) / math.log(_RATIO)))
    )
    q = _alternatives(p0, np.asarray(evidence / scales, dtype=np.float64))
    weight = _spread(np.asarray(scales), version)
    weight *= 1.0 - _EXTREME[version]
    weight[0] += _EXTREME[version]
    if prior is not None:
        weight = prior.blend(q, p0, weight)
    return Mixture(p0=p0, q=tuple(q.tolist()), weight=tuple(weight.tolist()))


def _spread(scales: Floats, version: int) -> Floats:
    """The weights of the components by the answers they need, summing to 1."""
    if version == 1:
        weight = np.minimum(scales, _BILLED) ** _TILT * np.minimum(1.0, _BILLED / scales)
        return np.asarray(weight / weight.sum())
    far = scales > max(_REACH, 4.0 * scales[0])
    weight = np.where(far, 0.0, 1.0)
    weight /= weight.sum()
    if far.any():
        beyond = np.where(far, 1.0 / scales, 0.0)
        weight = (1.0 - _BEYOND) * weight + _BEYOND * beyond / beyond.sum()
    return np.asarray(weight)


def divergence(p: npt.ArrayLike, q: npt.ArrayLike) -> Floats:
    """KL(p‖q) of two Bernoulli distributions in nats, 0 < q < 1. Broadcasts."""
    first, second = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(first > 0, first * np.log(first / second), 0.0)
        miss = np.where(first < 1, (1 - first) * np.log((1 - first) / (1 - second)), 0.0)
    return np.asarray(hit + miss)


def _alternatives(p0: float, wanted: Floats) -> Floats:
    low, high = np.full(wanted.shape, p0), np.ones(wanted.shape)
    for _ in range(60):
        middle = (low + high) / 2.0
        below = divergence(middle, p0) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(wanted >= -math.log(p0), 1.0, high)
