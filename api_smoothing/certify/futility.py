"""When to give up. Neither reason bears on soundness: giving up certifies nothing.

Certain: even if every answer still affordable voted for the class, its boundary would not be met. In all
likelihood: an upper confidence sequence puts every class below the `hopeless_share` h: p0, or under a cap the
larger share that certifies at the cap, as a class in between would miss it more often than not. It is the
e-process of `mixture` on the answers that are *not* votes for the class, against p ≥ h; the class with the
most votes is the last to fall, and a class nobody has voted for yet fell long before. If some class does have
p ≥ h the run is given up with probability at most `LEVEL`, however long it is.
"""

from __future__ import annotations

import math
from functools import lru_cache

from api_smoothing.certify.boundary import Boundary, OpenBoundary
from api_smoothing.certify.error_bounds import CHOSEN
from api_smoothing.certify.mixture import tuned_mixture
from api_smoothing.certify.sequential import open_boundary

#: Probability of giving up on an image whose class does reach the target.
LEVEL = 0.01

_OVERSHOOT = 0.22  # of a discrete walk, taken off the threshold: 0.05 to 0.5 is what calibrations take off


def hopeless_share(upper: Boundary, p0: float) -> float:
    """The share h of votes below which a class is given up: K(N)/N with a cap N, else `p0`."""
    cap = upper.cap
    return p0 if cap is None else max(p0, min(upper.at(cap), cap - 1) / cap)


@lru_cache(maxsize=512)
def futility_boundary(p0: float, level: float = LEVEL) -> OpenBoundary:
    """K(n) on the answers that are not votes for a class: met, the class is taken to be below `p0`."""
    return open_boundary(1.0 - p0, level, CHOSEN, version=1)


def rough_futility(p0: float) -> OpenBoundary:
    """About `futility_boundary`, whose threshold is not calibrated but what calibrations come to: for plans alone."""
    return OpenBoundary(tuned_mixture(1.0 - p0, LEVEL, version=1), math.log(1.0 / LEVEL) - _OVERSHOOT)


def spare(upper: Boundary, cap: int | None) -> int | None:
    """The answers among `cap` that may miss the class with its boundary still met; None without a cap."""
    return None if cap is None else cap - upper.at(cap)


def until_certain(upper: Boundary, cap: int | None, top: int, n: int) -> int | None:
    """The fewest further answers after which no class can meet `upper` within `cap`; 0 if that is so already."""
    allowed = spare(upper, cap)
    return None if allowed is None else max(0, allowed - (n - top) + 1)


def until_likely(lower: Boundary | None, top: int, n: int) -> int | None:
    """The fewest further answers after which every class may have been put below p0; 0 if they have been."""
    return None if lower is None else lower.reach(n - top, n)
