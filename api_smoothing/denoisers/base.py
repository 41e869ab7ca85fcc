"""What every denoiser looks like: a card and D(x, σ) → x̂0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserCard:
    """The facts about a denoiser.

    `sigma_range` is the closed range of noise levels it was trained for, in [0,1] pixel units. `sizes`
    lists the sides it was trained at; empty means any side that is a multiple of `multiple`. `classes` are the only
    things it knows, where it has a classifier inside: it takes whatever it sees for one of them. `sha256` is
    the digest of the weights file (or of the parameters of a wrapped module). `quality` maps σ to the
    measured figures (PSNR in dB, …). `training` names data, objective and surrogates.
    """

    id: str
    sha256: str
    sigma_range: tuple[float, float]
    sizes: tuple[int, ...] = ()
    multiple: int = 1
    classes: tuple[str, ...] = ()
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Denoiser(Protocol):
    """Estimates the clean image. Any randomness inside must be a function of the input alone."""

    @property
    def card(self) -> DenoiserCard: ...

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """Estimate the clean image.

        x (N,3,H,W) is float: clean signal in [0,1] plus noise of standard deviation `sigma`, a number or (N,).
        Returns x̂0 (N,3,H,W) of the same dtype on the same device. Values may leave [0,1]; the caller clips.
        Row i depends on row i of x and sigma only.
        """
        ...
