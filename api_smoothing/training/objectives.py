"""What denoisers are trained for: closeness to the clean image, and the same label from a classifier.

Mean squared error, and stability — the cross-entropy of a classifier's answer on the denoised image to its
own answer on the clean one — are the two objectives of Salman et al. 2020 ("Denoised Smoothing", section 3.1);
"stability" here is their STAB with a share of MSE kept, so that the images stay images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from api_smoothing.denoisers.unet import coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRange:
    """How σ is drawn: log-uniform in [low, high], except a `share` log-normal about `focus` with `spread`."""

    low: float
    high: float
    focus: float = 0.25
    share: float = 0.0
    spread: float = 0.1

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """σ (n,) float32 within [low, high], on the device of `generator`."""
        place = generator.device
        wide = torch.empty(n, device=place).uniform_(
            math.log(self.low), math.log(self.high), generator=generator
        )
        near = torch.randn(n, generator=generator, device=place) * self.spread + math.log(self.focus)
        chosen = torch.rand(n, generator=generator, device=place) < self.share
        return torch.where(chosen, near, wide).exp().clamp(self.low, self.high)


def add_noise(x: Tensor, sigma: Tensor, draw: torch.Generator) -> Tensor:
    """X + σ·N(0, 1), rounded to multiples of 1/255 and not clipped, as in use. x (N,3,H,W), σ (N,)."""
    noise = torch.randn(x.shape, generator=draw, device=draw.device).contiguous(
        memory_format=torch.channels_last
    )
    return torch.addcmul(x, noise, sigma[:, None, None, None]).mul_(255).round_().div_(255)


def weighted_mse(denoised: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    """Mean of |x̂0 − x0|²/c_out(σ)²: every σ weighs the same (Karras et al. 2022, section 5)."""
    return ((denoised - clean) / coefficients(sigma)[1]).square().mean()


def on_grid(x: Tensor) -> Tensor:
    """X clipped to [0,1] and rounded to 8 bits, as the classifier will get it; the rounding passes gradients."""
    x = x.clamp(0, 1)
    return x + ((x.detach() * 255).round() / 255 - x.detach())


def jitter(x: Tensor, border: int, draw: torch.Generator) -> Tensor:
    """X moved by up to `border` pixels, the same for the batch: evidence must survive it to reach the target."""
    top, left = (int(k) for k in torch.randint(0, 2 * border + 1, (2,), generator=draw, device=draw.device))
    height, width = x.shape[-2:]
    padded = F.pad(x, (border,) * 4, mode="reflect")
    return padded[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
