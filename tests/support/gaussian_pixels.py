"""Denoisers whose law is known in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers import schedule
from api_smoothing.denoisers.diffusion import OneShot, Prediction, one_shot
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.denoisers.wrapped import WrappedDenoiser

MU, TAU = 0.45, 0.1  # the pixels of the analytic law: N(μ, τ²), within [0,1] for all that matters
SCHEDULES = {"linear": schedule.linear(), "cosine": schedule.cosine()}


def posterior(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The mean of a pixel N(μ, τ²) given x = pixel + N(0, σ²)."""
    s = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
    return MU + TAU**2 / (TAU**2 + s**2) * (x - MU)


def gaussian_network(table: Schedule, prediction: Prediction) -> Any:
    """The best network there is for such pixels on [−1,1], as a function of (x_t, t)."""

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        share = table.alpha_bar[t][:, None, None, None]
        keep, noise, x = share.sqrt(), (1 - share).sqrt(), x_t.double()
        mean, variance = 2 * MU - 1, (2 * TAU) ** 2
        clean = mean + keep * variance / (share * variance + 1 - share) * (x - keep * mean)
        epsilon = (x - keep * clean) / noise
        return {"epsilon": epsilon, "v": keep * epsilon - noise * clean, "sample": clean}[prediction].float()

    return network


def gaussian_one_shot(name: str, prediction: Prediction) -> OneShot:
    table = SCHEDULES[name]
    return one_shot(
        gaussian_network(table, prediction), schedule=table, prediction=prediction, id=f"gauss-{name}@1"
    )


def gaussian(low: float = 0.005, high: float = 2.0) -> WrappedDenoiser:
    """The same law as a D(x, σ) for any σ: exact and elementwise."""
    return denoisers.wrap(
        lambda x, s: posterior(x.double(), s.double()).float(), id="gauss@1", sigma_range=(low, high)
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blur() -> WrappedDenoiser:
    smooth = nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    return denoisers.wrap(lambda x, s: smooth(x), id="blur@1", sigma_range=(0.1, 0.6), sizes=(32,))


def noise_predictor() -> OneShot:
    """The blur turned into a noise predictor on [−1,1]."""
    base, table = blur(), SCHEDULES["linear"]

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        sigma = table.sigmas[t].float()
        x = x_t / table.alpha_bar[t].float().sqrt()[:, None, None, None]
        clean = 2 * base((x + 1) / 2, (sigma / 2).clamp(0.1, 0.6)) - 1
        return (x - clean) / sigma[:, None, None, None]

    return one_shot(network, schedule=table, id="blur-epsilon@1", sigma_range=(0.1, 0.6), sizes=(32,))


class Exact(DenoiserSuite):
    """Rows agree to rounding; a sampler's steps do not add to that."""

    tolerance = 1e-4
