"""`benchmarks/levers.py`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from api_smoothing.training.held_out import HeldOut


class Left(nn.Module):
    """Class 0 where the first pixel is dark, else 1."""

    def forward(self, x: Tensor) -> Tensor:
        dark = (x[:, 0, 0, 0] < 0.5).float()
        return torch.stack((dark, 1 - dark), 1)


def test_shares_are_of_the_true_class_on_common_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two equal denoisers have equal shares; the share is what the pixel and its noise say, and so are the columns."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    levers = import_module("levers")
    images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    images[1] = 128
    held = HeldOut(name="two", images=images, labels=torch.tensor([0, 0]), questions={})
    same = {"a": lambda x, sigma: x, "b": lambda x, sigma: x}
    found = levers.shares(same, {"left": Left()}, held, sigma=0.25, votes=400)
    assert torch.equal(found["a", "left"], found["b", "left"])
    dark, grey = found["a", "left"].tolist()
    assert dark == pytest.approx(0.977, abs=0.03)
    assert grey == pytest.approx(0.49, abs=0.1)
    assert levers.figures(torch.tensor([1.0, 0.9, 0.6, 0.1])) == [65.0, 75.0, 50.0, 25.0]
