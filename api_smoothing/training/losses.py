"""The losses a recipe's phases name: closeness, and the same answer from classifiers that are never the target.

`mse`, `stability` and `classification` are the three objectives of Salman et al. 2020 ("Denoised Smoothing",
section 3.1): MSE, STAB and CLF. Stability asks a surrogate to answer as it does on the clean image, classification
asks for the true label; a share of MSE can be kept with either, so that the images stay images. `told` is for a
denoiser that is told what a classifier sees (denoisers/recogniser.py): surrogates are to see the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.errors import ConfigurationError
from api_smoothing.precision import compute_type
from api_smoothing.training.loop import Loss, Order
from api_smoothing.training.networks import estimate, estimate_told
from api_smoothing.training.objectives import SigmaRange, add_noise, jitter, on_grid, weighted_mse


class Images(Protocol):
    """What a loss trains on."""

    @property
    def name(self) -> str:
        """What a card calls it."""
        ...

    def __len__(self) -> int: ...

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        ...

    def augmented(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """Clean images (n,3,H,W) float32 in [0,1] of `rows` (n,), changed at random, where `draw` is and they are."""
        ...

    def pick(self, rows: Tensor) -> Images:
        """The images of `rows`, in that order."""
        ...

    def to(self, device: str) -> Images:
        """The same, the images on `device`."""
        ...

    def centres(self, step: int) -> Tensor:
        """The middle of each image (N,H,W,3) uint8, the sides multiples of `step`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a surrogate is shown a denoised form of: `rows` (n,) and `clean` (n,3,H,W), and the `shares` told of it."""

    rows: Tensor
    clean: Tensor
    shares: Tensor | None = None


#: (number of the surrogate, what it is shown) → the labels (n,) it should answer.
Targets = Callable[[int, Shown], Tensor]


def reduced(x: Tensor) -> torch.autocast:
    """Convolutions in bfloat16, where `x` is; in float32 on a CPU that could only imitate it, many times slower."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=trained_in(x.device.type) == "bf16")


def trained_in(device: str) -> str:
    """What a step on `device` computes in: "bf16", or "fp32" on a CPU without such arithmetic."""
    return compute_type("cpu", "auto") if torch.device(device).type == "cpu" else "bf16"


