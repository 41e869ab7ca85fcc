"""Intervals for a share of images and for the mean of their radii: each end errs with at most half of what is allowed.

*A share* of images drawn independently, or of a set of which all were looked at and that stands for more like it:
the binomial interval of Clopper and Pearson (1934), `exact`. Of a finite set from which some were drawn without
replacement: the hypergeometric one, `exact_finite`, by the same inversion of tests; it is the shorter one.

*A mean of bounded values*, the average certified radius: `mean`. With the values scaled to [0, 1] and m the mean,
the product of 1 + λ·(x_i − m) over the images has expectation 1 for every λ, and is not negative for λ·m ≤ 1. So a
mixture over several λ fixed beforehand reaches 2/(1 − confidence) with probability at most half of 1 − confidence
(Markov), and the m at which it does are left out, from below, and with 1 − x_i from above. Drawn without
replacement the values are negatively associated, and as every factor grows with its value the expectation is at
most 1: the interval holds as well. It assumes nothing about the values but their range, and does not depend on
their order. Each component falls with m, and to 0 where λ·m > 1, so what is left out from below is one interval
from 0 on: bisection finds its end. ∎ Which λ: for n values of standard deviation s the best is √(2·ln(2/(1 −
confidence))/n)/s, so the λ stand for s = ½, ½/√2, ¼, …, and the weights fall with s: a radius is 0 or large more
often than in between.

Sources: Clopper and Pearson 1934; Waudby-Smith and Ramdas 2024 (betting); Joag-Dev and Proschan 1983 (association).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from scipy.special import betainc, gammaln, logsumexp

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.crossing import Floats
from api_smoothing.errors import ConfigurationError

_OUT: Final = 1e-9  # relative rounding of the tails and products below, taken to the wider side
_FLAT: Final = 0.3  # of the weight on λ, spread evenly; the rest falls by _FALL from one to the next
_FALL: Final = 0.6


def at_least(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) ≥ k)."""
    return 1.0 if k == 0 else float(betainc(k, n - k + 1, p))


def exact(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval for a probability of which `k` of `n` independent trials tell; (0, 1) for n = 0."""
    error = error_of(confidence)
    if not 0 <= k <= n:
        raise ConfigurationError(f"{k} of {n}: the count must lie in 0…n")
    if n == 0:
        return 0.0, 1.0
    return float(clopper_pearson.lower(k, n, error / 2)), float(clopper_pearson.upper(k, n, error / 2))


def exact_finite(k: int, n: int, population: int, confidence: float = 0.95) -> tuple[float, float]:
    """The same for a share of a set of `population`, of which `n` were drawn without replacement and `k` counted."""
    error = error_of(confidence)
    if not 0 <= k <= n <= population or population < 1:
        raise ConfigurationError(f"{k} of {n} of {population}: they must rise, and the last be at least 1")
    low = _fewest(k, n, population, error / 2)
    high = population - _fewest(n - k, n, population, error / 2)
    return low / population, high / population


def mean(values: Sequence[float] | Floats, most: float, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval for the mean of values in [0, `most`]: (0, `most`) for none. Raises out of that range."""
    error = error_of(confidence)
    x = np.asarray(values, dtype=np.float64)
    if not most > 0.0 or (x.size and not (float(x.min()) >= 0.0 and float(x.max()) <= most)):
        raise ConfigurationError(f"the values must lie in [0, {most:g}], and that be more than a point")
    if not x.size:
        return 0.0, most
    low, high = _mean_below(x / most, error / 2), 1.0 - _mean_below(1.0 - x / most, error / 2)
    return most * low, most * high


def error_of(confidence: float) -> float:
    """1 − `confidence`. Raises ConfigurationError unless that lies in [½, 1)."""
    if not 0.5 <= confidence < 1.0:
        raise ConfigurationError(f"confidence must lie in [0.5, 1), not {confidence!r}")
    return 1.0 - confidence


def _fewest(k: int, n: int, population: int, error: float) -> int:
    """The fewest ones in the set with which `k` or more among `n` have a probability above `error`."""
    low, high = k - 1, population - (n - k)  # with k − 1 it is impossible, with all but n − k certain
    while high - low > 1:
        middle = (low + high) // 2
        above = _tail(k, n, middle, population) > error * (1.0 - _OUT)
        low, high = (low, middle) if above else (middle, high)
    return high


def _tail(k: int, n: int, ones: int, population: int) -> float:
    """P(at least `k` ones among `n` drawn without replacement)."""
    i = np.arange(max(k, n - (population - ones)), min(n, ones) + 1)
    log = _choose(ones, i) + _choose(population - ones, n - i) - _choose(population, n)
    return float(np.exp(log).sum())


def _choose(n: int, k: object) -> Floats:
    chosen = np.asarray(k, dtype=np.float64)
    return np.asarray(gammaln(n + 1.0) - gammaln(chosen + 1.0) - gammaln(n - chosen + 1.0))


def _mean_below(x: Floats, error: float) -> float:
    """A number that the mean of values `x` in [0, 1] is below with probability at most `error`."""
    bets = math.sqrt(8.0 * math.log(1.0 / error) / x.size) * math.sqrt(2.0) ** np.arange(
        2 + 2 * math.ceil(math.log2(x.size + 1))
    )
    falling = _FALL ** np.arange(bets.size)
    weights = np.log(_FLAT / bets.size + (1.0 - _FLAT) * falling / falling.sum())

    def log_e(m: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.log1p(np.maximum(bets[:, None] * (x - m), -1.0)).sum(axis=1)
        return float(logsumexp(np.where(bets * m <= 1.0, weights + gains, -np.inf)))

    return _last(log_e, math.log(1.0 / error) + _OUT)


def _last(falling: Callable[[float], float], level: float) -> float:
    """A point of [0, 1] below which `falling` is at least `level`; 0 if it is nowhere."""
    low, high = 0.0, 1.0
    if falling(0.0) < level:
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if falling(middle) >= level else (low, middle)
    return low
