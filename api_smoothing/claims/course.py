"""How a claim goes: how many images it takes, and how often it is proved or refuted. Exact, for planning and for tests.

A claim about a finite set is decided by two counts, like a certificate: proved at the first t at which s(t) images are
certified, refuted at the first at which so many are not (`boundaries`). If K certificates are all that the set would
get, the t-th image is one of them with probability (K − s)/(N − t + 1): the course is a sum over the counts still open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from api_smoothing.certify.crossing import Counts, Floats
from api_smoothing.claims.claim import LogE, least_right, whole
from api_smoothing.claims.finite import log_binomial
from api_smoothing.claims.intervals import error_of

_TINY = 1e-15  # mass at the ends of the band that is dropped, at every step


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """P(`proved`), P(`refuted`) and the mean number of images until either, or until there are no more."""

    proved: float
    refuted: float
    looked: float


@lru_cache(maxsize=32)
def boundaries(
    at_least: float, population: int, *, alpha: float, confidence: float = 0.95
) -> tuple[Counts, Counts]:
    """For t = 1 … N the fewest certificates that prove the claim, and the fewest images without one that refute it.

    t + 1 where no number does. The arguments are those of `Claim`.
    """
    least, level = least_right(at_least, population), math.log(1.0 / error_of(confidence))
    proves = _fewest(whole(least - 1, population=population, alpha=alpha), population, level)
    refutes = _fewest(whole(population - least, population=population, alpha=0.0), population, level)
    return proves, refutes


def course(proves: Counts, refutes: Counts, certificates: Sequence[int] | Counts, weights: Floats) -> Course:
    """Of sets that would get so many `certificates` in all, each with its weight (they sum to 1)."""
    population = proves.size
    counts = np.asarray(certificates, dtype=np.float64)[:, None]
    mass = np.asarray(weights, dtype=np.float64)[
        :, None
    ]  # by set, and by certificates so far from `first` on
    first, proved, refuted, looked = 0, 0.0, 0.0, 0.0
    for t in range(1, population + 1):
        looked += float(mass.sum())
        have = first + np.arange(mass.shape[1])
        chance = np.clip((counts - have) / (population - t + 1), 0.0, 1.0)
        step = np.zeros((mass.shape[0], mass.shape[1] + 1))
        step[:, 1:] = mass * chance
        step[:, :-1] += mass * (1.0 - chance)
        top = min(max(int(proves[t - 1]) - first, 0), step.shape[1])
        low = min(max(t - int(refutes[t - 1]) + 1 - first, 0), top)
        proved += float(step[:, top:].sum())
        refuted += float(step[:, :low].sum())
        step = step[:, low:top]
        alive = np.nonzero(step.sum(axis=0) > _TINY)[0]
        if not alive.size:
            break
        mass = step[:, alive[0] : alive[-1] + 1]
        first += low + int(alive[0])
    return Course(proved=proved, refuted=refuted, looked=looked)


def worst_null(at_least: float, population: int, *, alpha: float) -> tuple[Counts, Floats]:
    """The certificates, and their chances, of a set in which one image too few is right: the worst case of `finite`."""
    right = least_right(at_least, population) - 1
    others = population - right
    false = np.arange(others + 1, dtype=np.int64)
    chances = np.exp(log_binomial(others, false, alpha))
    likely = chances > _TINY
    return right + false[likely], chances[likely]


def _fewest(evidence: LogE, population: int, level: float) -> Counts:
    """For t = 1 … N the fewest ones with log E ≥ `level`; it grows by 0 or 1, as one more only adds to the evidence."""
    found = np.empty(population, dtype=np.int64)
    fewest = 0
    for t in range(1, population + 1):
        while fewest <= t and evidence(fewest, t) < level:
            fewest += 1
        found[t - 1] = fewest
    return found
