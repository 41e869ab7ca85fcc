"""Denoisers that have a card and no more, as plug-ins had them once: the members they lack are put around them.

A lacking `paths_per_query` is 1. A lacking `compute` is what the denoiser was asked to compute in, where it was asked,
and `UNKNOWN` where it was handed over ready-made: nothing then tells one in float32 from one in bfloat16, so answers
behind it are kept in memory, not on disk. Sides that such a denoiser may not have expected are padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from api_smoothing.denoisers.base import Denoiser, DenoiserCard, ManyPaths, Stepped
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

#: The arithmetic of a denoiser that does not tell it.
UNKNOWN: Final = "unknown"


def adopt(found: Any, *, compute: str = UNKNOWN) -> Denoiser:
    """`found` itself where it has all that a denoiser has, otherwise a whole one around it, of arithmetic `compute`.

    Raises ConfigurationError for what has no card or cannot be called, and for members of the wrong kind.
    """
    name = type(found).__name__
    if not (callable(found) and isinstance(getattr(found, "card", None), DenoiserCard)):
        raise ConfigurationError(
            f"{name} is no denoiser: it needs a `card` (a DenoiserCard) and to be called as d(x, sigma); "
            "denoisers.wrap makes one of any network or function"
        )
    said, paths = getattr(found, "compute", None), getattr(found, "paths_per_query", None)
    if not isinstance(said, str | None):
        raise ConfigurationError(f"`compute` of {name} must be text such as 'fp32', not {said!r}")
    if paths is not None and (isinstance(paths, bool) or not isinstance(paths, int) or paths < 1):
        raise ConfigurationError(
            f"`paths_per_query` of {name} must be a whole number from 1 on, not {paths!r}"
        )
    if paths is not None and paths > 1 and not callable(getattr(found, "path", None)):
        raise ConfigurationError(
            f"{name} has {paths} paths a query but no path(x, sigma, number); add it, or have 1"
        )
    if said is not None and paths is not None:
        return cast(Denoiser, found)
    return Adopted(
        denoiser=found,
        compute=compute if said is None else said,
        paths_per_query=1 if paths is None else paths,
    )


def asked(compute: str, device: str) -> str:
    """The arithmetic of a denoiser that was asked to compute in `compute` on `device` and does not tell it.

    float32 on the CPU is left unnamed, as in the names that such a denoiser's answers on disk have always had.
    """
    from api_smoothing.precision import arithmetic

    named = arithmetic(compute, device)
    return "" if named == "fp32" else named


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """`denoiser`, which has a card and is called as D(x, σ), with the members it lacks."""

    denoiser: Any
    compute: str
    paths_per_query: int

    @property
    def card(self) -> DenoiserCard:
        """The denoiser's."""
        return cast(DenoiserCard, self.denoiser.card)

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W), as the denoiser gives it; H and W any where its card has no `sizes`."""
        from api_smoothing.denoisers.padding import padded

        return padded(self.card, lambda whole: cast("Tensor", self.denoiser(whole, sigma)), x)

    def path(self, x: Tensor, sigma: float | Tensor, number: int, /) -> Tensor:
        """The denoiser's path `number`, or its only one."""
        from api_smoothing.denoisers.padding import padded

        if self.paths_per_query == 1:
            return self(x, sigma)
        many = cast(ManyPaths, self.denoiser)
        return padded(self.card, lambda whole: many.path(whole, sigma, number), x)

    def snap(self, sigma: Tensor, /) -> Tensor:
        """The denoiser's levels of noise; any where it is not `Stepped`."""
        return self.denoiser.snap(sigma) if isinstance(self.denoiser, Stepped) else sigma
