"""The losses a recipe's phases name: closeness, and the same answer from classifiers that are never the target.

`mse`, `stability` and `classification` are the three objectives of Salman et al. 2020 ("Denoised Smoothing",
section 3.1): MSE, STAB and CLF. Stability asks a surrogate to answer as it does on the clean image, classification
asks for the true label; a share of MSE can be kept with either, so that the images stay images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.loop import Loss, Order
from api_smoothing.training.networks import estimate
from api_smoothing.training.objectives import SigmaRange, add_noise, jitter, on_grid, weighted_mse


class Images(Protocol):
    """What a loss trains on."""

    @property
    def name(self) -> str:
        """What a card calls it."""
        ...

    def __len__(self) -> int: ...

    def augmented(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """Clean images (n,3,H,W) float32 in [0,1] of `rows` (n,), changed at random."""
        ...


#: (number of the surrogate, rows (n,), clean images (n,3,H,W)) → the labels (n,) it should give.
Targets = Callable[[int, Tensor, Tensor], Tensor]


def reduced(x: Tensor) -> torch.autocast:
    """Convolutions in bfloat16, on the device `x` is on."""
    return torch.autocast(x.device.type, torch.bfloat16)


def noisy_batch(
    data: Images, rows: Tensor, sigmas: SigmaRange, draw: torch.Generator, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """(clean, noisy, σ) of one step, drawn on the CPU whatever the device, so that a seed means the same on all."""
    clean = data.augmented(rows, draw).contiguous(memory_format=torch.channels_last)
    sigma = sigmas.draw(len(rows), draw)
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

    A batch is split into `groups`, each shown to the next surrogate of `turn`.
    """
    sigmas, weight, border = SigmaRange(**phase["sigma"]), float(phase["mse_weight"]), int(phase["jitter"])
    turn = [phase["surrogates"].index(name) for name in phase["turn"]]
    groups = int(phase["groups"])

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = order.rows(step)[1]
        clean, noisy, sigma = noisy_batch(data, rows, sigmas, draw, device)
        with reduced(noisy):
            out = estimate(net, noisy, sigma)
        seen, before = jitter(torch.cat((on_grid(out), clean)), border, draw).chunk(2)
        stable, kept = out.new_zeros(()), 0.0
        parts = zip(seen.chunk(groups), before.chunk(groups), rows.chunk(groups), strict=True)
        for k, (part, plain, chosen) in enumerate(parts):
            who = turn[(step * groups + k) % len(turn)]
            target = targets(who, chosen, plain)
            with reduced(part):
                logits = surrogates[who](part).float()
            stable = stable + F.cross_entropy(logits, target, reduction="sum") / len(rows)
            kept += float((logits.argmax(1) == target).sum()) / len(rows)
        close = weighted_mse(out, clean, sigma)
        return stable + weight * close, {
            "mse": float(close.detach()),
            phase["objective"]: float(stable.detach()),
            "kept": kept,
        }

    return loss


def fixed_targets(labels: Tensor, device: str = "cpu") -> Targets:
    """Labels known beforehand: (surrogates, N) int64, one row each."""
    return lambda who, rows, _: labels[who, rows].to(device)


def own_targets(surrogates: Sequence[nn.Module]) -> Targets:
    """What the surrogate itself says of the very crop, undistorted."""

    @torch.no_grad()
    def targets(who: int, _: Tensor, clean: Tensor) -> Tensor:
        with reduced(clean):
            labels: Tensor = surrogates[who](clean).argmax(1)
        return labels

    return targets


def true_targets(data: Images, surrogates: int, device: str = "cpu") -> Targets:
    """The labels of a labelled set, for every surrogate. Raises ConfigurationError where there are none."""
    labels = getattr(data, "labels", None)
    if labels is None:
        raise ConfigurationError(f"{data.name} has no labels; the objective classification needs them")
    return fixed_targets(labels.expand(surrogates, -1), device)
