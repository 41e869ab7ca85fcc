"""From settings to a certifier: which rule, with which boundary, and whether the target is within reach."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

from api_smoothing.certify.anytime import AnytimeCertifier, ConfidenceSequence, majority_provable
from api_smoothing.certify.base import Certifier
from api_smoothing.certify.boundary import CappedBoundary, OpenBoundary
from api_smoothing.certify.cohen import ClopperPearsonCertifier
from api_smoothing.certify.error_bounds import capped_crossing, open_crossing
from api_smoothing.certify.fallback import Fallback, Level, fallback_levels
from api_smoothing.certify.fixed import FixedCertifier
from api_smoothing.certify.futility import futility_boundary, hopeless_share
from api_smoothing.certify.plan import Method as PlanMethod
from api_smoothing.certify.plan import max_radius, min_queries, target_boundary
from api_smoothing.certify.radii import RadiiCertifier
from api_smoothing.certify.radius import check, threshold
from api_smoothing.certify.spec import CHOOSING_APART, RULES, Spec
from api_smoothing.certify.target import TargetCertifier
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

_METHODS = ("auto", "sequential", "fixed", "clopper-pearson", "runner-up")
_CROSSING_HORIZON = 2048


def choose(spec: Spec) -> Certifier:
    """See `api_smoothing.certify.certifier`."""
    _check(spec)
    check(sigma=spec.sigma, noise=spec.noise, slack=spec.slack)
    if spec.radii:
        return _to_radii(spec)
    if spec.later:
        return _again(spec)
    if spec.sequential:
        return _to_target(spec)
    n, cap = spec.n, spec.cap
    if spec.method == "sequential" or n is None or (spec.method == "auto" and spec.max_classes > 1):
        limit = min(v for v in (n, cap) if v is not None)
        if not majority_provable(limit, spec.alpha, spec.max_classes):
            raise _hopeless(limit, spec.alpha)
        return AnytimeCertifier(
            limit=limit,
            limit_name="n" if limit == n else "budget",
            alpha=spec.alpha,
            sigma=spec.sigma,
            noise=spec.noise,
            slack=spec.slack,
            max_classes=spec.max_classes,
        )
    asked = spec.fixed
    if cap is not None and asked is not None and cap < asked:
        raise ConfigurationError(
            f"the budget allows {cap} answers, the rule needs {asked}: choose a smaller n"
        )
    if spec.max_classes > 1:
        raise ConfigurationError(f'method "{spec.method}" takes one class an answer: use "sequential"')
    made = _of_fixed_n(spec, n)
    if spec.radius is not None and made.decision.enough > n:
        raise _unreachable(spec, n)
    if made.decision.floor > n:
        raise _hopeless(n, spec.alpha)
    return made


def _again(spec: Spec) -> AnytimeCertifier:
    """A later question. What its n cannot reach is abstained from, not refused: other images may be asked first."""
    limit = min((v for v in (spec.most, spec.cap) if v is not None), default=None)
    return AnytimeCertifier(
        limit=limit,
        limit_name="n" if limit == spec.most else "budget",
        alpha=spec.alpha,
        sigma=spec.sigma,
        noise=spec.noise,
        slack=spec.slack,
        max_classes=spec.max_classes,
        target=spec.radius,
    )


def _to_radii(spec: Spec) -> RadiiCertifier:
    """Several radii, as a first question or a later one: the confidence sequence answers both."""
    limit = min((v for v in (spec.n, spec.cap) if v is not None), default=None)
    largest = replace(spec, radius=max(spec.radii), radii=())
    least = ConfidenceSequence(spec.alpha).reach(_threshold(largest), 0, 0)
    if not spec.later and (least is None or (limit is not None and least > limit)):
        raise UnreachableRadiusError(
            f"radius {largest.radius:g} cannot be certified together with others with {limit} answers at "
            f"σ={spec.sigma:g}, α={spec.alpha:g}: ask for less, or for at least {least} answers"
        )
    return RadiiCertifier(
        spec.radii,
        limit=limit,
        limit_name="n" if limit == spec.n else "budget",
        alpha=spec.alpha,
        sigma=spec.sigma,
        noise=spec.noise,
        slack=spec.slack,
    )


def _of_fixed_n(spec: Spec, n: int) -> FixedCertifier | ClopperPearsonCertifier:
    p0 = None if spec.radius is None else _threshold(spec)
    if spec.method in ("auto", "fixed"):
        return FixedCertifier(
            n=n,
            alpha=spec.alpha,
            sigma=spec.sigma,
            target=spec.radius,
            p0=p0,
            noise=spec.noise,
            slack=spec.slack,
        )
    return ClopperPearsonCertifier(
        n=n,
        n0=spec.n0,
        alpha=spec.alpha,
        sigma=spec.sigma,
        target=spec.radius,
        p0=p0,
        noise=spec.noise,
        slack=spec.slack,
        runner_up=spec.method == "runner-up",
    )


def _threshold(spec: Spec) -> float:
    assert spec.radius is not None
    return threshold(spec.radius, sigma=spec.sigma, noise=spec.noise, slack=spec.slack)


def _to_target(spec: Spec) -> TargetCertifier:
    assert spec.radius is not None
    n = spec.n
    p0 = _threshold(spec)
    upper = target_boundary(
        p0, alpha=spec.alpha, cap=n, max_classes=spec.max_classes, version=spec.version, prior=spec.prior
    )
    limit = min((v for v in (n, spec.cap) if v is not None), default=None)
    least = upper.reach(0, 0)
    if least is None or (limit is not None and least > limit):
        raise _unreachable(spec, limit)
    levels = partial(_levels, replace(spec, cap=None))
    hopeless = hopeless_share(upper, p0)
    return TargetCertifier(
        target=spec.radius,
        p0=p0,
        alpha=spec.alpha,
        upper=upper,
        hopeless=hopeless,
        lower=futility_boundary(hopeless),
        limit=limit,
        limit_name="n" if limit == n else "budget",
        fallback=Fallback(levels) if spec.max_classes == 1 else None,
        method="sequential",
    )


@lru_cache(maxsize=128)
def _levels(spec: Spec) -> tuple[Level, ...]:
    assert spec.radius is not None
    null = partial(threshold, sigma=spec.sigma, noise=spec.noise, slack=spec.slack)
    p0 = null(spec.radius)
    upper = target_boundary(p0, alpha=spec.alpha, cap=spec.n, version=spec.version, prior=spec.prior)

    def crossing(p: float) -> float:
        if isinstance(upper, OpenBoundary):
            return open_crossing(upper, _CROSSING_HORIZON, p)
        assert isinstance(upper, CappedBoundary)
        return capped_crossing(upper, p0, spec.alpha, p)

    return fallback_levels(spec.radius, spec.alpha, null, crossing, version=spec.version or RULES["open"])


def _unreachable(spec: Spec, limit: int | None) -> UnreachableRadiusError:
    if limit is None:
        return UnreachableRadiusError(
            f"radius {spec.radius:g} is out of reach at σ={spec.sigma:g}: ask for a smaller one"
        )
    assert spec.radius is not None
    settings = {"alpha": spec.alpha, "sigma": spec.sigma, "noise": spec.noise, "slack": spec.slack}
    rule: PlanMethod = "fixed"
    if spec.sequential and spec.n is None:
        rule = "sequential"  # a little less than the open rule reaches, and certainly within its reach
    elif spec.method in CHOOSING_APART:
        rule = "clopper-pearson"
    best = max_radius(n=limit, method=rule, **settings)  # type: ignore[arg-type]
    least = min_queries(spec.radius, **settings)  # type: ignore[arg-type]
    return UnreachableRadiusError(
        f"radius {spec.radius:g} cannot be certified with {limit} answers at σ={spec.sigma:g}, "
        f"α={spec.alpha:g}: if all agree they reach {best:.4g}; ask for less, or for at least "
        f"{max(least, limit + 1)} answers"
    )


def _hopeless(n: int, alpha: float) -> UnreachableRadiusError:
    return UnreachableRadiusError(
        f"n={n} answers certify nothing at α={alpha:g}, even if all agree: ask for more"
    )


def _check(spec: Spec) -> None:
    if spec.method not in _METHODS:
        raise ConfigurationError(f"unknown method {spec.method!r}: use one of {', '.join(_METHODS)}")
    if spec.version is not None:
        spec.under(spec.rule, spec.prior)
    if spec.prior is not None and spec.version == 1:
        raise ConfigurationError("a prior needs version 2 of the rule or a later one")
    if not 0.0 < spec.alpha <= 0.1:
        raise ConfigurationError(f"alpha must lie in (0, 0.1], not {spec.alpha!r}")
    if spec.radii and (spec.radius is not None or spec.max_classes > 1):
        raise ConfigurationError("several radii are asked about in place of one, and of one class an answer")
    if spec.radii and spec.method not in ("auto", "sequential"):
        raise ConfigurationError(
            f'method "{spec.method}" has one radius for its n: several are read from that'
        )
    if spec.radii and not min(spec.radii) >= 0.0:
        raise ConfigurationError(f"radii must not be negative, not {min(spec.radii)!r}")
    if spec.radius is not None and not spec.radius > 0.0:
        raise ConfigurationError(f"radius must be greater than 0, not {spec.radius!r}")
    if spec.max_classes < 1:
        raise ConfigurationError(f"max_classes must be at least 1, not {spec.max_classes}")
    for name, value in (("n", spec.n), ("cap", spec.cap)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")
    if spec.n is None and spec.method not in ("auto", "sequential"):
        raise ConfigurationError(f'method "{spec.method}" needs n, fixed before the first answer')
    if spec.n is None and spec.radius is None and not spec.radii and spec.cap is None:
        raise ConfigurationError("give a radius to stop at, or n, the number of answers to spend")
