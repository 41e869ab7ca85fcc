"""What a question would likely certify: another one about the same votes, or the first one after a free rehearsal.

A suggestion and no claim. The share of the leading class is taken as Beta(k + ½, n − k + 0.2), which is what k of n
votes leave of a prior in which near-unanimous images are common, as they are; the further votes are then
beta-binomial. The next question is a later one, so that it is answered from the confidence sequence: its boundary is
what k + further votes must meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betaincinv, betaln, gammaln

from api_smoothing.certify.anytime import ConfidenceSequence
from api_smoothing.certify.fixed import no_split_lower
from api_smoothing.certify.plan import expected_queries, min_queries
from api_smoothing.certify.radius import Noise, radius, threshold
from api_smoothing.errors import UnreachableRadiusError

#: A suggestion is made where it certifies with at least this probability.
LIKELY: Final = 0.85
#: Radii to fall back to, largest first.
RADII: Final = (1.0, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
_VOTES, _MISSES = 0.5, 0.2
_WORTH_IT: Final = 0.05  # a radius for which fewer answers are preferred to a larger radius
_LEVELS: Final = 8  # of the share's distribution that a prospect averages over
_ANSWERS: Final = (100, 200, 500, 1000, 2000, 5000, 10_000)
_AFFORDABLE: Final = 2000  # answers that a suggestion stays within, or ten times those there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """`n` answers in all that would likely certify `radius`, with the probability `chance`."""

    n: int
    radius: float
    chance: float


def chance(votes: int, n: int, total: int, p0: float, alpha: float) -> float:
    """The probability that `total` answers, `n` of them known with `votes` for the class, prove p > `p0`."""
    least = ConfidenceSequence(alpha).least_votes(p0, total) - votes
    more = total - n
    if least <= 0:
        return 1.0
    if least > more:
        return 0.0
    j = np.arange(least, more + 1)
    a, b = votes + _VOTES, n - votes + _MISSES
    ways = gammaln(more + 1.0) - gammaln(j + 1.0) - gammaln(more - j + 1.0)
    return float(min(1.0, np.exp(ways + betaln(a + j, b + more - j) - betaln(a, b)).sum()))


def advise(
    votes: int,
    n: int,
    *,
    alpha: float,
    sigma: float,
    target: float | None,
    noise: Noise = "gaussian",
    above: float = 0.0,
) -> Advice | None:
    """The fewest answers for `target`, else for a smaller radius `above` one; None where nothing is likely."""
    most = min(_ANSWERS[-1], max(_AFFORDABLE, 10 * n))
    totals = [total for total in _ANSWERS if n < total <= most]
    for aim in () if target is None else (target,):
        for total in totals:
            if (found := _likely(votes, n, total, aim, alpha, sigma, noise)) is not None:
                return found
    smaller = [aim for aim in RADII if aim > above and (target is None or aim < target)]
    for least in (_WORTH_IT, 0.0):
        for total in totals:
            for aim in (aim for aim in smaller if aim >= least):
                if (found := _likely(votes, n, total, aim, alpha, sigma, noise)) is not None:
                    return found
    return None


def _likely(
    votes: int, n: int, total: int, aim: float, alpha: float, sigma: float, noise: Noise
) -> Advice | None:
    try:
        p0 = threshold(aim, sigma=sigma, noise=noise)
    except UnreachableRadiusError:
        return None
    found = chance(votes, n, total, p0, alpha)
    return Advice(n=total, radius=aim, chance=found) if found >= LIKELY else None


def prospect(
    votes: int, n: int, *, sigma: float, noise: Noise, alpha: float, target: float | None, cap: int
) -> tuple[float, float, float]:
    """Radius, mean answers and probability of a certificate within `cap` answers, after a rehearsal's `votes` of `n`.

    With a `target` that is the radius. Without, it is the one that `cap` answers certify at the rehearsal's share, all
    of them spent. Averaged over what the rehearsal leaves open about the share.
    """
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    likely = [float(p) for p in betaincinv(votes + _VOTES, n - votes + _MISSES, levels)]
    if target is None:
        bounds = [no_split_lower(round(p * cap), cap, alpha) for p in likely]
        radii = [radius(bound, sigma=sigma, noise=noise) if bound else 0.0 for bound in bounds]
        return float(np.mean(radii)), float(cap), float(np.mean([found > 0.0 for found in radii]))
    try:
        if min_queries(target, alpha=alpha, sigma=sigma, noise=noise) > cap:
            return target, 0.0, 0.0
    except UnreachableRadiusError:
        return target, 0.0, 0.0
    p0 = threshold(target, sigma=sigma, noise=noise)
    found = [expected_queries(p, p0, alpha=alpha, cap=cap) for p in likely]
    return target, float(np.mean([one.calls for one in found])), float(np.mean([one.power for one in found]))
