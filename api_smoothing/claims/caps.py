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
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

import numpy as np
from scipy.special import bdtrik, betaincinv

from api_smoothing.certify.crossing import Counts, Floats
from api_smoothing.certify.plan import expected_of_many, roughly_of_many
from api_smoothing.claims.course import boundaries, course
from api_smoothing.claims.intervals import error_of
from api_smoothing.errors import ConfigurationError

_MOST: Final = 4000  # answers: a cap beyond certifies little more of any prior that is known
_RATIO: Final = 1.4  # of one cap to the next that is tried
_NODES: Final = 48
_LARGE: Final = 2000  # images: a larger set is planned as one of so many
_SETS: Final = 9
_NEARLY: Final = 0.95  # of the best chance of a proof that any cap gives: what a cheaper one must give
_ROUGH: Final = 0.035  # of what a cap takes: by so much a first look may be mistaken about it, beside another
_FEWER: Final = 0.015  # of the images it certifies, likewise

Way = TypeVar("Way", "CapForClaim", "CapForBudget")


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
    must do for models that are worse. `caps` None: those of a geometric series from the least that can certify which a
    first, rough look leaves in question; the cheapest is that of the whole series. A set of more than 2,000 is planned
    as one of 2,000, which near X takes fewer images than it will.
    Raises ConfigurationError where no cap certifies anything.
    """
    error_of(confidence)
    population = min(population, _LARGE)
    proves, refutes = boundaries(at_least, population, alpha=alpha, confidence=confidence)

    def way(cap: int, each: float, certified: float) -> CapForClaim:
        sets, law = _sets(population, right * certified, concentration)
        ran = course(proves, refutes, sets, law)
        return CapForClaim(
            cap=cap,
            proved=ran.proved,
            refuted=ran.refuted,
            images=ran.looked,
            answers=ran.looked * each,
            certified=right * certified,
            each=each,
        )

    def cheapest_first(found: Sequence[CapForClaim]) -> list[CapForClaim]:
        enough = _NEARLY * max(one.proved for one in found)
        return sorted(found, key=lambda one: (one.proved < enough, one.answers))

    def hopeful(one: CapForClaim) -> CapForClaim:
        return way(one.cap, one.each, min(1.0, (1.0 + _FEWER) * one.certified / right))

    tried = _tried(p0, alpha, caps)
    look = _looking(way, shares, weights, p0=p0, alpha=alpha)
    if caps is not None:
        return cheapest_first(look(tried, expected_of_many))
    found = look(_in_question(look, tried, hopeful), expected_of_many)
    surely_not = _NEARLY * max(one.proved for one in found)
    if any(
        surely_not <= one.proved < _NEARLY for one in found
    ):  # then the best chance is that of the largest
        found += look(sorted({tried[-1]} - {one.cap for one in found}), expected_of_many)
    return cheapest_first(found)


def _in_question(
    look: Callable[..., list[CapForClaim]],
    tried: Sequence[int],
    hopeful: Callable[[CapForClaim], CapForClaim],
) -> list[int]:
    """The caps that may be the cheapest, by a first look.

    A smaller cap certifies fewer, so those below the least that may prove the claim are left out; from it on caps are
    looked at until they only become dearer. `hopeful` is what one would be if it certified as many more as the look may
    have missed.
    """

    @cache
    def first(number: int) -> CapForClaim:
        return look([tried[number]], roughly_of_many)[0]

    def may_prove(number: int) -> bool:
        return hopeful(first(number)).proved >= _NEARLY**2

    least = bisect_left(range(len(tried)), True, key=may_prove)
    seen: list[CapForClaim] = []
    cheapest, dearer = math.inf, 0
    for number in range(least if least < len(tried) else 0, len(tried)):
        one = first(number)
        seen.append(one)
        cheapest = min(cheapest, one.answers if one.proved >= _NEARLY else math.inf)
        dearer = dearer + 1 if one.answers > (1.0 + _ROUGH) * cheapest else 0
        if dearer == 2:
            break
    enough = _NEARLY * max(one.proved for one in seen)
    cheapest = min(one.answers for one in seen if one.proved >= enough)
    return [
        one.cap
        for one in seen
        if one.answers <= (1.0 + _ROUGH) * cheapest and max(one.proved, hopeful(one).proved) >= enough
    ]


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

    def way(cap: int, each: float, certified: float) -> CapForBudget:
        reached = min(float(images), budget / each)
        return CapForBudget(cap=cap, images=reached, certified=reached * certified)

    tried = _tried(p0, alpha, caps)
    look = _looking(way, shares, weights, p0=p0, alpha=alpha)
    if caps is None:
        first = look(tried, roughly_of_many)
        most = max(one.certified for one in first)
        tried = [one.cap for one in first if one.certified >= (1.0 - _ROUGH) * most]
    return sorted(look(tried, expected_of_many), key=lambda one: (-one.certified, one.cap))


def _tried(p0: float, alpha: float, caps: Sequence[int] | None) -> list[int]:
    """Those of `caps` that can certify, or a geometric series of such."""
    least = math.ceil(math.log(alpha) / math.log(p0)) if 0.0 < p0 < 1.0 else 0
    if caps is None:
        steps = math.ceil(math.log(max(_MOST / max(least, 1), 2.0)) / math.log(_RATIO))
        caps = [math.ceil(least * _RATIO**step) for step in range(steps + 1)]
    tried = [cap for cap in caps if cap >= least]
    if not least or not tried:
        raise ConfigurationError(f"no cap of {list(caps)} certifies anything at p0={p0:g}, alpha={alpha:g}")
    return tried


def _looking(
    way: Callable[[int, float, float], Way], shares: Floats, weights: Floats, *, p0: float, alpha: float
) -> Callable[[Sequence[int], Callable[..., tuple[Floats, Floats]]], list[Way]]:
    """What makes a `way` of each cap, given the mean answers of an image and the share certified, as measured."""
    nodes, mass = compressed(np.asarray(shares, dtype=np.float64), np.asarray(weights, dtype=np.float64))

    def look(caps: Sequence[int], measured: Callable[..., tuple[Floats, Floats]]) -> list[Way]:
        found = []
        for cap in caps:
            answers, power = measured(nodes, p0, alpha=alpha, cap=cap)
            found.append(way(cap, float(mass @ answers), float(mass @ power)))
        return found

    return look


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
