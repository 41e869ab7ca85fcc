"""Losses of attacks: larger where the classifier is more wrong, and the mean of a random model as it votes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from api_smoothing.attacks.losses import cross_entropy, expected, margin, towards

SCORES = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 2.5], [1.0, 1.0, 5.0]])
LABELS = torch.tensor([0, 2, 2])


def test_the_margin_is_above_0_exactly_where_the_answer_is_another() -> None:
    """And it is the difference of two scores, for each image on its own."""
    found = margin(SCORES, LABELS)
    assert torch.equal(found, torch.tensor([-1.0, 0.5, -4.0]))
    assert torch.equal(found > 0, SCORES.argmax(1) != LABELS)


def test_the_margin_slopes_where_the_cross_entropy_does_not() -> None:
    """A classifier that is sure of itself gives a cross-entropy without gradient in float32."""
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    (flat,) = torch.autograd.grad(cross_entropy(sure, label).sum(), sure)
    (steep,) = torch.autograd.grad(margin(sure, label).sum(), sure)
    assert float(flat.abs().max()) == 0
    assert torch.equal(steep, torch.tensor([[-1.0, 1.0]]))


def test_towards_raises_what_the_cross_entropy_lowers() -> None:
    """An attack on the absence of a label."""
    assert torch.equal(towards(SCORES, LABELS), -cross_entropy(SCORES, LABELS))


def test_the_expectation_is_of_probabilities() -> None:
    """Of draws 0.9 and 0.1 the mean is a half; of one draw the scores are as they are."""
    draws = iter([torch.tensor([[math.log(0.9), math.log(0.1)], [math.log(0.1), math.log(0.9)]])])

    def model(x: Tensor) -> Tensor:
        return next(draws)

    found = expected(model, torch.zeros(1, 3, 2, 2), 2)
    assert found.exp().tolist() == [pytest.approx([0.5, 0.5])]
    assert torch.equal(expected(lambda x: SCORES, torch.zeros(3, 3, 2, 2), 1), SCORES)


def test_each_image_has_its_own_draws() -> None:
    """Draws of one image are not averaged into another."""

    def model(x: Tensor) -> Tensor:
        value = x.mean((1, 2, 3))
        return torch.stack((value, -value), 1)

    images = torch.stack([torch.full((3, 2, 2), 0.2), torch.full((3, 2, 2), 0.9)])
    assert torch.allclose(expected(model, images, 5), model(images).log_softmax(1))
