"""What an attack that knows the defence is given: the defended scores, and a gradient through or past the defence."""

from __future__ import annotations

import math

import torch
from toy_defences import Darker, Toy, smoother, tensor

from api_smoothing.defences import Denoised, load
from api_smoothing.defences.adaptive import StraightThrough, defended, mean_scores, module_of


def slope(model: object, x: torch.Tensor) -> torch.Tensor:
    free = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(free)[:, 0].sum(), free)  # type: ignore[operator]
    return found


def test_nothing_leaves_scores_and_gradients() -> None:
    """Up to a constant a row, which no attack sees."""
    net, x = Toy(), tensor()
    torch.testing.assert_close(defended(net, load("none"))(x), net(x).log_softmax(1))


def test_what_has_no_gradient_is_passed_straight_through() -> None:
    """The scores are those of purified images, the gradient that of the classifier there."""
    net, x, defence = Toy(), tensor(), Darker(by=30)
    assert isinstance(module_of(defence), StraightThrough)
    torch.testing.assert_close(
        defended(net, defence)(x), net(defence.purify(x, 0)).log_softmax(1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(slope(defended(net, defence), x), slope(defended(net, load("none")), x))


def test_a_straight_way_draws_anew() -> None:
    """Each call has a seed of its own, from torch's generator: the same again from the same state."""
    module = StraightThrough(Denoised(name="x", denoiser=smoother(), sigma=0.3))
    torch.manual_seed(0)
    first, second = module(tensor()), module(tensor())
    torch.manual_seed(0)
    assert torch.equal(module(tensor()), first)
    assert not torch.equal(first, second)


def test_a_denoiser_has_its_own_gradient() -> None:
    """That of the mean of 3×3 pixels spreads what straight through stays in place."""
    net = Toy()
    through = slope(defended(net, Denoised(name="x", denoiser=smoother(), sigma=0.05)), tensor(1))
    past = slope(defended(net, load("none")), tensor(1))
    assert through[0, 0, 3, 3].abs() < 0.9 * past[0, 0, 3, 3].abs()


def test_votes_are_mean_probabilities() -> None:
    """Of two copies with probabilities p and q of a class, (p + q)/2."""
    scores = torch.tensor([[0.2, 0.8], [0.6, 0.4]]).log()
    found = mean_scores(lambda x: scores, torch.zeros(1, 2, 3, 4, 4))
    torch.testing.assert_close(found, torch.tensor([[math.log(0.4), math.log(0.6)]]))
