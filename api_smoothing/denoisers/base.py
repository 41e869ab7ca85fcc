"""What every denoiser looks like: a card, its arithmetic, its price in queries, and D(x, σ) → x̂0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserCard:
    """The facts about a denoiser.

    `sigma_range` is the closed range of noise levels it was trained for, in [0,1] pixel units. `sizes`
    lists the sides it was trained at; empty means any side, and the network's come in steps of `multiple`: see
    `padding`. `classes` are the only things it knows, where it has a classifier inside: it takes whatever it
    sees for one of them. `sha256` is the digest of the weights file (or of the parameters of a wrapped module).
    `named` says whether it names the function for good: not where code decides that nobody gave a name, whose answers
    are then kept in memory only.
    `quality` maps σ to the measured figures (PSNR in dB, …). `training` names data, objective and surrogates.
    """

    id: str
    sha256: str
    sigma_range: tuple[float, float]
    sizes: tuple[int, ...] = ()
    multiple: int = 1
    classes: tuple[str, ...] = ()
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    named: bool = True


@runtime_checkable
class Denoiser(Protocol):
    """Estimates the clean image. Any randomness inside must be a function of the input alone.

    These four are all that is asked of it. An object with a card alone is served too, by `adopted.adopt`.
    """

    @property
    def card(self) -> DenoiserCard:
        """The facts; of one `sha256` are only those that compute the same function."""
        ...

    @property
    def compute(self) -> str:
        """What else decides the last bits: "fp32", "bf16" or "fp16", and where it runs, as of `precision.arithmetic`.

        Answers are kept by it: two that may differ in a bit must not share it and `card.sha256`.
        """
        ...

    @property
    def paths_per_query(self) -> int:
        """How many images it makes of a noisy one, each a query to the provider: 1, or a `ManyPaths` is due."""
        ...

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """Estimate the clean image.

        x (N,3,H,W) is float: clean signal in [0,1] plus noise of standard deviation `sigma`, a number or (N,).
        Returns x̂0 (N,3,H,W) of the same dtype on the same device. Values may leave [0,1]; the caller clips.
        Row i depends on row i of x and sigma only. H and W are any from 1 on where the card has no `sizes`.
        """
        ...


@runtime_checkable
class ManyPaths(Denoiser, Protocol):
    """A denoiser with `paths_per_query` above 1: the labels of its paths are polled, see `paths`."""

    def path(self, x: Tensor, sigma: float | Tensor, number: int, /) -> Tensor:
        """The end of path `number` ≥ 0 for each row, (N,3,H,W) as of `__call__`; the same for any number of paths."""
        ...


@runtime_checkable
class Stepped(Protocol):
    """A denoiser that knows only some levels of noise, which samplers then stop at."""

    def snap(self, sigma: Tensor, /) -> Tensor:
        """The nearest levels it knows from `sigma` (N,) upwards."""
        ...
