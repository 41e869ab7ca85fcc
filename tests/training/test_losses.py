"""What a denoiser is asked for besides the pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import ImageSet
from api_smoothing.training.loop import Order, generator
from api_smoothing.training.losses import (
    Shown,
    apart,
    fixed_targets,
    noisy_batch,
    own_targets,
    reduced,
    surrogate_loss,
    told_targets,
    trained_in,
    true_targets,
)
from api_smoothing.training.objectives import SigmaRange


class Brightest(nn.Module):
    """Logits: the mean of each colour, times a scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.scale


class Pass(nn.Module):
    """A denoiser to be: x plus a learnt colour."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.colour[:, None, None]


def phase(**changes: Any) -> dict[str, Any]:
    """Settings of a phase against two surrogates."""
    settings: dict[str, Any] = {
        "objective": "classification",
        "batch": 4,
        "mse_weight": 0.0,
        "jitter": 0,
        "groups": 2,
        "surrogates": ["a", "b"],
        "turn": ["a", "b"],
        "sigma": {"low": 0.1, "high": 0.1},
    }
    return settings | changes


def test_the_target_is_the_true_label_or_the_surrogates_own() -> None:
    """Classification asks for the data's labels, stability for what the surrogate says of the clean image."""
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    images[..., 1] = 200  # green
    data = ImageSet(images=images, labels=torch.full((4,), 2), name="green")
    nets, net = [Brightest(5.0), Brightest(50.0)], Pass()
    order, rows = Order(4, 4, seed=0), torch.arange(4)
    clean = data.floats(rows)
    shown = Shown(rows=rows, clean=clean)
    assert own_targets(nets)(1, shown).tolist() == [1] * 4
    assert true_targets(data, 2)(1, shown).tolist() == [2] * 4
    assert fixed_targets(torch.tensor([[0] * 4, [1] * 4]))(0, shown).tolist() == [0] * 4
    with pytest.raises(ConfigurationError, match="for a recogniser"):
        told_targets(0, shown)
    for targets, wanted in ((own_targets(nets), 1), (true_targets(data, 2), 2)):
        net.colour.grad = None
        value, figures = surrogate_loss(net, data, order, phase(), nets, targets)(0, generator(0))
        value.backward()  # type: ignore[no-untyped-call]
        assert net.colour.grad is not None
        assert int(net.colour.grad.argmin()) == wanted  # a step against the gradient raises that colour most
        assert figures["kept"] == (1.0 if wanted == 1 else 0.0)
    unlabelled = ImageSet(images=images, labels=None, name="green")
    with pytest.raises(ConfigurationError, match="no labels"):
        true_targets(unlabelled, 2)


@pytest.mark.parametrize(("has", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_processor_without_bfloat16_trains_in_float32(
    monkeypatch: pytest.MonkeyPatch, has: str, dtype: torch.dtype
) -> None:
    """It would only imitate it, many times slower; a GPU has it."""
    monkeypatch.setattr("api_smoothing.training.losses.compute_type", lambda device, wanted: has)
    x = torch.rand(1, 3, 8, 8)
    with reduced(x):
        assert nn.functional.conv2d(x, torch.rand(2, 3, 3, 3)).dtype == dtype
    assert trained_in("cpu") == has
    assert trained_in("cuda:0") == "bf16"


def test_copies_of_an_image_differ_in_nothing_but_their_noise() -> None:
    """Two consecutive rows have the same picture, mirrored or not, and the same σ; a surrogate sees both together."""
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=generator(1))
    data, sigmas = ImageSet(images=images, labels=None, name="x"), SigmaRange(low=0.05, high=1.0)
    clean, noisy, sigma = noisy_batch(data, torch.tensor([0, 0, 3, 3]), sigmas, generator(2), "cpu", 2)
    assert torch.equal(clean[::2], clean[1::2])
    assert torch.equal(sigma[::2], sigma[1::2])
    assert sigma[0] != sigma[2]
    assert not torch.equal(noisy[::2], noisy[1::2])
    seen: list[int] = []

    class Watching(Brightest):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    two = phase(objective="stability", copies=2, consistency=1.0, groups=3)
    nets = [Watching(1.0), Watching(1.0)]
    loss = surrogate_loss(Pass(), data, Order(4, 4, 0), two, nets, fixed_targets(torch.zeros(2, 4).long()))
    figures = loss(0, generator(3))[1]
    assert sum(seen) == 8
    assert all(count % 2 == 0 for count in seen)
    assert figures["consistency"] > 0


def test_answers_to_the_same_image_are_pulled_together() -> None:
    """`apart` is the mean divergence from the copies' mean, computed term by term here, and 0 where all agree."""
    logits = torch.randn(6, 4, generator=generator(5)) * 3
    wanted = 0.0
    for pair in logits.softmax(1).unflatten(0, (3, 2)):
        mean = pair.mean(0)
        wanted += sum(float((mean * (mean / each).log()).sum()) for each in pair) / 6
    assert float(apart(logits, 2)) == pytest.approx(wanted, rel=1e-5)
    assert float(apart(logits[:1].expand(6, -1), 3)) == pytest.approx(0, abs=1e-6)
    free = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    apart(free, 2).backward()  # type: ignore[no-untyped-call]
    assert free.grad is not None
    nearer = free.detach() - 0.1 * free.grad
    assert apart(nearer, 2) < apart(free.detach(), 2)
