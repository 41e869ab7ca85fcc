"""Our own small diffusion model: it predicts the noise, or v, at step t, and serves as a one-shot denoiser.

The body is the noise-conditional U-Net of `unet`, told ln(σ_t/2) for step t. The schedule is the linear one of
1000 steps, trained only at the steps that a denoiser of images on [0,1] can be asked for: with σ up to 1 those
are the first 397. What the network has to learn there, it learns better for not having to know the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.denoisers import schedule as schedules
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.diffusion import OneShot, Prediction, check_prediction, estimate
from api_smoothing.denoisers.noise_blind import fill, ready
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.denoisers.unet import UNet
from api_smoothing.errors import ConfigurationError
from api_smoothing.precision import arithmetic


class DiffusionNet(nn.Module):
    """(x_t (N,3,H,W) on the scale of step t, t (N,) int64) → the prediction (N,3,H,W)."""

    log_sigma: Tensor

    def __init__(self, net: UNet, schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.net, self.schedule, self.prediction = net, schedule, prediction
        table = (schedule.sigmas / 2).log().to(torch.float32)
        self.register_buffer("log_sigma", table, persistent=False)

    @property
    def multiple(self) -> int:
        """What the sides of the image must be multiples of."""
        return self.net.multiple

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        ready = x_t.contiguous(memory_format=torch.channels_last)
        out: Tensor = self.net(ready, self.log_sigma[t])
        return out


def denoise(net: DiffusionNet, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, σ) in float32, not clipped: x (N,3,H,W) float32, σ (N,). `net` may run in a shorter type under autocast."""
    return estimate(net, net.schedule, net.prediction, x, sigma)


def make_schedule(settings: Mapping[str, Any]) -> Schedule:
    """The schedule of a card or a recipe: {"kind": "linear" | "cosine", "steps": T}. Raises ConfigurationError."""
    kinds: dict[str, Callable[[int], Schedule]] = {"linear": schedules.linear, "cosine": schedules.cosine}
    if settings.get("kind") not in list(kinds):
        raise ConfigurationError(f"schedule {settings.get('kind')!r} is unknown; choose linear or cosine")
    return kinds[settings["kind"]](int(settings["steps"]))


def make_net(architecture: Mapping[str, Any]) -> DiffusionNet:
    """An untrained network from `channels`, `blocks`, `width`, `schedule` and `prediction`.

    Raises KeyError for what is missing, ConfigurationError for what is not known.
    """
    check_prediction(architecture["prediction"])
    body = UNet(
        tuple(architecture["channels"]), tuple(architecture["blocks"]), width=int(architecture["width"])
    )
    return DiffusionNet(body, make_schedule(architecture["schedule"]), architecture["prediction"])


def build(
    card: DenoiserCard,
    architecture: dict[str, Any],
    weights: Mapping[str, Tensor],
    *,
    device: str,
    compute: str,
) -> OneShot:
    """The denoiser of a weights file of kind "diffusion". Raises WeightsError where the weights do not fit."""
    net = make_net(architecture)
    return OneShot(
        card=card,
        compute=arithmetic(compute, device),
        network=ready(fill(net, card, weights), device, compute),
        schedule=net.schedule,
        prediction=net.prediction,
        device=device,
    )
