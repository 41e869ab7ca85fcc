"""Exact tables of discretised noise: which 64-bit integers give which grid value.

Real noise ε rounded to a grid of step h takes the value j with F((j+½)h) − F((j−½)h). A 64-bit uniform
integer U gives exactly that distribution, up to 2⁻⁶⁵ a threshold, when ε = #{j : T_j ≤ U} for T_j =
round(2⁶⁴·F((j+½)h)). Thresholds are computed in integers, so they are the same on every machine; no libm
enters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import takewhile
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigurationError

NoiseKind = Literal["gaussian", "uniform", "laplace"]

_BITS = 128  # fraction bits of the fixed-point work, of which 64 are kept
_ONE = 1 << _BITS
_HALF_ULP = 1 << (_BITS - 65)
_NODES_PER_SIGMA = 16  # Taylor expansions of Φ start here; |t| ≤ 1/32
_TERMS = 14  # the remainder is < 0.44·2⁻⁷⁵/(15·√14!) < 2⁻⁹⁶
_GAUSSIAN_END = Fraction(93, 10)  # 1 − Φ(9.3) = 7.0e-21 < 2⁻⁶⁵ = 2.7e-20
_LAPLACE_END = 45  # ½·e⁻⁴⁵ = 1.4e-20 < 2⁻⁶⁵
_MAX_ENTRIES = 1 << 22
_INV_SQRT_2PI = Decimal("0.3989422804014326779399460599343818684758586311649346576659258296706579")

OPEN = 1 << 24  # added to a guide entry where the head bits alone do not decide


def uniform_half_width(sigma: float) -> float:
    """λ of the uniform noise on [−λ, λ] whose standard deviation is `sigma`: λ = σ·√3."""
    return sigma * math.sqrt(3.0)


def laplace_scale(sigma: float) -> float:
    """The scale b of the Laplace noise whose standard deviation is `sigma`: b = σ/√2."""
    return sigma / math.sqrt(2.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseTable:
    """Thresholds of one noise on one grid, and a guide over the first bits that settles nearly every draw.

    A draw reads `head_bits` first. `guide[head >> (head_bits − guide_bits)]` is the value, or `OPEN` plus the
    least value possible; then the other 64 − `head_bits` bits are read and `resolve` settles it.
    """

    thresholds: NDArray[np.uint64]
    largest: int
    guide: NDArray[np.int32]
    head_bits: int
    guide_bits: int

    @property
    def slack(self) -> float:
        """Bound on the total variation between one table draw and one exactly discretised draw.

        A threshold is off by at most (1 + 2⁻²⁰)·2⁻⁶⁵, B entries have B − 1 of them, and the mass beyond the
        table is at most 2·2⁻⁶⁵: TV = ½Σ|p̂_j − p_j| ≤ (B + 1)·(1 + 2⁻²⁰)·2⁻⁶⁵.
        """
        return (2 * self.largest + 2) * (1.0 + 2.0**-20) * 2.0**-65

    def resolve(self, u: NDArray[np.uint64], least: NDArray[np.int32]) -> NDArray[np.int32]:
        """Map 64-bit uniform integers to grid values, given lower bounds that are rarely off by over one."""
        rank = least + self.largest  # how many thresholds are known to be ≤ u
        rank += u >= self.thresholds[rank]
        far = np.flatnonzero(u >= self.thresholds.take(rank, mode="clip"))
        rank[far] = np.searchsorted(self.thresholds, u[far], side="right")
        return rank - np.int32(self.largest)


@lru_cache(maxsize=16)
def noise_table(kind: NoiseKind, sigma: float, sub: int) -> NoiseTable:
    """The table for noise of standard deviation `sigma`, in [0,1] units, on the grid of step 1/(255·sub)."""
    tail = _TAILS[kind](grid_scale(kind, sigma, sub))
    rounded = ((q + _HALF_ULP) >> (_BITS - 64) for q in tail)
    upper = np.fromiter(takewhile(bool, rounded), dtype=np.uint64)  # upper[j] = round(2⁶⁴·P(ε > (j+½)h))
    thresholds = np.concatenate([upper[::-1], np.uint64(0) - upper])  # symmetric: T₋ⱼ₋₁ = 2⁶⁴ − T_j
    head_bits, guide_bits = (16, 16) if len(thresholds) <= 1 << 13 else (32, 20)
    first = np.arange(1 << guide_bits, dtype=np.uint64) << np.uint64(64 - guide_bits)
    last = first | np.uint64((1 << (64 - guide_bits)) - 1)
    low, high = (np.searchsorted(thresholds, u, side="right") for u in (first, last))
    guide = (low - len(upper) + np.where(low == high, 0, OPEN)).astype(np.int32)
    for array in (thresholds, guide):
        array.setflags(write=False)
    return NoiseTable(
        thresholds=thresholds, largest=len(upper), guide=guide, head_bits=head_bits, guide_bits=guide_bits
    )


def grid_scale(kind: NoiseKind, sigma: float, sub: int) -> Fraction:
    """σ, λ or b, whichever is the kind's own, in steps of 1/(255·sub).

    Raises ConfigurationError where the kind is unknown, or the table would be unreasonably large.
    """
    if kind not in _TAILS:
        raise ConfigurationError(f"unknown noise {kind!r}: choose gaussian, uniform or laplace")
    scale = Fraction(_LENGTHS[kind](sigma)) * (255 * sub)
    if _ENDS[kind] * scale > _MAX_ENTRIES:
        raise ConfigurationError("sigma is too large for this grid: give it in [0,1] pixel units, as 0.25")
    return scale


def _gaussian_tail(scale: Fraction) -> Iterator[int]:
    """Yield 2¹²⁸·(1 − Φ((j+½)/scale)) for j = 0, 1, … while above 2⁻⁶⁵, by Taylor series about x = k/16.

    With a_n = φ⁽ⁿ⁾(x)/n!: (n+1)·a_{n+1} = −x·a_n − a_{n−1}, and 1 − Φ(x+t) = 1 − Φ(x) − Σ a_n·t^{n+1}/(n+1).
    |a_n| ≤ 0.44/√n! [Cramér's bound on Hermite functions], so 14 terms leave less than 2⁻⁹⁶.
    """
    numerator, denominator = scale.denominator << (_BITS - 1), scale.numerator
    node = -1
    tail, series = 0, [0]
    for j in range(math.ceil(_GAUSSIAN_END * scale)):
        x = (2 * j + 1) * numerator // denominator
        nearest = (x * _NODES_PER_SIGMA + (_ONE >> 1)) >> _BITS
        if nearest != node:
            node = nearest
            tail, series = _gaussian_node(Fraction(node, _NODES_PER_SIGMA))
        t = x - node * (_ONE // _NODES_PER_SIGMA)
        total = 0
        for term in series:
            total = term + (total * t >> _BITS)
        yield tail - (total * t >> _BITS)


def _gaussian_node(x: Fraction) -> tuple[int, list[int]]:
    """1 − Φ(x) and the coefficients φ⁽ⁿ⁾(x)/(n+1)!, highest n first, in units of 2⁻¹²⁸."""
    with localcontext(prec=60):
        z = Decimal(x.numerator) / x.denominator
        density = _INV_SQRT_2PI * (-z * z / 2).exp()
        term = total = z  # Φ(x) − ½ = φ(x)·Σ x^{2m+1}/(2m+1)!!, all terms positive
        odd = 1
        while term > Decimal("1e-55") * total:
            odd += 2
            term = term * z * z / odd
            total += term
        tail = Decimal("0.5") - density * total
        a = [density, -z * density]
        for n in range(1, _TERMS - 1):
            a.append((-z * a[n] - a[n - 1]) / (n + 1))
        return int(tail * _ONE), [int(value / (n + 1) * _ONE) for n, value in reversed([*enumerate(a)])]


def _uniform_tail(half_width: Fraction) -> Iterator[int]:
    """Yield 2¹²⁸·(λ − (j+½))/(2λ) for j = 0, 1, … while positive; λ in grid steps."""
    num, den = half_width.numerator, half_width.denominator
    for j in range(math.ceil(half_width)):
        yield max(0, (2 * num - (2 * j + 1) * den) * _ONE // (4 * num))


def _laplace_tail(scale: Fraction) -> Iterator[int]:
    """Yield 2¹²⁸·½·exp(−(j+½)/b) for j = 0, 1, … while above 2⁻⁶⁵; b in grid steps."""
    with localcontext(prec=80):
        rate = Decimal(scale.denominator) / scale.numerator
        guard = 64  # each product loses one unit in the last of these bits
        factor = int((-rate).exp() * (_ONE << guard))
        value = int((-rate / 2).exp() * (_ONE << guard) / 2)
    for _ in range(math.ceil(_LAPLACE_END * scale)):
        yield value >> guard
        value = value * factor >> (_BITS + guard)


#: By kind: the length that sets its scale, how many of those its table reaches, and what is beyond each value.
_LENGTHS: Final[dict[NoiseKind, Callable[[float], float]]] = {
    "gaussian": float,
    "uniform": uniform_half_width,
    "laplace": laplace_scale,
}
_ENDS: Final[dict[NoiseKind, Fraction]] = {
    "gaussian": _GAUSSIAN_END,
    "uniform": Fraction(1),
    "laplace": Fraction(_LAPLACE_END),
}
_TAILS: Final[dict[NoiseKind, Callable[[Fraction], Iterator[int]]]] = {
    "gaussian": _gaussian_tail,
    "uniform": _uniform_tail,
    "laplace": _laplace_tail,
}
