"""`benchmarks/half_precision.py`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch


def test_what_is_drawn_rounds_to_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a weight; nearly all of them move."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    unrounded = import_module("half_precision").unrounded
    draw = torch.Generator().manual_seed(0)
    scale = torch.logspace(-7, 3, 5000)
    stored = (torch.randn(5000, generator=draw) * scale).half().float()
    stored[:3] = torch.tensor([1.0, -0.5, 0.0])  # where the spacing changes
    found = unrounded(stored, draw)
    assert torch.equal(found.half().float(), stored)
    assert float((found != stored).float().mean()) > 0.9
    odd = torch.tensor([0.1])
    assert torch.equal(unrounded(odd, draw), odd)
