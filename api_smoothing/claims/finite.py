"""Evidence that more than m of N images are right, from images drawn without replacement and certificates that may
err.

The null: of N images at most m are right, the order is random, and an image that is not right gets a certificate
with probability at most α, whatever came before. At its worst exactly m are right, each certified for sure, and
each other one with probability α: then the certificates that all N would get number K = m + Bin(N − m, α), law ν,
and given K the order is uniform. A run with s certificates among t images has the probability h(K) = C(N−t,
K−s)/C(N, K) given K, so

    E = Σ w(K)·h(K) / Σ ν(K)·h(K),   w any distribution that is fixed beforehand,

is a likelihood ratio of two laws of the run, a non-negative martingale under that null: P(ever E ≥ 1/δ) ≤ δ [Ville
1939].

*Every other null errs less.* Let its right images be a subset of m images; the worst case calls those right. In the
same order certify image by image with one uniform variable for both: who is certified in the null is in the worst
case, too, since there a right image is certified for sure, and α is at least the chance of any other given the
past. So s is never larger, and the rule "E ≥ 1/δ" is one that more certificates never leave: E grows with s, as it
is the mean of w/ν given the run, K given the run grows with s (the ratio C(N−t, K−s−1)/C(N−t, K−s) =
(K−s)/(N−t−K+s+1) grows with K), and w/ν is made to grow with K. ∎ (α = 0 tests the number of certificates itself: ν
is a point.)

*The w in use.* 0 up to K = m + ⌊(N−m+1)α⌋, the mode of ν; from there, at distance d, proportional to 1/max(d, 2√N):
even near the null, and by scale further off, since it is the scale that is not known. w/ν grows: with A = (N−m+1)α,
ν falls past its mode, and by a factor of at most A/(A+d) at distance d, which is at most d/(d+1) once d² ≥ A. ∎

Measured at N = 500, δ = 0.05: the exact probability of crossing is 0.039 to 0.043, and 215 images show 0.46 to be
more than 0.40, where a test of the same error without a bound on the number of images and with 0.46 known needs
413.

Sources: Ville 1939; Waudby-Smith and Ramdas 2020 (without replacement); Robbins 1970 (mixtures).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from api_smoothing.certify.crossing import Counts, Floats


class Finite:
    """The null "at most `most` of `population` are right", each other one certified with probability ≤ `alpha`."""

    def __init__(self, population: int, most: int, alpha: float) -> None:
        """0 ≤ `most` < `population`, 0 ≤ `alpha` < 1."""
        if not (0 <= most < population and 0.0 <= alpha < 1.0):
            raise ValueError(f"{most} of {population} at {alpha}: out of range")
        self._population, self._most = population, most
        others = population - most
        false = np.arange(others + 1, dtype=np.int64)
        self._null = log_binomial(others, false, alpha)
        beyond = false - math.floor((others + 1) * alpha)
        weight = np.where(beyond > 0, 1.0 / np.maximum(beyond, 2.0 * math.sqrt(population)), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._other = np.log(weight / weight.sum()) if weight.any() else np.full(weight.shape, -np.inf)

    def log_e(self, certified: int, looked: int) -> float:
        """Log E after `certified` of `looked` images; −∞ where more of them failed than the null allows."""
        n, log = self._population, _log_factorials(self._population)
        low = max(certified - self._most, 0)
        high = n - looked + certified - self._most  # the most there can be, as distance from the null
        if high < 0:
            return -math.inf
        k = np.arange(low + self._most, high + self._most + 1)
        runs = log[n - looked] - log[k - certified] - log[n - looked - k + certified]
        runs -= log[n] - log[k] - log[n - k]
        above = _log_sum(self._other[low : high + 1] + runs)
        if above == -math.inf:
            return above
        return above - _log_sum(self._null[low : high + 1] + runs)


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Floats:
    return np.asarray(gammaln(np.arange(n + 1) + 1.0))


def _log_sum(logs: Floats) -> float:
    peak = float(logs.max())
    return peak if peak == -math.inf else peak + math.log(float(np.exp(logs - peak).sum()))


def log_binomial(n: int, k: Counts, p: float) -> Floats:
    """Log P(Bin(`n`, `p`) = `k`), 0 ≤ `p` < 1."""
    if p == 0.0:
        return np.where(k == 0, 0.0, -np.inf)
    log = _log_factorials(n)
    return np.asarray(log[n] - log[k] - log[n - k] + k * math.log(p) + (n - k) * math.log1p(-p))
