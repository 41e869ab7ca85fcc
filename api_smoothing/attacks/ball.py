"""The images an attack may use: on the 8-bit grid and within a ball, which whole numbers decide, without rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from api_smoothing.errors import ConfigurationError

Norm: TypeAlias = Literal["l2", "linf"]
Pixels: TypeAlias = NDArray[np.uint8]

_HALVINGS: Final = 40  # of the factor that brings an image into an ℓ2 ball
_NEAR: Final = 0.95  # of the radius, from which on an image is brought to the edge
_SHORT: Final = 1e-3  # of an 8-bit level: what float32 may fall short of a whole one


def has_8_bits(x: Tensor) -> bool:
    """Whether all of `x`, in [0,1] units, are multiples of 1/255."""
    levels = x * 255
    return bool(((levels - levels.round()).abs() <= _SHORT).all())  # of NaN and ∞ it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """The 8-bit images within `radius` ([0,1] units) of a clean one.

    ℓ2: Σδ² ≤ (255·radius)² for the whole δ, exactly. ℓ∞: |δ| ≤ 255·radius, of which 1e-12 more is allowed, so that
    8/255 in floating point is 8 steps.
    """

    norm: Norm
    radius: float

    def __post_init__(self) -> None:
        """Check the settings."""
        _check_norm(self.norm)
        if not (math.isfinite(self.radius) and self.radius >= 0):
            raise ConfigurationError(
                f"the radius of an attack is from 0 on, in [0,1] units, not {self.radius!r}"
            )
        if self.norm == "linf" and self.radius > 1:
            raise ConfigurationError(
                f"the radius of an ℓ∞ attack is at most 1, in [0,1] units, not {self.radius:g}: give levels of 255 as "
                "8/255"
            )

    @property
    def limit(self) -> int:
        """The most that `measure` may be: steps of 1/255 for ℓ∞, their sum of squares for ℓ2."""
        levels = Fraction(self.radius) * 255
        if self.norm == "linf":
            return math.floor(levels * (1 + Fraction(1, 10**12)))
        return math.floor(levels**2)

    def holds(self, clean: NDArray[Any], attacked: NDArray[Any]) -> bool:
        """Whether `attacked` lies in the ball about `clean`, both uint8 of one shape."""
        return measure(clean, attacked, self.norm) <= self.limit

    def check(self, clean: NDArray[Any], attacked: NDArray[Any]) -> None:
        """Raise AssertionError for an image outside: an attack that left its ball would prove nothing."""
        if not self.holds(clean, attacked):
            far = distance(clean, attacked, self.norm)
            raise AssertionError(
                f"an attack left its {self.norm} ball: {far:.6g} is more than {self.radius:.6g}"
            )

    def on_grid(self, clean: Tensor, x: Tensor) -> Tensor:
        """8-bit images of the ball in the directions of `x` − `clean`, in [0,1]; (N, …), `clean` on the grid.

        ℓ2: of all factors s the largest at most 1 (what lies near the edge is brought to it) for which round(s·δ) is in
        the ball. Of the whole δ in the ball that is the one with the largest g·δ, for a gradient g along x − clean: a
        further step of value i, from k − 1 to k, gains g_i and takes 2k − 1 of Σδ², and those that gain most for what
        they take are the ones that rounding takes.
        """
        base = clean.double().mul(255).round()
        step = x.double() * 255 - base
        if self.norm == "linf":
            moved = (base + step.round().clamp(-self.limit, self.limit)).clamp(0, 255)
            return moved.div(255).to(clean.dtype)
        many = (-1, *(1,) * (clean.ndim - 1))
        reach = step.flatten(1).norm(dim=1)
        low = torch.zeros_like(reach)
        high = torch.where(reach >= _NEAR * 255 * self.radius, 2.0, 1.0).to(reach.dtype)

        def moved_by(scale: Tensor) -> Tensor:
            return (base + (scale.view(many) * step).round()).clamp(0, 255)

        def fits(scale: Tensor) -> Tensor:
            return (moved_by(scale) - base).flatten(1).square().sum(1) <= self.limit

        low = torch.where(fits(high), high, low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = fits(middle)
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        return moved_by(low).div(255).to(clean.dtype)


def _check_norm(norm: str) -> None:
    if norm not in ("l2", "linf"):
        raise ConfigurationError(f"the norm of an attack is l2 or linf, not {norm!r}")


def measure(clean: NDArray[Any], attacked: NDArray[Any], norm: Norm) -> int:
    """The largest |δ| for ℓ∞, Σδ² for ℓ2, of uint8 images of one shape: in whole steps of 1/255."""
    _check_norm(norm)
    if clean.dtype != np.uint8 or attacked.dtype != np.uint8 or clean.shape != attacked.shape:
        raise ConfigurationError(
            f"attacks are measured between uint8 images of one shape, not {clean.dtype} {clean.shape} and "
            f"{attacked.dtype} {attacked.shape}"
        )
    apart = attacked.astype(np.int64) - clean.astype(np.int64)
    return int(np.abs(apart).max(initial=0)) if norm == "linf" else int((apart * apart).sum())


def distance(clean: NDArray[Any], attacked: NDArray[Any], norm: Norm) -> float:
    """How far the images are apart, in [0,1] units."""
    found = measure(clean, attacked, norm)
    return found / 255 if norm == "linf" else math.sqrt(found) / 255
