"""A classifier of which everything is known: a half-space, whose distance is exact, smoothed or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from api_smoothing.attacks.ball import Pixels
from api_smoothing.attacks.search import Reply


class HalfSpace(nn.Module):
    """ "up" where w·(x − ½) > 0, for a w of length 1, "down" elsewhere; Gaussian noise leaves it what it is."""

    normal: Tensor

    def __init__(self, side: int = 6, *, seed: int = 0, slope: float = 20.0) -> None:
        super().__init__()
        w = np.random.default_rng(seed).standard_normal((side, side, 3))
        self.w, self.slope = w / np.linalg.norm(w), slope
        self.register_buffer("normal", torch.from_numpy(self.w).permute(2, 0, 1).float())

    def forward(self, x: Tensor) -> Tensor:
        up = self.slope * ((x - 0.5) * self.normal).sum((1, 2, 3))
        return torch.stack((up, -up), 1)

    def at(self, distance: float) -> Pixels:
        """A picture (side,side,3) of "up" at about that distance from the plane; `distance` says how far it is."""
        return np.rint(255 * np.clip(0.5 + distance * self.w, 0, 1)).astype(np.uint8)

    def distance(self, image: Pixels) -> float:
        """How far it is from the plane, in ℓ2."""
        return float(((image / 255 - 0.5) * self.w).sum())

    def eps(self, image: Pixels) -> float:
        """How far it is in ℓ∞."""
        return self.distance(image) / float(np.abs(self.w).sum())

    def ask(self, images: Sequence[Pixels]) -> list[Reply]:
        """The answers, with scores, as `attacks.search.Ask` has them."""
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        return [
            Reply(
                label=("up", "down")[int(row.argmax())], scores={"up": float(row[0]), "down": float(row[1])}
            )
            for row in self(x).softmax(1)
        ]
