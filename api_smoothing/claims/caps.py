"""The cap on an image's answers: the one with which a claim, or a budget, goes furthest.

Giving an image up early certifies one fewer and costs less. What is best depends on how the shares of votes are
spread: a prior, `shares` with `weights`, tells how many images a cap certifies and what an image costs on average,
exactly (`certify.plan`). Nothing here bears on soundness, provided the cap is fixed before the first answer.

*A claim* takes more images where fewer of them are certified (`course`, exactly, of sets drawn from the prior).
Answers = images × mean answers of one. *A budget* shared by N images certifies the most where the cap is large
enough for the easy ones and small enough to reach them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import bdtrik, betaincinv

from api_smoothing.certify.crossing import Counts, Floats
from api_smoothing.certify.plan import expected_of_many
from api_smoothing.claims.course import boundaries, course
from api_smoothing.claims.intervals import error_of
from api_smoothing.errors import ConfigurationError

_MOST: Final = 4000  # answers: a cap beyond certifies little more of any prior that is known
_RATIO: Final = 1.4  # of one cap to the next that is tried
_NODES: Final = 48
_LARGE: Final = 2000  # images: a larger set is planned as one of so many
_SETS: Final = 9
_NEARLY: Final = 0.95  # of the best chance of a proof that any cap gives: what a cheaper one must give


@dataclass(frozen=True, slots=True, kw_only=True)
class CapForClaim:
    """With `cap`: P(`proved`), P(`refuted`), mean `images` and `answers` until either.

    `certified` is the share of images that the cap certifies, `each` the mean answers of an image.
    """

    cap: int
    proved: float
    refuted: float
    images: float
    answers: float
    certified: float
    each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CapForBudget:
    """With `cap`: about `images` are reached within the budget, and about `certified` of them certified."""

    cap: int
    images: float
    certified: float


def for_claim(
    shares: Floats,
    weights: Floats,
    *,
    p0: float,
    at_least: float,
    population: int,
    right: float = 1.0,
    concentration: float = math.inf,
    alpha: float = 0.001,
    confidence: float = 0.95,
    caps: Sequence[int] | None = None,
) -> list[CapForClaim]:
    """What each cap makes of the claim, the cheapest first that proves it nearly as often as any does.

    `shares` in [0, 1] are of the top class, `weights` sum to 1. `p0` is what must be exceeded for the radius, `right`
    the probability that the class certified is the true one. The prior weighs as much as `concentration` images of the
    model would: with less the share that a cap certifies is spread around what the prior says (beta), so that a cap
    must do for models that are worse. `caps` None: a geometric series from the least that can
    certify. A set of more than 2,000 is planned as one of 2,000, which near X takes fewer images than it will.
    Raises ConfigurationError where no cap certifies anything.
    """
    error_of(confidence)
    population = min(population, _LARGE)
    proves, refutes = boundaries(at_least, population, alpha=alpha, confidence=confidence)
    found = []
    for cap, each, certified in _certified(shares, weights, p0=p0, alpha=alpha, caps=caps):
        sets, law = _sets(population, right * certified, concentration)
        ran = course(proves, refutes, sets, law)
        found.append(
            CapForClaim(
                cap=cap,
                proved=ran.proved,
                refuted=ran.refuted,
                images=ran.looked,
                answers=ran.looked * each,
                certified=right * certified,
                each=each,
            )
        )
    enough = _NEARLY * max(one.proved for one in found)
    return sorted(found, key=lambda one: (one.proved < enough, one.answers))


def for_budget(
    shares: Floats,
    weights: Floats,
    *,
    p0: float,
    images: int,
    budget: int,
    alpha: float = 0.001,
    caps: Sequence[int] | None = None,
) -> list[CapForBudget]:
    """What each cap certifies of `images` with `budget` answers in all, the most first; the arguments as above."""
    found = []
    for cap, each, certified in _certified(shares, weights, p0=p0, alpha=alpha, caps=caps):
        reached = min(float(images), budget / each)
        found.append(CapForBudget(cap=cap, images=reached, certified=reached * certified))
    return sorted(found, key=lambda one: (-one.certified, one.cap))


def _certified(
    shares: Floats, weights: Floats, *, p0: float, alpha: float, caps: Sequence[int] | None
) -> Iterator[tuple[int, float, float]]:
    """Each cap with the mean answers of an image, and the share of images that it certifies."""
    least = math.ceil(math.log(alpha) / math.log(p0)) if 0.0 < p0 < 1.0 else 0
    if caps is None:
        steps = math.ceil(math.log(max(_MOST / max(least, 1), 2.0)) / math.log(_RATIO))
        caps = [math.ceil(least * _RATIO**step) for step in range(steps + 1)]
    tried = [cap for cap in caps if cap >= least]
    if not least or not tried:
        raise ConfigurationError(f"no cap of {list(caps)} certifies anything at p0={p0:g}, alpha={alpha:g}")
    nodes, weights = compressed(np.asarray(shares, dtype=np.float64), np.asarray(weights, dtype=np.float64))
    for cap in tried:
        answers, power = expected_of_many(nodes, p0, alpha=alpha, cap=cap)
        yield cap, float(weights @ answers), float(weights @ power)


def compressed(shares: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """At most 48 shares in place of many: neighbours of equal weight together, at their mean."""
    order = np.argsort(shares)
    shares, weights = shares[order], weights[order] / weights.sum()
    if shares.size <= _NODES:
        return shares, weights
    part = np.minimum((np.cumsum(weights) - weights / 2.0) * _NODES, _NODES - 1).astype(np.int64)
    mass: Floats = np.asarray(np.bincount(part, weights, _NODES), dtype=np.float64)
    total: Floats = np.asarray(np.bincount(part, weights * shares, _NODES), dtype=np.float64)
    kept = mass > 0.0
    return total[kept] / mass[kept], mass[kept]


def _sets(population: int, certified: float, concentration: float) -> tuple[Counts, Floats]:
    """How many certificates a set would get: quantiles of the binomial law, or of the beta law of a light prior."""
    levels = (np.arange(_SETS) + 0.5) / _SETS
    if certified <= 0.0 or certified >= 1.0:
        return np.array([round(population * certified)], dtype=np.int64), np.ones(1)
    if concentration < population:
        shares = betaincinv(concentration * certified, concentration * (1.0 - certified), levels)
        counts = np.rint(population * shares)
    else:
        counts = np.clip(np.ceil(bdtrik(levels, population, certified)), 0, population)
    return counts.astype(np.int64), np.full(_SETS, 1.0 / _SETS)
