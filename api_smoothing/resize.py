"""Resize and crop as one explicit linear map T, so that its operator norm is the norm of what really happens.

T = A_h ⊗ A_w: a triangle filter, widened by the scale when shrinking (the usual antialiased bilinear resize),
then a centre crop, which only drops rows of A_h and A_w. Weights are whole multiples of 2⁻¹⁸ that add up to
1: they are non-negative, so T maps [0,1] into [0,1] and nothing is clipped, and on 8- and 16-bit images every
sum is exact in float64, whatever the order of addition: the same image has the same digest on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_WEIGHT_BITS = 18  # 16 bits of image + 2·18 bits of weights = 52 < 53
_NORM_SAFETY = 1.0 + 1e-9  # eigvalsh is backward stable, its error below 1e-12 relative


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """One 1-D matrix A (kept × source): row i is `weights[i]`·2⁻¹⁸ from column `starts[i]` on."""

    source: int
    starts: tuple[int, ...]
    weights: tuple[NDArray[np.float64], ...]
    norm: float  # an upper bound of ‖A‖₂, tight to 1e-9
    norm_l1: float  # the same for ‖A‖₁, the largest column sum

    @property
    def selects(self) -> bool:
        """Whether A only keeps a run of entries as they are."""
        return _selects(self.starts, self.weights)

    def matrix(self) -> NDArray[np.float64]:
        """A as a dense array (kept, source)."""
        return np.asarray(_sparse(self.source, self.starts, self.weights).toarray()) / 2.0**_WEIGHT_BITS

    def apply(self, x: NDArray[np.number]) -> NDArray[np.float64]:
        """2¹⁸·A·x along the first axis of `x` (source, …); exact on integers below 2³⁵."""
        flat = x.reshape(self.source, -1)
        out = np.empty((len(self.starts), flat.shape[1]))
        for row, start, weights in zip(out, self.starts, self.weights, strict=True):
            np.matmul(weights, flat[start : start + len(weights)].astype(np.float64), out=row)
        return out.reshape(len(self.starts), *x.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """The map T from images (h, w, C) to images (H, W, C)."""

    rows: Axis
    columns: Axis

    @property
    def norm(self) -> float:
        """‖T‖₂ = ‖A_h‖₂·‖A_w‖₂, rounded up: ‖T(x′) − T(x)‖₂ ≤ norm·‖x′ − x‖₂, nearly tight."""
        return self.rows.norm * self.columns.norm

    @property
    def norm_l1(self) -> float:
        """‖T‖₁ = ‖A_h‖₁·‖A_w‖₁, rounded up: the same bound for ℓ1 distances."""
        return self.rows.norm_l1 * self.columns.norm_l1

    @property
    def is_selection(self) -> bool:
        """Whether T only keeps some pixels as they are (a crop, or nothing at all)."""
        return self.rows.selects and self.columns.selects

    def select(self, x: NDArray[Any]) -> NDArray[Any]:
        """T(x) in the type of `x` (h, w, C), where T is a selection."""
        top, left = self.rows.starts[0], self.columns.starts[0]
        return x[top : top + len(self.rows.starts), left : left + len(self.columns.starts)]

    def apply(self, x: NDArray[np.number]) -> NDArray[np.float64]:
        """T(x) for x (h, w, C), in the units of x: exact to 2⁻⁵³ relative for 8- and 16-bit integers."""
        tall = self.rows.apply(x)
        wide = self.columns.apply(tall.swapaxes(0, 1)).swapaxes(0, 1)
        return np.ascontiguousarray(wide) * 2.0 ** (-2 * _WEIGHT_BITS)


def cover(original: tuple[int, int], target: tuple[int, int]) -> Resize:
    """The map that scales (h, w) to the smallest size covering `target` (H, W), and keeps its centre.

    The aspect ratio is kept, to the nearest pixel.
    """
    (h, w), (height, width) = original, target
    if height * w >= width * h:
        resized = height, max(width, (2 * w * height + h) // (2 * h))
    else:
        resized = max(height, (2 * h * width + w) // (2 * w)), width
    rows = _axis(h, resized[0], (resized[0] - height) // 2, height)
    columns = _axis(w, resized[1], (resized[1] - width) // 2, width)
    return Resize(rows=rows, columns=columns)


@lru_cache(maxsize=32)
def _axis(source: int, resized: int, offset: int, kept: int) -> Axis:
    """Rows offset … offset + kept − 1 of the triangle filter from `source` to `resized` pixels."""
    reach = 2 * max(source, resized)  # half the filter's width, in units of source pixels / (2·resized)
    starts, weights = [], []
    for i in range(offset, offset + kept):
        centre = (2 * i + 1) * source
        first = max(0, (centre - reach) // (2 * resized))
        last = min(source, (centre + reach) // (2 * resized) + 1)
        k = np.arange(first, last, dtype=np.int64)
        height = np.maximum(0, reach - np.abs((2 * k + 1) * resized - centre))
        total = int(height.sum())
        edges = ((np.cumsum(height) << (_WEIGHT_BITS + 1)) + total) // (2 * total)
        fixed = np.diff(edges, prepend=0)  # rounds the running sum: within 2⁻¹⁸, never negative, 1 in all
        used = np.flatnonzero(fixed)
        starts.append(first + int(used[0]))
        weights.append(fixed[used[0] : used[-1] + 1].astype(np.float64))
    norm, norm_l1 = (1.0, 1.0) if _selects(starts, weights) else _norms(_sparse(source, starts, weights))
    return Axis(source=source, starts=tuple(starts), weights=tuple(weights), norm=norm, norm_l1=norm_l1)


def _selects(starts: Sequence[int], weights: Sequence[NDArray[np.float64]]) -> bool:
    return all(len(w) == 1 for w in weights) and len(set(starts)) == len(starts)


def _norms(a: csr_array) -> tuple[float, float]:
    """Upper bounds of ‖A‖₂ = √λ_max(A·Aᵀ), where A·Aᵀ is exact, and of ‖A‖₁; `a` is in units of 2⁻¹⁸."""
    gram = (a @ a.T).toarray() * 2.0 ** (-2 * _WEIGHT_BITS)
    spectral = math.sqrt(float(np.linalg.eigvalsh(gram)[-1]))
    return spectral * _NORM_SAFETY, float(a.sum(axis=0).max()) * 2.0**-_WEIGHT_BITS * _NORM_SAFETY


def _sparse(source: int, starts: Sequence[int], weights: Sequence[NDArray[np.float64]]) -> csr_array:
    from scipy.sparse import csr_array

    lengths = [len(w) for w in weights]
    columns = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)])
    return csr_array(
        (np.concatenate(weights), columns, np.cumsum([0, *lengths])), shape=(len(starts), source)
    )
