"""Adversarial training (Madry et al. 2018) of a classifier that is pretrained: the baseline that is no purification."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.attacks import PGD
from api_smoothing.training.data import ImageSet
from api_smoothing.training.loop import Average, Order, Schedule, fit
from api_smoothing.training.optimizers import make_optimizer

RADIUS = 8 / 255


def train(
    net: nn.Module, images: ImageSet, folder: Path, *, steps: int, batch: int, inner: int, seed: int
) -> nn.Module:
    """A copy of `net` tuned on what PGD of `inner` steps makes of `images` in the ℓ∞ ball of 8/255.

    Goes on from `folder`. Its batch normalisations are folded into the convolutions, and stay so.
    """
    assert images.labels is not None
    labels, order = images.labels, Order(len(images), batch, seed)
    net = copy.deepcopy(net).requires_grad_(True)
    attack = PGD(norm="linf", radius=RADIUS, steps=inner, seed=seed, losses=("cross-entropy",), rounded=False)

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = order.rows(step)[1]
        clean, truth = images.augmented(rows, draw).contiguous(), labels[rows]
        scores = net(attack(clean, truth, net))
        right = float((scores.argmax(1) == truth).float().mean())
        return F.cross_entropy(scores, truth), {"right": right}

    average = Average(net, decay=0.95)
    fit(
        net,
        loss,
        make_optimizer(net, {"lr": 0.0001}),
        steps=steps,
        schedule=Schedule(start=0.1, peak=0.1, end=0.05, shape="cosine"),
        average=average,
        folder=folder,
        settings={"steps": steps, "batch": batch, "inner": inner},
        seed=seed,
        clip=1.0,
    )
    net.load_state_dict(average.state)
    return net.eval().requires_grad_(False)
