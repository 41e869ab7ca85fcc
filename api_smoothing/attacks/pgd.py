"""Projected gradient descent, in ℓ∞ and ℓ2, on what can be differentiated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from api_smoothing.attacks.ball import Ball, Norm
from api_smoothing.attacks.losses import LOSSES, Loss, Model, expected, margin
from api_smoothing.errors import ConfigurationError, unknown

_JUDGED = 4  # times as many draws as in a step say which of several runs was the best


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD:
    """Projected gradient descent (Madry et al. 2018), from a random point of the ball, `restarts` times a loss.

    The images stay within `radius` of the clean ones, in [0,1] units of the `norm`, and within [0,1]; of all runs the
    one that is worst for the model counts, by the margin where that is among the `losses`. A step is 2.5·radius/steps
    long, so that the edge of the ball can be reached from anywhere in it. A model that draws noise is asked `eot`
    times a step, see `losses.expected`. An image that a model without noise errs on is not attacked again.

    The result lies on the 8-bit grid, in the ball, which `Ball.holds` says without rounding. Only with `rounded` off is
    it the last iterate as it is; then the clean images need not lie there. The starts are functions of the image,
    `seed` and the number of the restart alone.
    """

    norm: Norm
    radius: float
    steps: int = 40
    restarts: int = 1
    losses: tuple[str, ...] = ("cross-entropy", "margin")
    eot: int = 1
    seed: int = 0
    rounded: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        Ball(norm=self.norm, radius=self.radius)
        for name in ("steps", "restarts", "eot"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"{name} of an attack must be a whole number from 1 on, not {value!r}"
                )
        for loss in self.losses:
            if loss not in LOSSES:
                raise ConfigurationError(unknown("loss", loss, list(LOSSES)))
        if not self.losses:
            raise ConfigurationError("an attack needs a loss: cross-entropy, margin or both")

    @property
    def name(self) -> str:
        """As "pgd_linf"."""
        return f"pgd_{self.norm}"

    @property
    def judge(self) -> Loss:
        """What says which of several runs is the worst for the model."""
        return margin if "margin" in self.losses else LOSSES[self.losses[0]]

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """Attacked images (N,C,H,W) in [0,1] of `images` (N,C,H,W) in [0,1], whose classes are `labels` (N,) int64."""
        if not len(images):
            return images.clone()
        runs = [(LOSSES[name], restart) for restart in range(self.restarts) for name in self.losses]
        if len(runs) == 1:
            return self._run(images, labels, model, *runs[0])
        return self._worst(images, labels, model, runs)

    def _worst(self, images: Tensor, labels: Tensor, model: Model, runs: list[tuple[Loss, int]]) -> Tensor:
        best, lead = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
        rows = torch.arange(len(images), device=images.device)
        for loss, restart in runs:
            found = self._run(images[rows], labels[rows], model, loss, restart)
            with torch.no_grad():
                got = self.judge(expected(model, found, self._judged), labels[rows]).to(lead)
            better = got > lead[rows]
            best[rows[better]], lead[rows[better]] = found[better], got[better]
            if self.eot == 1 and self.judge is margin:
                rows = rows[lead[rows] <= 0]
            if not len(rows):
                break
        return best

    @property
    def _judged(self) -> int:
        return 1 if self.eot == 1 else _JUDGED * self.eot

    def _run(self, images: Tensor, labels: Tensor, model: Model, loss: Loss, restart: int) -> Tensor:
        """One run: the last iterate, in the ball."""
        *_, x = self._iterates(images, labels, model, loss, restart)
        return Ball(norm=self.norm, radius=self.radius).on_grid(images, x) if self.rounded else x

    def _iterates(
        self, images: Tensor, labels: Tensor, model: Model, loss: Loss, restart: int
    ) -> Iterator[Tensor]:
        step = 2.5 * self.radius / self.steps
        starts = torch.stack([self._start(image, restart) for image in images])
        x = self._inside(images, images + starts.to(images.device))
        for _ in range(self.steps):
            slope = self._slope(x, labels, model, loss)
            x = self._inside(images, x + step * (slope.sign() if self.norm == "linf" else _unit(slope)))
            yield x.detach()

    def _slope(self, x: Tensor, labels: Tensor, model: Model, loss: Loss) -> Tensor:
        with torch.enable_grad():
            free = x.detach().requires_grad_()
            raised = loss(expected(model, free, self.eot), labels).sum()
            if not raised.requires_grad:
                raise ConfigurationError(
                    "PGD needs gradients and this model gives none: attack it by its answers (square, hopskipjump)"
                )
            (slope,) = torch.autograd.grad(raised, free)
        return slope

    def _inside(self, clean: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball about `clean`, then of [0,1], which moves no value away from `clean`."""
        apart = x - clean
        if self.norm == "linf":
            apart = apart.clamp(-self.radius, self.radius)
        else:
            apart = apart * (self.radius / _length(apart).clamp(min=1e-12)).clamp(max=1)
        return (clean + apart).clamp(0, 1)

    def _start(self, image: Tensor, restart: int) -> Tensor:
        """Uniform in the cube; for ℓ2 in a random direction, at a distance uniform up to the radius."""
        which = f"pgd {self.seed}" if restart == 0 else f"pgd {self.seed} {restart}"
        told = which.encode() + b"\0" + image.detach().cpu().contiguous().numpy().tobytes()
        seed = int.from_bytes(hashlib.sha256(told).digest()[:7], "little")
        draw = torch.Generator().manual_seed(seed)
        if self.norm == "linf":
            return (2 * torch.rand(image.shape, generator=draw) - 1) * self.radius
        way = torch.randn(image.shape, generator=draw)
        length: Tensor = torch.linalg.vector_norm(way)
        return way / length * self.radius * torch.rand((), generator=draw)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return length[:, None, None, None]


def _unit(x: Tensor) -> Tensor:
    return x / _length(x).clamp(min=1e-12)
