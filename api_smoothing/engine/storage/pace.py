"""How fast an account may really be asked, learned from what is refused as too fast.

After a throttle the rate is cut below the one that was too high, comes back towards it at once, stays just below for
long, and then looks for more: the cubic curve of TCP (Ha, Rhee & Xu, "CUBIC", 2008), in answered requests in place of
seconds, so that the share of refused ones is bounded whatever the rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from api_smoothing.adapters.base import Quota

_SCALE: Final = 2000.0  # answered requests beyond the plateau until the rate has doubled
_MILD: Final = 0.93  # of the rate, after a throttle that was rare
_HARD: Final = 0.7  # when throttles come one after the other
_RARE: Final = 200  # answered requests since the last one
_LEAST: Final = 0.01  # of the quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The rate `ceiling` (units a second) was too high: it was cut by the factor `cut`, and `answered` requests ago."""

    ceiling: float
    cut: float
    answered: int = 0

    @property
    def rate(self) -> float:
        """Units a second that may be tried now."""
        plateau = _SCALE * math.cbrt(1.0 - self.cut)
        return self.ceiling * (1.0 + ((self.answered - plateau) / _SCALE) ** 3)


def slowed(pace: Pace | None, quota: Quota) -> Pace:
    """The pace after a throttle of somebody who keeps to `quota` and `pace`."""
    full = quota.count / quota.seconds
    rate = full if pace is None else min(full, pace.rate)
    rare = pace is None or pace.answered >= _RARE
    return Pace(ceiling=max(rate, _LEAST * full), cut=_MILD if rare else _HARD)


def at_pace(quota: Quota, pace: Pace) -> Quota:
    """`quota`, or an even flow at the lower rate of `pace`: nobody knows in which window the provider counts."""
    if pace.rate >= quota.count / quota.seconds:
        return quota
    return replace(quota, count=1, seconds=1.0 / pace.rate)
