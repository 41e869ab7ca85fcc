"""From a bound on a probability to a radius, and back.

`sigma` is the standard deviation of the noise in [0,1] pixel units for every kind of noise: uniform noise on
[−λ, λ] has λ = √3·σ, Laplace noise of scale b has b = σ/√2. `slack` is a total-variation distance between the
noise that was drawn and the noise of the theorem; it is taken off every lower bound and added to every upper
one.

Sources: Cohen, Rosenfeld and Kolter 2019, Thm 1 (Gaussian, ℓ2); Yang et al. 2020, Table 1 (uniform and
Laplace, ℓ1).
"""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import ndtr, ndtri

from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

Noise = Literal["gaussian", "uniform", "laplace"]
Norm = Literal["l2", "l1"]

NORM: dict[Noise, Norm] = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}

_DOWN = 1.0 - 1e-12  # rounding of ndtri and log, as in clopper_pearson
_UP = 1.0 + 1e-14  # rounding of ndtr and exp


def radius(p_lower: float, *, sigma: float, noise: Noise = "gaussian", slack: float = 0.0) -> float:
    """The radius within which a class of probability at least `p_lower` keeps its majority; 0 if ≤ ½."""
    p = p_lower - slack
    if not p > 0.5:
        return 0.0
    if noise == "gaussian":
        return max(0.0, sigma * float(ndtri(p)) * _DOWN)
    if noise == "uniform":
        return max(0.0, 2.0 * math.sqrt(3.0) * sigma * (p - 0.5) * _DOWN)
    return max(0.0, -sigma / math.sqrt(2.0) * math.log(2.0 * (1.0 - p)) * _DOWN)


def threshold(target: float, *, sigma: float, noise: Noise = "gaussian", slack: float = 0.0) -> float:
    """p0(r): the probability that must be exceeded for the radius `target` ≥ 0 to be certified.

    Raises UnreachableRadiusError when no probability below 1 is enough.
    """
    check(sigma=sigma, noise=noise, slack=slack)
    if not (target >= 0.0 and math.isfinite(target)):
        raise ConfigurationError(f"radius must be a finite number ≥ 0, not {target!r}")
    if noise == "gaussian":
        p = float(ndtr(target / sigma))
    elif noise == "uniform":
        p = 0.5 + target / (2.0 * math.sqrt(3.0) * sigma)
    else:
        p = 1.0 - 0.5 * math.exp(-target * math.sqrt(2.0) / sigma)
    p0 = p * _UP + slack
    if not p0 < 1.0 - 1e-9:
        raise UnreachableRadiusError(
            f"radius {target:g} cannot be certified at σ={sigma:g} with {noise} noise, whatever the answers: "
            f"ask for a smaller radius or use a larger σ"
        )
    return p0


def runner_up_radius(p_a: float, p_b: float, *, sigma: float, slack: float = 0.0) -> float:
    """Gaussian ℓ2 radius from a lower bound `p_a` on the class and an upper bound `p_b` on every other one.

    R = σ/2·(Φ⁻¹(p_a) − Φ⁻¹(p_b)), 0 if not positive. Source: Cohen et al. 2019, Thm 1, equation (3).
    """
    a, b = p_a - slack, p_b + slack
    if not a > b:
        return 0.0
    return max(0.0, sigma / 2.0 * float(ndtri(a) - ndtri(b)) * _DOWN)


def top_k_threshold(target: float, k: int, *, sigma: float, slack: float = 0.0) -> float:
    """The probability that keeps a class among the `k` most probable within ℓ2 radius `target`.

    Gaussian noise. Votes are single classes, so the probabilities sum to at most 1: a class above 1/(k+1) is
    outnumbered by at most k−1 others. Within radius r a probability p falls at most to Φ(Φ⁻¹(p) − r/σ), hence
    p0 = Φ(r/σ + Φ⁻¹(1/(k+1))); k = 1 is `threshold`. It uses no bound on the other classes; Jia et al. 2020,
    Thm 1, uses them and may certify more.
    """
    check(sigma=sigma, noise="gaussian", slack=slack)
    if k < 1:
        raise ConfigurationError(f"k must be at least 1, not {k}")
    p0 = float(ndtr(target / sigma + float(ndtri(1.0 / (k + 1))))) * _UP + slack
    if not p0 < 1.0 - 1e-9:
        raise UnreachableRadiusError(
            f"radius {target:g} cannot be certified at σ={sigma:g}: ask for a smaller one"
        )
    return p0


def linf_from_l2(radius_l2: float, dimension: int) -> float:
    """The ℓ∞ ball inside an ℓ2 ball in `dimension` coordinates: R/√d (derived, not certified on its own)."""
    if dimension < 1:
        raise ConfigurationError(f"dimension must be at least 1, not {dimension}")
    return radius_l2 / math.sqrt(dimension) * _DOWN


def check(*, sigma: float, noise: str, slack: float) -> None:
    """Raise ConfigurationError unless the noise is known, σ > 0 and 0 ≤ slack < ½."""
    if noise not in NORM:
        raise ConfigurationError(f"unknown noise {noise!r}: use one of {', '.join(NORM)}")
    if not (sigma > 0.0 and math.isfinite(sigma)):
        raise ConfigurationError(f"sigma must be a finite number > 0, not {sigma!r}")
    if not 0.0 <= slack < 0.5:
        raise ConfigurationError(f"slack must lie in [0, 0.5), not {slack!r}")
