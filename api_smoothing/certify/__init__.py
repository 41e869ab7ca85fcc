"""The statistics of a certificate, pure: no I/O, no clock, numpy and scipy.special only (imported on use)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from api_smoothing.certify.base import FAILED, Bound, Certifier, Stopped
from api_smoothing.certify.spec import Method, Spec

if TYPE_CHECKING:
    from api_smoothing.certify.radius import Noise

__all__ = ["FAILED", "Bound", "Certifier", "Spec", "Stopped", "certifier", "certifier_of"]


def certifier(
    *,
    method: Method = "auto",
    target: float | None = None,
    radii: Sequence[float] = (),
    n: int | None = None,
    n0: int = 100,
    alpha: float = 0.001,
    sigma: float,
    noise: Noise = "gaussian",
    slack: float = 0.0,
    max_classes: int = 1,
    cap: int | None = None,
    later: bool = False,
) -> Certifier:
    """The certifier for these settings; it has seen no answer yet.

    `target` is the radius asked for, `n` the number of answers fixed beforehand, `cap` what the budget
    allows, which may be raised later. With a target, "auto" and "sequential" stop as soon as it is decided:
    exact α-spending within `n`, the e-process without `n`. With `n` alone "auto" is the no-split rule
    "fixed", "sequential" the best radius at any time. "clopper-pearson" and "runner-up" take `n0` votes to
    choose the class, then `n` others. `radii`, several in place of one target, are decided by the confidence sequence
    within `n` answers. `alpha` is the error of the certificate, `slack` the total-variation
    distance charged to every bound, `max_classes` the most classes one answer may vote for (above 1:
    sequential rules only). `later` says that these answers have been asked another question before: whatever
    `method` says, the confidence sequence answers then, stopping at `target`.

    Raises ConfigurationError for settings out of range, UnreachableRadiusError if no answers could reach
    `target`.
    """
    spec = Spec(
        method=method,
        radius=target,
        radii=tuple(radii),
        n=n,
        n0=n0,
        alpha=alpha,
        sigma=sigma,
        noise=noise,
        slack=slack,
        max_classes=max_classes,
        cap=cap,
        later=later,
    )
    return certifier_of(spec)


def certifier_of(spec: Spec) -> Certifier:
    """The certifier for a `spec`; see `certifier`, which spells its settings out."""
    from api_smoothing.certify.choose import choose

    return choose(spec)
