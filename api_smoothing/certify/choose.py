"""From settings to a certifier: which rule, with which boundary, and whether the target is within reach."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Literal

from api_smoothing.certify.anytime import AnytimeCertifier, majority_provable
from api_smoothing.certify.base import Certifier
from api_smoothing.certify.boundary import CappedBoundary, OpenBoundary
from api_smoothing.certify.cohen import ClopperPearsonCertifier
from api_smoothing.certify.error_bounds import capped_crossing, open_crossing
from api_smoothing.certify.fallback import Fallback, Level, fallback_levels
from api_smoothing.certify.fixed import FixedCertifier
from api_smoothing.certify.futility import futility_boundary, hopeless_share
from api_smoothing.certify.plan import Method as PlanMethod
from api_smoothing.certify.plan import max_radius, min_queries, target_boundary
from api_smoothing.certify.radius import Noise, check, threshold
from api_smoothing.certify.target import TargetCertifier
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

Method = Literal["auto", "sequential", "fixed", "clopper-pearson", "runner-up"]

_METHODS = ("auto", "sequential", "fixed", "clopper-pearson", "runner-up")
_CROSSING_HORIZON = 2048


def choose(
    *,
    method: Method,
    target: float | None,
    n: int | None,
    n0: int,
    alpha: float,
    sigma: float,
    noise: Noise,
    slack: float,
    max_classes: int,
    cap: int | None,
) -> Certifier:
    """See `api_smoothing.certify.certifier`."""
    _check(method, target, n, alpha, max_classes, cap)
    check(sigma=sigma, noise=noise, slack=slack)
    if method in ("auto", "sequential") and target is not None:
        return _to_target(target, n, alpha, sigma, noise, slack, max_classes, cap)
    if method == "sequential" or n is None or (method == "auto" and max_classes > 1):
        limit = min(v for v in (n, cap) if v is not None)
        if not majority_provable(limit, alpha, max_classes):
            raise _hopeless(limit, alpha)
        return AnytimeCertifier(
            limit=limit,
            limit_name="n" if limit == n else "budget",
            alpha=alpha,
            sigma=sigma,
            noise=noise,
            slack=slack,
            max_classes=max_classes,
        )
    asked = n + n0 if method in ("clopper-pearson", "runner-up") else n
    if cap is not None and cap < asked:
        raise ConfigurationError(
            f"the budget allows {cap} answers, the rule needs {asked}: choose a smaller n"
        )
    if max_classes > 1:
        raise ConfigurationError(f'method "{method}" takes one class an answer: use "sequential"')
    p0 = None if target is None else threshold(target, sigma=sigma, noise=noise, slack=slack)
    made: FixedCertifier | ClopperPearsonCertifier
    if method in ("auto", "fixed"):
        made = FixedCertifier(n=n, alpha=alpha, sigma=sigma, target=target, p0=p0, noise=noise, slack=slack)
    else:
        made = ClopperPearsonCertifier(
            n=n,
            n0=n0,
            alpha=alpha,
            sigma=sigma,
            target=target,
            p0=p0,
            noise=noise,
            slack=slack,
            runner_up=method == "runner-up",
        )
    if target is not None and made.decision.enough > n:
        raise _unreachable(target, n, alpha, sigma, noise, slack, method)
    if made.decision.floor > n:
        raise _hopeless(n, alpha)
    return made


def _to_target(
    target: float,
    n: int | None,
    alpha: float,
    sigma: float,
    noise: Noise,
    slack: float,
    max_classes: int,
    cap: int | None,
) -> TargetCertifier:
    p0 = threshold(target, sigma=sigma, noise=noise, slack=slack)
    upper = target_boundary(p0, alpha=alpha, cap=n, max_classes=max_classes)
    limit = min((v for v in (n, cap) if v is not None), default=None)
    least = upper.reach(0, 0)
    if least is None or (limit is not None and least > limit):
        raise _unreachable(target, limit, alpha, sigma, noise, slack, "sequential" if n is None else "fixed")
    levels = _levels(target, n, alpha, sigma, noise, slack) if max_classes == 1 else ()
    hopeless = hopeless_share(upper, p0)
    return TargetCertifier(
        target=target,
        p0=p0,
        upper=upper,
        hopeless=hopeless,
        lower=futility_boundary(hopeless),
        limit=limit,
        limit_name="n" if limit == n else "budget",
        fallback=Fallback(levels) if levels else None,
        method="sequential",
    )


@lru_cache(maxsize=128)
def _levels(
    target: float, n: int | None, alpha: float, sigma: float, noise: Noise, slack: float
) -> tuple[Level, ...]:
    null = partial(threshold, sigma=sigma, noise=noise, slack=slack)
    p0 = null(target)
    upper = target_boundary(p0, alpha=alpha, cap=n)

    def crossing(p: float) -> float:
        if isinstance(upper, OpenBoundary):
            return open_crossing(upper, _CROSSING_HORIZON, p)
        assert isinstance(upper, CappedBoundary)
        return capped_crossing(upper, p0, alpha, p)

    return fallback_levels(target, alpha, null, crossing)


def _unreachable(
    target: float, limit: int | None, alpha: float, sigma: float, noise: Noise, slack: float, method: str
) -> UnreachableRadiusError:
    if limit is None:
        return UnreachableRadiusError(
            f"radius {target:g} is out of reach at σ={sigma:g}: ask for a smaller one"
        )
    rule: PlanMethod = "fixed"
    if method == "sequential":
        rule = "sequential"
    elif method in ("clopper-pearson", "runner-up"):
        rule = "clopper-pearson"
    best = max_radius(n=limit, method=rule, alpha=alpha, sigma=sigma, noise=noise, slack=slack)
    least = min_queries(target, alpha=alpha, sigma=sigma, noise=noise, slack=slack)
    return UnreachableRadiusError(
        f"radius {target:g} cannot be certified with {limit} answers at σ={sigma:g}, α={alpha:g}: "
        f"if all agree they reach {best:.4g}; ask for less, or for at least {max(least, limit + 1)} answers"
    )


def _hopeless(n: int, alpha: float) -> UnreachableRadiusError:
    return UnreachableRadiusError(
        f"n={n} answers certify nothing at α={alpha:g}, even if all agree: ask for more"
    )


def _check(
    method: str, target: float | None, n: int | None, alpha: float, max_classes: int, cap: int | None
) -> None:
    if method not in _METHODS:
        raise ConfigurationError(f"unknown method {method!r}: use one of {', '.join(_METHODS)}")
    if not 0.0 < alpha <= 0.1:
        raise ConfigurationError(f"alpha must lie in (0, 0.1], not {alpha!r}")
    if target is not None and not target > 0.0:
        raise ConfigurationError(f"radius must be greater than 0, not {target!r}")
    if max_classes < 1:
        raise ConfigurationError(f"max_classes must be at least 1, not {max_classes}")
    for name, value in (("n", n), ("cap", cap)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")
    if n is None and method not in ("auto", "sequential"):
        raise ConfigurationError(f'method "{method}" needs n, fixed before the first answer')
    if n is None and target is None and cap is None:
        raise ConfigurationError("give a radius to stop at, or n, the number of answers to spend")
