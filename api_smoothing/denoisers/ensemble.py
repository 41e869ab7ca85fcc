"""The geometric self-ensemble: what a denoiser makes of an image's mirror images and turns, averaged.

Noise is as likely turned or mirrored, and so, nearly, are photographs: the errors a network makes of the views differ,
and their mean is closer (Timofte, Rothe and Van Gool 2016; Lim et al. 2017). It costs the views' time on
your machine and not one query more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.reverse import sampler_card
from api_smoothing.errors import ConfigurationError

#: The symmetries of the square and their inverses, those first that leave a photograph most likely.
_VIEWS: tuple[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], ...] = (
    (lambda x: x, lambda x: x),
    (lambda x: x.flip(3), lambda x: x.flip(3)),
    (lambda x: x.flip(2), lambda x: x.flip(2)),
    (lambda x: x.flip(2, 3), lambda x: x.flip(2, 3)),
    (lambda x: x.transpose(2, 3), lambda x: x.transpose(2, 3)),
    (lambda x: x.rot90(1, (2, 3)), lambda x: x.rot90(-1, (2, 3))),
    (lambda x: x.rot90(-1, (2, 3)), lambda x: x.rot90(1, (2, 3))),
    (lambda x: x.flip(2, 3).transpose(2, 3), lambda x: x.flip(2, 3).transpose(2, 3)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """The mean of `denoiser`'s estimates of the first `views` of: as it is, mirrored, upside down, both; turned."""

    paths_per_query: ClassVar[int] = 1
    denoiser: Denoiser
    views: int = 4

    def __post_init__(self) -> None:
        """Check the number of views."""
        v = self.views
        if isinstance(v, bool) or not isinstance(v, int) or not 1 <= v <= len(_VIEWS):
            raise ConfigurationError(f"views must be a whole number from 1 to {len(_VIEWS)}, not {v!r}")

    @property
    def card(self) -> DenoiserCard:
        """The facts about the whole."""
        return sampler_card(self.denoiser.card, f"ensemble{self.views}", {"views": self.views})

    @property
    def compute(self) -> str:
        """The denoiser's arithmetic."""
        return self.denoiser.compute

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device; x and σ, and what they may be, as of the denoiser."""
        total = torch.zeros_like(x)
        for there, back in _VIEWS[: self.views]:
            total += back(self.denoiser(there(x).contiguous(), sigma))
        return total / self.views
