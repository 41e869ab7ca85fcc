"""Certified accuracy over all radii, with exact bands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.certify import clopper_pearson

if TYPE_CHECKING:
    from api_smoothing.results import Certificate

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A falling step function: at radii in (radius[i−1], radius[i]] `k[i]` of `n` images are certified.

    `radius[0]` is 0 and the last entry, with k = 0, stands for all that is larger. `low` and `high` are the exact 95 %
    interval of the share at each single radius (Clopper and Pearson 1934), for images drawn at random.
    """

    radius: NDArray[np.float64]
    k: NDArray[np.int64]
    n: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def share(self) -> NDArray[np.float64]:
        """k/n; 0 where there is no image."""
        return self.k / max(self.n, 1)

    def at(self, radius: float) -> int:
        """The index of the step that holds at `radius` ≥ 0."""
        return min(int(np.searchsorted(self.radius, radius, side="left")), len(self.radius) - 1)


def curve_of(reach: NDArray[np.float64], n: int | None = None) -> Curve:
    """The curve of images certified up to `reach` each (negative: not at all), out of `n` (default: all of them)."""
    n = len(reach) if n is None else n
    kept = np.sort(reach[reach >= 0.0])
    steps = np.unique(np.concatenate([[0.0], kept]))
    k = len(kept) - np.searchsorted(kept, steps, side="left")
    last = float(steps[-1])
    steps = np.append(steps, np.nextafter(last, np.inf))
    k = np.append(k, 0).astype(np.int64)
    low, high = exact(k, n)
    return Curve(radius=steps, k=k, n=n, low=low, high=high)


def curve(certificates: Iterable[Certificate]) -> Curve:
    """The curve of an evaluation's certificates: whose label is right at which radius.

    Where n was fixed a certificate's own radius counts, so the curve holds at every radius. Where radii were asked for
    it falls at those alone: between two it says what is proved at the larger one. An image without a known truth counts
    by its label alone.
    """
    from api_smoothing.recorded.summary import GIVEN
    from api_smoothing.report.rows import NEVER, counted_of

    reaches = []
    for one in certificates:
        truth = None if one.item is None else one.item["truth"]
        is_known = truth is not None or one.extra.get(GIVEN) is not None
        reaches.append(NEVER if is_known and one.label != truth else counted_of(one))
    return curve_of(np.array(reaches, dtype=np.float64))


def exact(
    k: NDArray[np.int64], n: int, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two-sided exact interval of each k of `n`; (0, 1) where there is no image."""
    if n == 0:
        return np.zeros(len(k)), np.ones(len(k))
    tail = (1.0 - confidence) / 2.0
    return clopper_pearson.lower(k, n, tail), clopper_pearson.upper(k, n, tail)
