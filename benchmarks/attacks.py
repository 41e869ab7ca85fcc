"""Attacks on an image classifier, for benchmarks: what each takes, and projected gradient descent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

#: Images (N,3,H,W) in [0,1] → scores (N, classes).
Model = Callable[[Tensor], Tensor]


class Attack(Protocol):
    """Changes images so that a model errs.

    Where `sees_defence` holds, the model it is given is the defended one, which draws fresh noise at each call and
    gives no gradients: it must be attacked by its scores, or through a stand-in of its own. Otherwise it gets the
    bare classifier, and its images are made once for all defences.
    """

    @property
    def name(self) -> str: ...

    @property
    def sees_defence(self) -> bool: ...

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """Attacked images (N,3,H,W) in [0,1] of `images` (N,3,H,W) in [0,1], whose true labels are (N,) int64."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD:
    """Projected gradient descent on the cross-entropy (Madry et al. 2018), from a random point of the ball.

    The images stay within `radius` of the clean ones, in [0,1] units of the `norm`, and within [0,1]. A step is
    2.5·radius/steps long, so that the edge of the ball can be reached from anywhere in it. The
    start is a function of the image and `seed` alone.
    """

    norm: Literal["linf", "l2"]
    radius: float
    steps: int = 40
    seed: int = 0
    sees_defence: bool = False

    @property
    def name(self) -> str:
        """As "pgd_linf"."""
        return f"pgd_{self.norm}"

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """The last iterate, as it is: not rounded to 8 bits, which would weaken it."""
        step = 2.5 * self.radius / self.steps
        x = self._inside(images, images + torch.stack([self._start(image) for image in images]))
        for _ in range(self.steps):
            with torch.enable_grad():
                free = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(F.cross_entropy(model(free), labels, reduction="sum"), free)
            x = self._inside(images, x + step * (slope.sign() if self.norm == "linf" else _unit(slope)))
        return x.detach()

    def _inside(self, clean: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball about `clean`, then of [0,1], which moves no value away from `clean`."""
        apart = x - clean
        if self.norm == "linf":
            apart = apart.clamp(-self.radius, self.radius)
        else:
            apart = apart * (self.radius / _length(apart).clamp(min=1e-12)).clamp(max=1)
        return (clean + apart).clamp(0, 1)

    def _start(self, image: Tensor) -> Tensor:
        """Uniform in the cube; for ℓ2 in a random direction, at a distance uniform up to the radius."""
        told = f"pgd {self.seed}\0".encode() + image.detach().contiguous().numpy().tobytes()
        seed = int.from_bytes(hashlib.sha256(told).digest()[:7], "little")
        draw = torch.Generator().manual_seed(seed)
        if self.norm == "linf":
            return (2 * torch.rand(image.shape, generator=draw) - 1) * self.radius
        way = torch.randn(image.shape, generator=draw)
        return way / way.norm() * self.radius * torch.rand((), generator=draw)


def _length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)[:, None, None, None]


def _unit(x: Tensor) -> Tensor:
    return x / _length(x).clamp(min=1e-12)
