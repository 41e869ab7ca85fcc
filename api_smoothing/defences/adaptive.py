"""A classifier behind a defence, as attacks see it that know the defence."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from api_smoothing.attacks.losses import Model
from api_smoothing.attacks.victim import on_8_bits
from api_smoothing.defences.base import Defence, as_copies, purified
from api_smoothing.denoisers.gradients import straight_through


def defended(classifier: Model, defence: Defence) -> Model:
    """Images (N,3,H,W) in [0,1] → logarithms of the mean probabilities of the copies, (N, classes), with gradients.

    Those of `defence.differentiable()`, or straight through `purify` where it has none (Athalye, Carlini and Wagner
    2018). Chance is drawn from torch's generator at each call.
    """
    module = module_of(defence)

    def scores(images: Tensor) -> Tensor:
        copies = as_copies(module(images.clone()), images, defence.name)
        return mean_scores(classifier, on_8_bits(copies))

    return scores


def module_of(defence: Defence) -> nn.Module:
    """What `differentiable()` gives; a `StraightThrough` where there is no such member."""
    make = getattr(defence, "differentiable", None)
    if make is None:
        return StraightThrough(defence)
    module: nn.Module = make()
    return module


class StraightThrough(nn.Module):
    """`purify`, with a new seed at each call; backwards it is the identity."""

    def __init__(self, defence: Defence) -> None:
        super().__init__()
        self._defence = defence

    def forward(self, images: Tensor) -> Tensor:
        """(N,k,3,H,W) from images (N,3,H,W) in [0,1]."""
        seed = int(torch.randint(2**31, ()))
        value = purified(self._defence, images.detach(), seed)
        return straight_through(images[:, None].expand_as(value), value)


def mean_scores(classifier: Model, copies: Tensor) -> Tensor:
    """Logarithms of the mean probabilities, (N, classes), of copies (N,k,3,H,W)."""
    count = copies.shape[1]
    each = classifier(copies.flatten(0, 1)).log_softmax(1)
    return torch.logsumexp(each.view(-1, count, each.shape[1]), 1) - math.log(count)
