"""What every denoiser refuses before it computes: a noise level, or a side, that its card does not have."""

from __future__ import annotations

import torch
from torch import Tensor

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.errors import ConfigurationError


def row_levels(card: DenoiserCard, x: Tensor, sigma: float | Tensor) -> Tensor:
    """σ (N,) float32, one a row, on the device of `x` (N,3,H,W).

    Raises ConfigurationError where one leaves the card's range, or where the card has `sizes` and a side is no
    multiple of the card's. Without `sizes` any side is served: `padding`.
    """
    levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
    if not len(x):
        return levels
    low, high = card.sigma_range
    if not (low * (1 - 1e-6) <= float(levels.min()) and float(levels.max()) <= high * (1 + 1e-6)):
        raise ConfigurationError(
            f"{card.id} serves σ from {low:g} to {high:g}; choose σ in it or another denoiser"
        )
    height, width = x.shape[-2:]
    if card.sizes and (height % card.multiple or width % card.multiple):
        raise ConfigurationError(
            f"{card.id} takes sides that are multiples of {card.multiple}, not {height}×{width}"
        )
    return levels
