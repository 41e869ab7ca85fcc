"""Noise schedules of diffusion models, and which of their steps has the noise of an image.

A diffusion model knows images on [−1,1] as x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε with ᾱ falling from 1 towards 0 (Ho,
Jain, Abbeel 2020, equation 4). Divided by √ᾱ_t that is x_0 + σ_t·ε with σ_t = √(1−ᾱ_t)/√ᾱ_t. Noise of
standard deviation σ on [0,1] is 2σ on [−1,1], so the step that fits it is the first t with σ_t ≥ 2σ
(Carlini et al. 2022, section 3, where the factor is in the code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from api_smoothing.errors import ConfigurationError

_ROUNDING = 1e-6  # relative; a σ taken from the table itself must find its own step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """ᾱ (T,) float64: step t keeps the share ᾱ_t of an image's variance. Falling, within [0, 1).

    `sigmas` is σ_t = √(1−ᾱ_t)/√ᾱ_t on [−1,1], infinite where ᾱ_t = 0. Raises ConfigurationError.
    """

    alpha_bar: Tensor
    sigmas: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the table and derive σ."""
        a = self.alpha_bar
        if a.ndim != 1 or len(a) < 1 or not bool(((a >= 0) & (a < 1)).all() and (a.diff() < 0).all()):
            raise ConfigurationError(
                "a noise schedule is a falling list of alpha-bar in [0, 1); give such a one"
            )
        object.__setattr__(self, "alpha_bar", a.detach().to("cpu", torch.float64))
        object.__setattr__(self, "sigmas", ((1 - self.alpha_bar) / self.alpha_bar).sqrt())

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The least and the greatest finite noise it has a step for, in [0,1] pixel units."""
        finite = self.sigmas[self.sigmas.isfinite()]
        return float(finite[0]) / 2, float(finite[-1]) / 2

    def step(self, sigma: Tensor) -> Tensor:
        """t*(σ), int64 on the CPU: the first step with σ_t ≥ 2σ, for σ of any shape in [0,1] pixel units.

        The last step for a σ beyond the table.
        """
        wanted = 2 * sigma.detach().to("cpu", torch.float64) * (1 - _ROUNDING)
        return torch.searchsorted(self.sigmas, wanted.contiguous()).clamp(max=len(self.sigmas) - 1)

    def snap(self, sigma: Tensor) -> Tensor:
        """The noise of step t*(σ) in [0,1] pixel units: at least σ, and exactly what the network knows."""
        return (self.sigmas[self.step(sigma)] / 2).to(sigma.device, sigma.dtype)


def from_alpha_bar(values: Tensor | Sequence[float]) -> Schedule:
    """The schedule with these ᾱ."""
    return Schedule(alpha_bar=torch.as_tensor(values, dtype=torch.float64))


def linear(steps: int = 1000, *, start: float = 1e-4, end: float = 0.02) -> Schedule:
    """β rising evenly from `start` to `end` (Ho, Jain, Abbeel 2020, section 4)."""
    return from_alpha_bar((1 - torch.linspace(start, end, steps, dtype=torch.float64)).cumprod(0))


def cosine(steps: int = 4000, *, offset: float = 0.008, most: float = 0.999) -> Schedule:
    """ᾱ following a squared cosine, each β at most `most` (Nichol & Dhariwal 2021, equation 17)."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    curve = ((t + offset) / (1 + offset) * (math.pi / 2)).cos().square()
    return from_alpha_bar((curve[1:] / curve[:-1]).clamp(min=1 - most).cumprod(0))
