"""What an attack raises: losses (N,) of scores (N, classes), larger where the classifier is more wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

#: (scores (N, classes), classes (N,) int64) → (N,).
Loss = Callable[[Tensor, Tensor], Tensor]
#: Images (N,C,H,W) in [0,1] → scores (N, classes), logits or log-probabilities.
Model = Callable[[Tensor], Tensor]


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """−log p of the label, in nats."""
    return F.cross_entropy(scores, labels, reduction="none")


def margin(scores: Tensor, labels: Tensor) -> Tensor:
    """The best other score less the label's: above 0 exactly where the label is not the answer (Carlini, Wagner 2017).

    Its gradient does not vanish where the classifier is sure of itself, as that of the cross-entropy does.
    """
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -math.inf)
    return (others.max(1, keepdim=True).values - own)[:, 0]


def towards(scores: Tensor, labels: Tensor) -> Tensor:
    """Log p of the label: what an attack on the absence of a label raises."""
    return -cross_entropy(scores, labels)


LOSSES: Final[Mapping[str, Loss]] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "towards": towards,
}


def expected(model: Model, x: Tensor, draws: int) -> Tensor:
    """Log of the mean probabilities of `draws` calls, (N, classes): of one call the scores as they are.

    Expectation over a transformation that is drawn anew in each call (Athalye et al. 2018), of the probabilities, as
    the smoothed classifier has them, not of their logarithms (Salman et al. 2019, equation 6).
    """
    if draws == 1:
        return model(x)
    drawn = model(x.repeat_interleave(draws, 0)).log_softmax(1)
    return torch.logsumexp(drawn.view(len(x), draws, -1), 1) - math.log(draws)
