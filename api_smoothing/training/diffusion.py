"""The objective of diffusion models: at a random step, predict what was mixed into the image."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from api_smoothing.denoisers.diffusion import Prediction
from api_smoothing.denoisers.diffusion_net import DiffusionNet
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.training.loop import Loss, Order
from api_smoothing.training.losses import Images, reduced
from api_smoothing.training.objectives import add_noise


def prediction_loss(
    net: DiffusionNet, data: Images, order: Order, phase: dict[str, Any], device: str = "cpu"
) -> Loss:
    """Mean squared error of the prediction (Ho, Jain, Abbeel 2020, equation 14), half of the images mirrored.

    The noisy images lie on the 8-bit grid, as in use; ε is what was really added.
    """
    schedule = net.schedule
    low, high = float(phase["sigma"]["low"]), float(phase["sigma"]["high"])

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        clean = data.augmented(order.rows(step)[1], draw)
        t = draw_steps(schedule, (low, high), float(phase["log_share"]), len(clean), draw)
        sigma = (schedule.sigmas[t] / 2).float().to(clean.device)
        noisy = add_noise(clean.contiguous(memory_format=torch.channels_last), sigma, draw)
        noise = (noisy - clean) / sigma[:, None, None, None]
        share = schedule.alpha_bar[t].float().to(clean.device)[:, None, None, None]
        clean, noisy, noise, share, t = (v.to(device) for v in (clean, noisy, noise, share, t))
        keep, rest = share.sqrt(), (1 - share).sqrt()
        with reduced(noisy):
            out = net(keep * (2 * noisy - 1), t)
        target = prediction_target(2 * clean - 1, noise, keep, rest, net.prediction)
        return F.mse_loss(out.float(), target), {}

    return loss


def draw_steps(
    schedule: Schedule, sigma_range: tuple[float, float], log_share: float, n: int, draw: torch.Generator
) -> Tensor:
    """Steps (n,) int64 whose noise is in `sigma_range`, [0,1] units: a share even in ln σ, the others even in t.

    They are on the CPU, as the schedule is, wherever they were drawn.
    """
    low, high, place = *sigma_range, draw.device
    first, last = schedule.step(torch.tensor([low, high])).tolist()
    even = torch.randint(first, last + 1, (n,), generator=draw, device=place).cpu()
    drawn = torch.empty(n, device=place).uniform_(math.log(low), math.log(high), generator=draw)
    wide = schedule.step(drawn.cpu().exp())
    return torch.where(
        torch.rand(n, generator=draw, device=place).cpu() < log_share, wide.clamp(first, last), even
    )


def prediction_target(
    clean: Tensor, noise: Tensor, keep: Tensor, rest: Tensor, prediction: Prediction
) -> Tensor:
    """What the network should say: ε, v = √ᾱ·ε − √(1−ᾱ)·x_0, or x_0, with `clean` on [−1,1]."""
    if prediction == "epsilon":
        return noise
    return keep * noise - rest * clean if prediction == "v" else clean
