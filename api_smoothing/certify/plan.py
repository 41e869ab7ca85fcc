"""What a certificate will take, before the first query: radius, fewest and expected answers, power."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.anytime import unanimous_lower
from api_smoothing.certify.boundary import Boundary
from api_smoothing.certify.crossing import Counts, Floats, passage, passages
from api_smoothing.certify.fallback import RESERVE
from api_smoothing.certify.fixed import no_split_lower
from api_smoothing.certify.futility import futility_boundary, hopeless_share, rough_futility, spare
from api_smoothing.certify.mixture import divergence, tuned_mixture
from api_smoothing.certify.radius import Noise, radius, runner_up_radius, threshold
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spec import RULES
from api_smoothing.certify.spending import rough_boundary, spending_boundary

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior

_SOON = (
    2048  # answers by which nearly every run has stopped: boundaries cost more to compute than runs to follow
)

Method = Literal["auto", "sequential", "open", "fixed", "clopper-pearson", "runner-up"]

#: How much lower than ln(1/α) the calibrated threshold of the open rule may be; at most 0.112 was found, for α from
#: 10⁻⁵ to 0.05 and p0 from 0.52 to 0.995.
_OVERSHOOT = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """For one assumed p: `calls` is E[answers], `power` is P(target certified), both within the horizon."""

    p: float
    calls: float
    power: float


def max_radius(
    *,
    n: int,
    alpha: float,
    sigma: float,
    method: Method = "auto",
    noise: Noise = "gaussian",
    slack: float = 0.0,
    max_classes: int = 1,
) -> float:
    """The radius that `n` unanimous votes certify; 0 if none.

    With "clopper-pearson" and "runner-up" n0 others have chosen the class. "open" is the largest target without a cap
    that n answers can decide, and may be a hair too large: its boundary is not calibrated for that.
    """
    if method == "runner-up":
        p_a, p_b = clopper_pearson.runner_up(n, 0, n, alpha)
        return runner_up_radius(p_a, p_b, sigma=sigma, slack=slack)
    if method == "clopper-pearson":
        p_lower = float(clopper_pearson.lower(n, n, alpha))
    elif method == "open" and max_classes == 1:
        p_lower = _open_lower(n, alpha)
    elif method in ("sequential", "open") or max_classes > 1:
        p_lower = unanimous_lower(n, alpha, max_classes)
    else:
        p_lower = no_split_lower(n, n, alpha)
    return radius(p_lower, sigma=sigma, noise=noise, slack=slack)


def _open_lower(n: int, alpha: float) -> float:
    """About the largest p0 that `n` unanimous votes prove under the open rule, no smaller; ½ if none."""
    log_threshold = math.log(1.0 / alpha) - _OVERSHOOT
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        proved = float(tuned_mixture(middle, alpha).log_e(n, n)) >= log_threshold
        low, high = (middle, high) if proved else (low, middle)
    return low


def target_boundary(
    p0: float,
    *,
    alpha: float,
    cap: int | None = None,
    max_classes: int = 1,
    version: int | None = None,
    prior: Prior | None = None,
) -> Boundary:
    """The boundary a target run uses: exact α-spending with a cap, the e-process without.

    `version` is that of the rule (None: the newest), `prior` what was learned from other images.
    """
    level = alpha * (1.0 - RESERVE)
    if cap is None:
        return open_boundary(p0, level, max_classes, version=version or RULES["open"], prior=prior)
    return spending_boundary(p0, cap, level, max_classes, version=version or RULES["capped"], prior=prior)


def min_queries(
    target: float, *, alpha: float, sigma: float, noise: Noise = "gaussian", slack: float = 0.0
) -> int:
    """The fewest answers with which any method could certify `target`: p0^n ≤ α, all of them agreeing.

    Raises UnreachableRadiusError where no number is enough.
    """
    p0 = threshold(target, sigma=sigma, noise=noise, slack=slack)
    return math.ceil(math.log(alpha) / math.log(p0) * (1.0 - 1e-12))


def information_limit(p: float, p0: float, alpha: float, give_up: float = 0.01) -> float:
    """The mean number of answers that no test of p0 can beat: ln(1/α)/KL(p‖p0), or ln(1/give_up)/KL below p0.

    For tests with error `alpha` (below p0: `give_up`) that always stop. Source: Wald 1947; Farrell 1964.
    """
    gap = float(divergence(p, p0))
    return math.log(1.0 / (alpha if p > p0 else give_up)) / gap if gap > 0.0 else math.inf


def expected_queries(
    p: float,
    p0: float,
    *,
    alpha: float,
    cap: int | None = None,
    max_classes: int = 1,
    horizon: int = 20_000,
    version: int | None = None,
    prior: Prior | None = None,
) -> Expectation:
    """Exact mean number of answers and power of a target run if the most probable class has probability `p`.

    The run gives up as a real one does. `cap` selects exact α-spending; without it runs are followed to
    `horizon`, where those still going are counted as stopped.
    """
    upper = target_boundary(p0, alpha=alpha, cap=cap, max_classes=max_classes, version=version, prior=prior)
    last = horizon if cap is None else cap
    known = min(_SOON, last)
    while True:
        ran = passage(upper.counts(known), p, _gives_up(upper, p0, known))
        if known == last or ran.alive.size == 0:
            return Expectation(p=p, calls=ran.calls, power=ran.upper)
        known = min(2 * known, last)


def expected_of_many(
    shares: Floats, p0: float, *, alpha: float, cap: int, version: int | None = None
) -> tuple[Floats, Floats]:
    """Mean answers and power of a target run within `cap`, for each of the `shares`; see `expected_queries`."""
    upper = target_boundary(p0, alpha=alpha, cap=cap, version=version)
    return passages(upper.counts(cap), shares, _gives_up(upper, p0, cap))


def roughly_of_many(shares: Floats, p0: float, *, alpha: float, cap: int) -> tuple[Floats, Floats]:
    """`expected_of_many` to within 3 %, in a fifth of the time: no boundary is calibrated that takes long to."""
    upper = rough_boundary(p0, cap, alpha * (1.0 - RESERVE))
    return passages(upper.counts(cap), shares, _gives_up(upper, p0, cap, rough_futility))


def _gives_up(
    upper: Boundary, p0: float, horizon: int, futility: Callable[[float], Boundary] = futility_boundary
) -> Counts:
    """The largest counts for n = 1 … `horizon` at which a run is given up, as a real one is."""
    n = np.arange(1, horizon + 1)
    floors: Counts = n - futility(hopeless_share(upper, p0)).counts(horizon)
    allowed = spare(upper, upper.cap)
    return floors if allowed is None else np.maximum(floors, n - allowed - 1)
