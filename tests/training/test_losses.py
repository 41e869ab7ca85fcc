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
    fixed_targets,
    own_targets,
    reduced,
    surrogate_loss,
    told_targets,
    trained_in,
    true_targets,
)


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
