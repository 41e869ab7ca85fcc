"""Target boundaries without a cap: valid at every look, for any number of classes.

The threshold of the mixture e-process is not 1/α but whatever makes the error over all classes (`error_bounds`)
exactly α. Up to a horizon that error is computed; beyond it Ville's inequality bounds it from the state the
walk is in, so no assumption is made about when one stops. This wins back both the overshoot of a discrete
walk (the e-value jumps past the threshold) and the factor p0/M that a union over classes would cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from api_smoothing.certify.boundary import OpenBoundary
from api_smoothing.certify.error_bounds import null_error, null_weight, open_crossing, short_horizon
from api_smoothing.certify.mixture import tuned_mixture

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior

_HORIZON = 4096  # answers computed exactly, more where a unanimous class already needs many
_LONGEST_HORIZON = 16384
_TRIES = 8
_MARGIN = 0.001
_NARROW = 0.01
_CLOSE = 0.99  # the calibration stops when it has used this share of α


@lru_cache(maxsize=512)
def open_boundary(
    p0: float, alpha: float, max_classes: int = 1, *, version: int = 2, prior: Prior | None = None
) -> OpenBoundary:
    """The boundary that certifies p > `p0` for any class, total error at most `alpha` over an unlimited run.

    0 < `p0` < 1; `max_classes` is the most classes one answer may vote for, or `error_bounds.CHOSEN` for one class
    fixed beforehand. The threshold never needs to exceed M/(α·p0) (Ville with the lemma), and is searched
    below it. `version` and `prior` name the mixture (see `tuned_mixture`), which must not depend on the votes.
    """
    mixture = tuned_mixture(p0, alpha, version=version, prior=prior)
    shortest = math.log(1.0 / alpha) / -math.log(p0)
    horizon = int(min(_LONGEST_HORIZON, max(_HORIZON, 8.0 * shortest)))

    @cache
    def at_p0(log_threshold: float) -> float:
        return open_crossing(OpenBoundary(mixture, log_threshold), horizon, p0)

    def steer(log_threshold: float) -> float:
        return weight * at_p0(log_threshold)

    def prove(boundary: OpenBoundary) -> float:
        def crossing(p: float) -> float:
            if p == p0:
                return at_p0(boundary.log_threshold)
            return open_crossing(boundary, short_horizon(horizon, p, p0), p)

        return null_error(crossing, p0, max_classes)

    weight = null_weight(p0, max_classes)
    ceiling = math.log(max(weight, max(1, max_classes) / p0) / alpha)
    found = calibrate(steer, alpha, ceiling, narrow=0.0 if version == 1 else _NARROW)
    while found < ceiling:  # steering left out the classes below p0, the proof does not
        boundary = OpenBoundary(mixture, found)
        error = prove(boundary)
        if error <= alpha:
            return boundary
        found += math.log(error / alpha) + _MARGIN
    return OpenBoundary(mixture, ceiling)


def calibrate(
    error: Callable[[float], float],
    budget: float,
    ceiling: float,
    *,
    close: float = _CLOSE,
    narrow: float = 0.0,
) -> float:
    """The smallest log threshold found with `error` ≤ `budget`; `ceiling` is one known to satisfy it.

    An e-value at least 1/a happens with probability about a, so log error falls with slope 1 in the threshold
    and a few secant steps arrive. Counts are whole, so the error moves in jumps and may stay a little under
    the budget: the search ends as well where it is known to within `narrow`.
    """
    best, failed = ceiling, -math.inf
    trial = ceiling
    for _ in range(_TRIES):
        made = error(trial)
        if made <= budget:
            best = min(best, trial)
            if made >= close * budget:
                break
        else:
            failed = max(failed, trial)
        if best - failed < narrow:
            break
        trial += math.log(max(made, 1e-300) / budget) + _MARGIN
        if not failed < trial < best:
            trial = (max(failed, best - 1.0) + best) / 2.0
    return best
