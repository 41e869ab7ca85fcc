"""Small parts of a comparison: a classifier that is easily misled, pictures it knows, and defences of every kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing import denoisers
from api_smoothing.attacks.ball import Pixels
from api_smoothing.defences import Cost
from api_smoothing.denoisers.wrapped import WrappedDenoiser


class Toy(nn.Module):
    """Tells "up" by the mean of the upper half above that of the lower one, and counts how many images it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        upper, lower = x.chunk(2, 2)
        apart = 20 * (upper - lower).mean((1, 2, 3))
        return torch.stack((apart, -apart), 1)


NAMES = ("up", "down")


def pictures(count: int = 4, side: int = 8) -> list[tuple[Pixels, str]]:
    """In turns a little brighter above and below, with their labels."""
    draw = np.random.default_rng(0)
    found = []
    for k in range(count):
        image = draw.integers(100, 150, (side, side, 3), dtype=np.uint8)
        top = slice(0, side // 2) if k % 2 == 0 else slice(side // 2, side)
        image[top] += 10
        found.append((image, NAMES[k % 2]))
    return found


def tensor(count: int = 4, side: int = 8) -> Tensor:
    """The pictures as (N,3,H,W) in [0,1]."""
    stack = np.stack([image for image, _ in pictures(count, side)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def smoother() -> WrappedDenoiser:
    """Means of 3×3 pixels: a denoiser of a sort, with gradients."""

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    return denoisers.wrap(mean, id="mean@1", sigma_range=(0.02, 1.0))


@dataclass
class Darker:
    """Takes `by` levels from every value; with `copies`, so many times over. Counts its calls."""

    by: int = 1
    copies: int = 1
    name: str = "darker"
    cost: Cost = Cost(evaluations=2)  # noqa: RUF009 - it is frozen
    calls: int = 0

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """Row by row, whatever the seed."""
        self.calls += 1
        done = ((images * 255).round() - self.by).clamp(0, 255) / 255
        return done if self.copies == 1 else done[:, None].repeat(1, self.copies, 1, 1, 1)
