"""What a question would likely certify: another one about the same votes, or the first one after a free rehearsal.

A suggestion and no claim. The share of the leading class is taken as Beta(k + ½, n − k + 0.2), which is what k of n
votes leave of a prior in which near-unanimous images are common, as they are; the further votes are then
beta-binomial. The next question is a later one, so that it is answered from the confidence sequence: its boundary is
what k + further votes must meet.

At another σ nothing has been seen. There each other label is taken to lie beyond a plane, for which its votes here tell
the distance: a share q under σ is Φ(Φ⁻¹(q)·σ/σ′) under σ′, and the leading class has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betaincinv, betaln, gammaln, ndtr, ndtri

from api_smoothing.certify.anytime import ConfidenceSequence
from api_smoothing.certify.fixed import no_split_lower
from api_smoothing.certify.plan import expected_queries, min_queries
from api_smoothing.certify.radius import Noise, radius, threshold
from api_smoothing.errors import UnreachableRadiusError

#: A suggestion is made where it certifies with at least this probability.
LIKELY: Final = 0.85
#: Radii to fall back to, largest first.
RADII: Final = (1.0, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
#: The σ that are suggested.
SIGMAS: Final = (0.06, 0.12, 0.25, 0.5, 1.0)
_VOTES, _MISSES = 0.5, 0.2
_SPARE: Final = 0.9  # of the way from the share a radius takes to 1: as far as a share by planes has to be
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNoise:
    """A `sigma` at which `radius` (None: the best one) is likely, as the leading class would have the `share`."""

    sigma: float
    radius: float | None
    share: float


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


def elsewhere(others: Sequence[int], n: int, *, sigma: float, target: float | None) -> OtherNoise | None:
    """The other σ for `target`, else for a smaller radius, by the votes of `n` for each of the `others`; Gaussian.

    Of the smaller σ that are likely to do the second largest, as the planes are no more than a picture; without any,
    the smallest larger one. On CIFAR-10 images of which 100 votes prove nothing, 100 at the one named prove a label
    in more than 8 of 10 (`benchmarks/hints.py --what cifar --by votes`).
    """
    q = (np.asarray(others, dtype=float) + _MISSES) / (n + _VOTES + _MISSES)
    shares = {s: float(1.0 - ndtr(ndtri(q) * sigma / s).sum()) for s in SIGMAS if s != sigma}
    for aim in [None] if target is None else [target, *(aim for aim in RADII if aim < target)]:
        fit = [s for s, share in shares.items() if _fits(share, aim, s)]
        below = [s for s in fit if s < sigma]
        for s in (below[-2:] or fit)[:1]:
            return OtherNoise(sigma=s, radius=aim, share=shares[s])
    return None


def _fits(share: float, aim: float | None, sigma: float) -> bool:
    """Whether a `share` that is no more than likely goes well beyond what the radius takes."""
    try:
        p0 = 0.5 if aim is None else threshold(aim, sigma=sigma, noise="gaussian")
    except UnreachableRadiusError:
        return False
    return share >= p0 + _SPARE * (1.0 - p0)


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
