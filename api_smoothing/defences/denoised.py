"""Defences with a denoiser: noise that drowns what an attack has added, and a way back from it.

One class for all: `copies` noisy images, each taken back by D(x, σ), by one path or by several. Where more than one
image comes out, the classifier's answers to all of them are put to the vote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from api_smoothing.defences.base import Cost
from api_smoothing.denoisers import samplers
from api_smoothing.denoisers.base import Denoiser, ManyPaths
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.gradients import gradients, straight_through
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.registry import PINNED
from api_smoothing.denoisers.reverse import Reverse, row_noise
from api_smoothing.denoisers.selection import PREFERENCE, select
from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.purification import load_classifier

#: What a guided path may be held to.
REFERENCES: Final = ("input", "estimate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """Noise of standard deviation `sigma` ([0,1] units), taken away by `denoiser`, `copies` times.

    `denoiser` is what `denoisers.load` takes, a method with its options too, "auto" for the bundled one that fits the
    images, or an object. The noise of a row is a function of the row, σ, the seed and the number of the copy. A guided
    path is held to the `reference`: the "input", attacked or not, or the "estimate" of its denoiser in one step.
    """

    name: str
    denoiser: str | Path | Denoiser = "auto"
    sigma: float = 0.1
    copies: int = 1
    reference: str = "input"
    device: str = "cpu"
    random: bool = True
    _found: dict[tuple[int, int] | None, Denoiser] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if isinstance(self.sigma, bool) or not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ConfigurationError(
                f"sigma of a defence must be above 0, in [0,1] units, not {self.sigma!r}"
            )
        if isinstance(self.copies, bool) or not isinstance(self.copies, int) or not 1 <= self.copies <= 1000:
            raise ConfigurationError(f"copies must be a whole number from 1 to 1000, not {self.copies!r}")
        if self.reference not in REFERENCES:
            raise ConfigurationError(unknown("reference", str(self.reference), REFERENCES))

    @property
    def cost(self) -> Cost:
        """A query a copy and path; the uses of the denoiser's network on all their ways."""
        paths, uses = _paths_and_uses(self.denoiser)
        uses += self.reference == "estimate"
        return Cost(queries=self.copies * paths, evaluations=self.copies * paths * uses)

    @property
    def identity(self) -> str:
        """The denoiser's id and digest; of "auto" those that may be chosen."""
        if isinstance(self.denoiser, str) and self.denoiser.partition("?")[0] == "auto":
            return " ".join(f"{name}@{PINNED[name][:16]}" for name in PREFERENCE if name in PINNED)
        card = self._denoiser(None).card
        return f"{card.id}@{card.sha256[:16]}"

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """(N,3,H,W) for one copy and path, else (N, copies·paths, 3, H, W)."""
        if not len(images):
            return images.clone()
        levels = torch.full((len(images),), self.sigma, device=images.device)
        noises = [next(row_noise(images, levels, seed=seed, path=copy)) for copy in range(self.copies)]
        return _one_or_many([self._back(images, self.sigma * noise) for noise in noises])

    def differentiable(self) -> nn.Module:
        """The same, with the gradient of the denoiser through all of its steps; straight through one that has none."""
        return _Differentiable(self)

    def back(self, images: Tensor) -> Tensor:
        """`purify` with fresh noise of torch's generator, and with gradients where the denoiser has them."""
        noises = [self.sigma * torch.randn(images.shape).to(images) for _ in range(self.copies)]
        with gradients():
            return _one_or_many([self._back(images, noise) for noise in noises])

    def _back(self, images: Tensor, noise: Tensor) -> list[Tensor]:
        """The ends of all ways back from one noisy copy, each (N,3,H,W), in 8 bits."""
        found = self._denoiser((images.shape[2], images.shape[3]))
        noisy = _whole(images + noise, low=None)
        ends: list[Tensor]
        if isinstance(found, Guided) and self.reference == "input":
            ends = [found.steer(noisy, self.sigma, images)]
        elif found.paths_per_query > 1 and isinstance(found, ManyPaths):
            ends = [found.path(noisy, self.sigma, number) for number in range(found.paths_per_query)]
        else:
            ends = [found(noisy, self.sigma)]
        lost = noisy.requires_grad
        return [
            _whole(end if end.requires_grad or not lost else straight_through(noisy, end)) for end in ends
        ]

    def _denoiser(self, size: tuple[int, int] | None) -> Denoiser:
        if size not in self._found:
            chosen = select(
                self.denoiser,
                size=size,
                sigma=self.sigma,
                device=self.device,
                surrogates=lambda name: load_classifier(name, self.device),
            )
            assert chosen is not None  # only None chooses none
            self._found[size] = chosen
        return self._found[size]


class _Differentiable(nn.Module):
    def __init__(self, defence: Denoised) -> None:
        super().__init__()
        self._defence = defence

    def forward(self, images: Tensor) -> Tensor:
        return self._defence.back(images)


def _whole(x: Tensor, low: float | None = 0.0) -> Tensor:
    """`x` in multiples of 1/255, clipped to [0,1] but for `low` None; the rounding passes the gradient on."""
    x = x if low is None else x.clamp(0, 1)
    return straight_through(x, (x * 255).round() / 255)


def _one_or_many(copies: list[list[Tensor]]) -> Tensor:
    ends = [end for ways in copies for end in ways]
    return ends[0] if len(ends) == 1 else torch.stack(ends, 1)


def _paths_and_uses(denoiser: str | Path | Denoiser) -> tuple[int, int]:
    """(images a noisy copy, evaluations of networks each): what the name says, or the object."""
    if isinstance(denoiser, str | Path):
        options: dict[str, Any] = samplers.split(str(denoiser).partition("?")[2])[0] or {}
        uses = options.get("steps", options.get("views", 1))
        return options.get("paths", 1), 2 * uses if options.get("weight") else uses
    if isinstance(denoiser, Paths):
        return denoiser.paths_per_query, denoiser.reverse.steps
    if isinstance(
        denoiser, Guided
    ):  # which asks its surrogate about the reference, and in each step but the last
        return 1, 2 * denoiser.steps if denoiser.weight else denoiser.steps
    if isinstance(denoiser, Reverse):
        return 1, denoiser.steps
    return denoiser.paths_per_query, denoiser.views if isinstance(denoiser, Ensemble) else 1
