"""Projected gradient descent, in ℓ∞ and ℓ2, on what can be differentiated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from api_smoothing.attacks.ball import Ball, Norm, has_8_bits
from api_smoothing.attacks.losses import LOSSES, Loss, Model, expected, margin
from api_smoothing.errors import ConfigurationError, unknown

_JUDGED = 4  # times as many draws as in a step say which of several runs was the best


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD:
    """Projected gradient descent (Madry et al. 2018), from a random point of the ball, `restarts` times a loss.

    The images stay within `radius` of the clean ones, in [0,1] units of the `norm`, and within [0,1]; of all runs the
    one that is worst for the model counts, by the margin where that is among the `losses`. A step is 2.5·radius/steps
    long, so that the edge of the ball can be reached from anywhere in it. A model that draws noise is asked `eot`
    times a step, see `losses.expected`. An image that a model without noise errs on is not attacked again; of one with
    noise `enough` says at which value of the judging loss (see `judge`) a run, and then all, are left: what is surely
    turned needs no further step.

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
    enough: float | None = None

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

    def __call__(
        self, images: Tensor, labels: Tensor, model: Model, /, *, radii: Sequence[float] | None = None
    ) -> Tensor:
        """Attacked images (N,C,H,W) in [0,1] of `images` (N,C,H,W) in [0,1], whose classes are `labels` (N,) int64.

        With `radii`, one an image, each has a ball of its own in place of that of `radius`.
        """
        if not len(images):
            return images.clone()
        self._check(images, labels)
        balls = [
            Ball(norm=self.norm, radius=r) for r in ([self.radius] * len(images) if radii is None else radii)
        ]
        if len(balls) != len(images):
            raise ConfigurationError(f"{len(balls)} radii for {len(images)} images: give one an image")
        runs = [(LOSSES[name], restart) for restart in range(self.restarts) for name in self.losses]
        if len(runs) == 1:
            return self._run(images, labels, model, balls, *runs[0])
        return self._worst(images, labels, model, balls, runs)

    def _check(self, images: Tensor, labels: Tensor) -> None:
        if images.ndim != 4 or not images.is_floating_point() or labels.shape != images.shape[:1]:
            raise ConfigurationError(
                f"an attack takes floating-point images (N, C, H, W) and labels (N,), not {images.dtype} "
                f"{tuple(images.shape)} and {tuple(labels.shape)}"
            )
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise ConfigurationError("an attack takes images of values from 0 to 1: divide 8-bit ones by 255")
        if self.rounded and not has_8_bits(images):
            raise ConfigurationError(
                "an attack takes 8-bit images, multiples of 1/255: round them, or take rounded=False"
            )

    def _worst(
        self,
        images: Tensor,
        labels: Tensor,
        model: Model,
        balls: Sequence[Ball],
        runs: list[tuple[Loss, int]],
    ) -> Tensor:
        best, lead = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
        rows = torch.arange(len(images), device=images.device)
        for loss, restart in runs:
            own = [balls[row] for row in rows.tolist()]
            found = self._run(images[rows], labels[rows], model, own, loss, restart)
            with torch.no_grad():
                got = self.judge(expected(model, found, self._judged), labels[rows]).to(lead)
            better = got > lead[rows]
            best[rows[better]], lead[rows[better]] = found[better], got[better]
            if self.eot == 1 and self.judge is margin:
                rows = rows[lead[rows] <= 0]
            elif self.enough is not None:
                rows = rows[lead[rows] < self.enough]
            if not len(rows):
                break
        return best

    @property
    def _judged(self) -> int:
        return 1 if self.eot == 1 else _JUDGED * self.eot

    def _run(
        self, images: Tensor, labels: Tensor, model: Model, balls: Sequence[Ball], loss: Loss, restart: int
    ) -> Tensor:
        """One run: of each image the last iterate, or the first that is turned enough, in its ball."""
        reach = images.new_tensor([ball.radius for ball in balls])[:, None, None, None]
        starts = [self._start(image, ball.radius, restart) for image, ball in zip(images, balls, strict=True)]
        x = self._inside(images, images + torch.stack(starts).to(images.device), reach)
        rows = torch.arange(len(images), device=images.device)
        for _ in range(self.steps):
            slope, raised = self._slope(x[rows], labels[rows], model, loss)
            if self.enough is not None and bool((raised >= self.enough).any()):
                left = ~self._is_turned(x[rows], labels[rows], model, raised, self.enough)
                rows, slope = rows[left], slope[left]
                if not len(rows):
                    break
            way = slope.sign() if self.norm == "linf" else _unit(slope)
            moved = x[rows] + 2.5 * reach[rows] / self.steps * way
            x[rows] = self._inside(images[rows], moved, reach[rows])
        if not self.rounded:
            return x
        return torch.cat([ball.on_grid(images[i : i + 1], x[i : i + 1]) for i, ball in enumerate(balls)])

    def _is_turned(self, x: Tensor, labels: Tensor, model: Model, raised: Tensor, enough: float) -> Tensor:
        """Of those that seem turned `enough` in the draws of a step, whether they are in as many as are judged by."""
        found = raised >= enough
        with torch.no_grad():
            got = self.judge(expected(model, x[found], self._judged), labels[found])
        found[found.clone()] = got.to(raised) >= enough
        return found

    def _slope(self, x: Tensor, labels: Tensor, model: Model, loss: Loss) -> tuple[Tensor, Tensor]:
        """The loss's gradient (N,C,H,W), and what the judging loss is there (N,)."""
        with torch.enable_grad():
            free = x.detach().requires_grad_()
            scores = expected(model, free, self.eot)
            raised = loss(scores, labels).sum()
            if not raised.requires_grad:
                raise ConfigurationError(
                    "PGD needs gradients and this model gives none: attack it by its answers (square, hopskipjump)"
                )
            (slope,) = torch.autograd.grad(raised, free)
        if not bool(slope.isfinite().all()):
            raise ConfigurationError(
                "PGD needs gradients that are finite numbers and this model gives others: an attack by them would find "
                "nothing, whatever there is"
            )
        return slope, self.judge(scores.detach(), labels)

    def _inside(self, clean: Tensor, x: Tensor, reach: Tensor) -> Tensor:
        """The nearest point of the ball about `clean`, then of [0,1], which moves no value away from `clean`."""
        apart = x - clean
        if self.norm == "linf":
            apart = apart.clamp(-reach, reach)
        else:
            apart = apart * (reach / _length(apart).clamp(min=1e-12)).clamp(max=1)
        return (clean + apart).clamp(0, 1)

    def _start(self, image: Tensor, radius: float, restart: int) -> Tensor:
        """Uniform in the cube; for ℓ2 in a random direction, at a distance uniform up to the radius."""
        which = f"pgd {self.seed}" if restart == 0 else f"pgd {self.seed} {restart}"
        told = which.encode() + b"\0" + image.detach().cpu().contiguous().numpy().tobytes()
        seed = int.from_bytes(hashlib.sha256(told).digest()[:7], "little")
        draw = torch.Generator().manual_seed(seed)
        if self.norm == "linf":
            return (2 * torch.rand(image.shape, generator=draw) - 1) * radius
        way = torch.randn(image.shape, generator=draw)
        length: Tensor = torch.linalg.vector_norm(way)
        return way / length * radius * torch.rand((), generator=draw)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return length[:, None, None, None]


def _unit(x: Tensor) -> Tensor:
    return x / _length(x).clamp(min=1e-12)