def noisy_batch(
    data: Images, rows: Tensor, sigmas: SigmaRange, draw: torch.Generator, device: str, copies: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """(clean, noisy, σ) of one step on `device`, drawn where `draw` is: there a seed means the same.

    Each `copies` consecutive rows are one image: changed in the same way and under the same σ, each with its own noise.
    """
    clean = data.augmented(rows[::copies], draw).repeat_interleave(copies, 0)
    clean = clean.contiguous(memory_format=torch.channels_last)
    sigma = sigmas.draw(len(rows) // copies, draw).repeat_interleave(copies)
    noisy = add_noise(clean, sigma, draw)
    return clean.to(device), noisy.to(device), sigma.to(device)


def mse_loss(net: nn.Module, data: Images, order: Order, phase: dict[str, Any], device: str = "cpu") -> Loss:
    """Closeness to the clean image, every σ weighing the same."""
    sigmas = SigmaRange(**phase["sigma"])

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        clean, noisy, sigma = noisy_batch(data, order.rows(step)[1], sigmas, draw, device)
        with reduced(noisy):
            out = estimate(net, noisy, sigma)
        return weighted_mse(out, clean, sigma), {}

    return loss


def surrogate_loss(
    net: nn.Module,
    data: Images,
    order: Order,
    phase: dict[str, Any],
    surrogates: Sequence[nn.Module],
    targets: Targets,
    device: str = "cpu",
) -> Loss:
    """Cross-entropy of the surrogates' answers on the denoised images to `targets`, plus `mse_weight` times MSE.

    A batch is split into `groups`, each shown to the next surrogate of `turn`. Logits are divided by `temperature`:
    above 1 the images that a surrogate is sure and wrong about weigh less. Of each image the surrogate sees `copies`
    under noise of their own; `consistency` weighs how far the answers to them lie apart (`apart`).
    """
    sigmas, weight, border = SigmaRange(**phase["sigma"]), float(phase["mse_weight"]), int(phase["jitter"])
    turn = [phase["surrogates"].index(name) for name in phase["turn"]]
    groups, temperature = int(phase["groups"]), float(phase.get("temperature", 1.0))
    copies, steady = int(phase.get("copies", 1)), float(phase.get("consistency", 0.0))

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = order.rows(step)[1].repeat_interleave(copies)
        clean, noisy, sigma = noisy_batch(data, rows, sigmas, draw, device, copies)
        with reduced(noisy):
            out, shares = estimate_told(net, noisy, sigma)
        seen, before = jitter(torch.cat((on_grid(out), clean)), border, draw).chunk(2)
        stable, unsteady, kept = out.new_zeros(()), out.new_zeros(()), 0.0
        for k, firsts in enumerate(torch.arange(0, len(rows), copies).chunk(groups)):
            part = (firsts[:, None] + torch.arange(copies)).flatten()
            who = turn[(step * groups + k) % len(turn)]
            told = None if shares is None else shares[part]
            target = targets(who, Shown(rows=rows[part], clean=before[part], shares=told))
            with reduced(seen):
                logits = surrogates[who](seen[part]).float() / temperature
            stable = stable + F.cross_entropy(logits, target, reduction="sum") / len(rows)
            if steady:
                unsteady = unsteady + apart(logits, copies) * (len(part) / len(rows))
            kept += float((logits.argmax(1) == target).sum()) / len(rows)
        close = weighted_mse(out, clean, sigma)
        return stable + steady * unsteady + weight * close, {
            "mse": float(close.detach()),
            phase["objective"]: float(stable.detach()),
            **({"consistency": float(unsteady.detach())} if steady else {}),
            "kept": kept,
        }

    return loss


def apart(logits: Tensor, copies: int) -> Tensor:
    """How far the answers to each `copies` consecutive rows of logits (n·copies,classes) lie apart, averaged.

    The mean KL divergence from their mean to each (Jeong & Shin 2020, "Consistency regularization for certified
    robustness of smoothed classifiers", eq. 8, without the entropy): what concentrates votes on one class.
    """
    answers = F.log_softmax(logits.view(-1, copies, logits.shape[1]), -1)
    mean = answers.logsumexp(1, keepdim=True) - math.log(copies)
    return (mean.exp() * (mean - answers)).sum(-1).mean()


def fixed_targets(labels: Tensor, device: str = "cpu") -> Targets:
    """Labels known beforehand: (surrogates, N) int64, one row each."""
    return lambda who, shown: labels[who, shown.rows].to(device)


def own_targets(surrogates: Sequence[nn.Module]) -> Targets:
    """What the surrogate itself says of the very crop, undistorted."""

    @torch.no_grad()
    def targets(who: int, shown: Shown) -> Tensor:
        with reduced(shown.clean):
            labels: Tensor = surrogates[who](shown.clean).argmax(1)
        return labels

    return targets


def true_targets(data: Images, surrogates: int, device: str = "cpu") -> Targets:
    """The labels of a labelled set, for every surrogate. Raises ConfigurationError where there are none."""
    labels = getattr(data, "labels", None)
    if labels is None:
        raise ConfigurationError(f"{data.name} has no labels; the objective classification needs them")
    return fixed_targets(labels.expand(surrogates, -1), device)


def told_targets(_: int, shown: Shown) -> Tensor:
    """The likeliest of the classes a recogniser was told: every classifier is to say what the reader said.

    Not the true label: where the reader errs, that would ask for the opposite of what is told, and undo the rest. Nor
    the shares themselves: a classifier surer than the reader is no fault of the picture.
    """
    if shown.shares is None:
        raise ConfigurationError("the objective told is for a recogniser; name stability or classification")
    return shown.shares.argmax(1)
