"""A count boundary: certify a class at the first n at which it has K(n) votes.

Every target rule of this package (e-process, α-spending, fixed n, the paper's protocol) is such a boundary,
and so is every futility rule, with "not a vote for the class" counted instead. K(n) never grows by more than
1 an answer, so n − K(n), the answers that may have gone elsewhere, never falls: how far a class is from its
boundary is decided by those answers alone, and found by bisection.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from api_smoothing.certify.crossing import Counts
from api_smoothing.certify.mixture import Mixture

_BLOCK = 2048
_FOREVER = 2**52  # beyond it counts are no longer exact in double precision


class Boundary(Protocol):
    """K(n) for n = 1, 2, … up to `cap` (None: for ever)."""

    @property
    def cap(self) -> int | None:
        """The last n at which the boundary can be met."""
        ...

    def at(self, n: int) -> int:
        """The smallest count that meets the boundary after n answers; above n if none does."""
        ...

    def counts(self, horizon: int) -> Counts:
        """K(1) … K(horizon), or to the cap if that is sooner."""
        ...

    def reach(self, count: int, n: int) -> int | None:
        """The fewest further answers, all counted, that meet the boundary; None if the cap comes first."""
        ...


class CappedBoundary:
    """K(1) … K(N), given as an array."""

    def __init__(self, counts: Counts) -> None:
        """`counts[n-1]` is K(n), growing by at most 1 from one n to the next."""
        self._counts = counts
        self._spare = np.arange(1, counts.size + 1) - counts
        if np.any(np.diff(self._spare) < 0):
            raise ValueError("a boundary must not grow by more than 1 an answer")

    @property
    def cap(self) -> int | None:
        """N."""
        return int(self._counts.size)

    def at(self, n: int) -> int:
        """K(n), 1 ≤ n ≤ N."""
        return int(self._counts[n - 1])

    def counts(self, horizon: int) -> Counts:
        """K(1) … K(min(horizon, N))."""
        return self._counts[:horizon]

    def reach(self, count: int, n: int) -> int | None:
        """See Boundary."""
        met = int(np.searchsorted(self._spare, n - count)) + 1
        return None if met > self._counts.size else max(0, met - n)


class OpenBoundary:
    """K(n) = smallest k with log E_n ≥ `log_threshold`, for every n; computed in blocks and kept."""

    cap: int | None = None

    def __init__(self, mixture: Mixture, log_threshold: float) -> None:
        """The boundary of `mixture` at `log_threshold`."""
        self.mixture = mixture
        self.log_threshold = log_threshold
        self._counts: Counts = np.zeros(0, dtype=np.int64)

    def at(self, n: int) -> int:
        """K(n), n ≥ 1."""
        return int(self.counts(n)[n - 1])

    def counts(self, horizon: int) -> Counts:
        """K(1) … K(horizon)."""
        known = self._counts  # one reference, so that threads sharing a boundary only repeat work
        while known.size < horizon:
            n = np.arange(known.size + 1, known.size + _BLOCK + 1)
            known = np.concatenate([known, self.mixture.smallest_counts(n, self.log_threshold)])
            self._counts = known
        return known[:horizon]

    def reach(self, count: int, n: int) -> int | None:
        """See Boundary; None if it takes more than 2⁵² answers."""
        other = n - count
        if n > 0 and self._met(count, n):
            return 0
        step = 1
        while not self._met(count + step, n + step):
            step *= 2
            if step > _FOREVER:
                return None
        low, high = step // 2, step
        while high - low > 1:
            middle = (low + high) // 2
            if self._met(n + middle - other, n + middle):
                high = middle
            else:
                low = middle
        return high

    def _met(self, count: int, n: int) -> bool:
        if n <= self._counts.size:
            return bool(count >= self._counts[n - 1])
        high_enough = count - 1 >= self.mixture.p0 * (n - 1)
        return bool(high_enough and self.mixture.log_e(count, n) >= self.log_threshold)
