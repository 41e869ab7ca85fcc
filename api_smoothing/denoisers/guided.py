"""Guided distribution transfer: the reverse process, steered so that the image keeps its look and its meaning.

The image is diffused forward to step t*, where its noise has standard deviation σ: that is what D(x, σ) is
given. Each step of the way back draws from N(μ − Σ·g, Σ), μ and Σ being the mean and variance of the unguided
step (Dhariwal & Nichol 2021, section 4.1 and algorithm 1, with −g for the gradient of the log-probability), and

  g = s·∇D_image(μ, x_i) + λ·∇D_output(f(x̂0), f(r)).

- t*, set by σ: how far the image is diffused. More washes out more of an attack, and more of the image.
- s, the guidance scale: how strongly the state is held to x_i, the input at the noise of step i (as in GDMP,
  Wang et al. 2022, who compare with a fresh diffusion of the input; here it is the same noise, shrunk).
  D_image is "mse" or "ssim", see `distances`.
- λ, the weight of the surrogate f: how strongly the estimate x̂0 is held to f's answer about the reference r.
  D_output is the divergence of f's class probabilities, in nats. If the attack misleads f as well, its answer
  holds the attack: then λ = 0 is better, or a negative λ, which pushes away from the answer.

A shift Σ·g is divided by 1 + ‖Σ·g‖/‖μ − x_i‖, which hardly changes a small one and keeps a large one from
throwing the state beyond its distance to the input. With "mse" alone the new mean is then exactly that of
N(μ, Σ)·exp(−s‖y − x_i‖²), for any s.

f stands in for a black box that gives no gradients and is never asked. ∇D_output is taken with respect to x̂0:
the derivative of x̂0 by the state, close to a multiple of the identity, is left out, so that any D(x, σ) will do.
Where the input without noise is at hand it is the reference r (`steer`); as a denoiser, r is D's own estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.distances import Distance, distance, divergence
from api_smoothing.denoisers.gradients import are_wanted, inference
from api_smoothing.denoisers.reverse import check_steps, noise_levels, row_noise, sampler_card, step
from api_smoothing.digests import sha256_of
from api_smoothing.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """D(x, σ): one guided path in `steps` uses of `denoiser` and, for λ ≠ 0, of `surrogate`.

    `scale` is s and `weight` λ; with both 0 this is `Reverse`. `surrogate` maps images (N,3,H,W) in [0,1] to
    scores (N, classes), row by row; `surrogate_name` says which it is on the card. It must be given for λ ≠ 0.
    """

    paths_per_query: ClassVar[int] = 1
    denoiser: Denoiser
    surrogate: Callable[[Tensor], Tensor] | None = None
    surrogate_name: str = "none"
    scale: float = 0.0
    weight: float = 0.0
    distance: str = "mse"
    steps: int = 8
    seed: int = 0
    _far: Distance = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        check_steps(self.steps)
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ConfigurationError(f"the guidance scale s must be a number from 0 on, not {self.scale!r}")
        if not math.isfinite(self.weight):
            raise ConfigurationError(f"the weight λ must be a number, not {self.weight!r}")
        if self.weight and self.surrogate is None:
            raise ConfigurationError("the weight λ needs a surrogate classifier; name one, or set λ to 0")
        object.__setattr__(self, "_far", distance(self.distance))

    @property
    def card(self) -> DenoiserCard:
        """The facts about the whole, with the digest of the surrogate's weights."""
        sampler = {
            "sampler": "guided",
            "steps": self.steps,
            "seed": self.seed,
            "scale": self.scale,
            "weight": self.weight,
            "distance": self.distance,
            "surrogate": self.surrogate_name,
        }
        if isinstance(self.surrogate, nn.Module):
            sampler["surrogate_sha256"] = sha256_of(self.surrogate.state_dict(), self.surrogate_name)
        return sampler_card(self.denoiser.card, "guided", sampler)

    @property
    def compute(self) -> str:
        """The denoiser's arithmetic."""
        return self.denoiser.compute

    @inference
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device. Raises ConfigurationError for a σ outside the card's range."""
        levels = row_levels(self.card, x, sigma)
        reference = self.denoiser(x.float(), levels).clamp(0, 1) if self._steers else x.float()
        return self.steer(x, levels, reference)

    @inference
    def steer(self, x: Tensor, sigma: float | Tensor, reference: Tensor) -> Tensor:
        """The same, where `reference` (N,3,H,W) in [0,1] is the input before the noise: r."""
        levels = row_levels(self.card, x, sigma)
        if not len(x):
            return x.clone()
        noise = row_noise(x, levels, seed=self.seed, path=0)
        ladder = noise_levels(self.denoiser, levels, self.steps)
        y, reference = x.float(), reference.float()
        asked = self.surrogate if self.weight else None
        answer = None if asked is None else asked(reference)
        for here, there in pairwise(ladder):
            clean = self.denoiser(y, here).clamp(0, 1)
            mean, spread = step(y, clean, here, there, 1.0)
            if self._steers:
                at = reference + (there / levels)[:, None, None, None] * (x.float() - reference)
                shift = spread.square() * self._pull(mean, at, clean, answer)
                mean = mean - _shorten(shift, mean - at)
            y = mean + spread * next(noise)
        return self.denoiser(y, ladder[-1]).to(x.dtype)

    @property
    def _steers(self) -> bool:
        return bool(self.scale or self.weight)

    def _pull(self, mean: Tensor, at: Tensor, clean: Tensor, answer: Tensor | None) -> Tensor:
        """The gradient g (N,3,H,W). Sums over rows separate: each row depends on itself alone."""
        total = torch.zeros_like(mean)
        if self.scale:
            total = total + self.scale * _gradient(lambda free: self._far(free, at.clone()), mean)
        if self.surrogate is not None and answer is not None:
            ask = self.surrogate
            total = total + self.weight * _gradient(lambda free: divergence(ask(free), answer.clone()), clean)
        return total


def _shorten(shift: Tensor, reach: Tensor) -> Tensor:
    """`shift`/(1 + |shift|/|reach|), row by row: never longer than `reach`."""
    far, long = _lengths(reach), _lengths(shift)
    return shift * (far / (far + long).clamp(min=1e-30))[:, None, None, None]


def _lengths(x: Tensor) -> Tensor:
    """‖row‖ (N,): one row at a time, as a sum over the whole is ordered by how many rows there are."""
    # a length of 0 has no slope
    return torch.stack([row.double().square().sum().clamp(min=1e-60).sqrt() for row in x]).to(x.dtype)


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of Σ function(x) at x = `at`, also for a caller who has switched gradients off for good.

    Where denoisers give gradients it has one itself.
    """
    if are_wanted():
        free = at if at.requires_grad else at.clone().requires_grad_()
        (found,) = torch.autograd.grad(function(free).sum(), free, create_graph=True)
        return found
    with torch.inference_mode(False), torch.enable_grad():
        free = at.clone().requires_grad_()
        (found,) = torch.autograd.grad(function(free).sum(), free)
    return found
