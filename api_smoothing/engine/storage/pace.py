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

_SCALE: Final = 1500.0  # answered requests beyond the plateau until the rate has doubled
#: What is left of the rate, by the answered requests since the last throttle: less where they follow one another.
_CUTS: Final = ((200, 0.93), (25, 0.85), (0, 0.7))
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
    cut = next(cut for least, cut in _CUTS if pace is None or pace.answered >= least)
    return Pace(ceiling=max(rate, _LEAST * full), cut=cut)


def at_pace(quota: Quota, pace: Pace) -> Quota:
    """`quota`, or an even flow at the lower rate of `pace`: nobody knows in which window the provider counts."""
    if pace.rate >= quota.count / quota.seconds:
        return quota
    return replace(quota, count=1, seconds=1.0 / pace.rate)
