"""Optimisers of recipes: Muon's step is that of the matrix, whatever its layout, and both survive a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.optimizers import MuonAdamW, make_optimizer

PHASE: dict[str, Any] = {"optimizer": "muon", "lr": 0.02, "lr_rest": 0.001, "betas": [0.9, 0.99]}

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")


def network(layout: torch.memory_format) -> nn.Sequential:
    """Three convolutions, of which Muon trains the middle one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 3, 1))
    return net.to(memory_format=layout)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    """`steps` steps towards an arbitrary function."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.rand(2, 3, 8, 8, generator=draw)
        optimizer.zero_grad(set_to_none=True)
        (net(x) - x.flip(1)).square().mean().backward()
        optimizer.step()


@needs_muon
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_kernel_moves_as_its_matrix_does(layout: torch.memory_format) -> None:
    """One step: torch's Muon on the (out, in·k·k) matrix for the kernel inside, AdamW for the rest."""
    net, plain = network(layout), network(torch.contiguous_format)
    train(net, make_optimizer(net, PHASE), 1)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (plain(x) - x.flip(1)).square().mean().backward()
    ours, theirs = (dict(n.named_parameters()) for n in (net, plain))
    kernel = theirs.pop("1.weight")
    assert kernel.grad is not None
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    matrix.grad = kernel.grad.flatten(1)
    torch.optim.Muon([matrix], lr=0.02, weight_decay=0.0).step()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours["1.weight"], matrix.view_as(kernel), atol=3e-4, rtol=0)  # bfloat16 inside
    assert (ours["1.weight"] - kernel).abs().max() > 3e-3
    torch.optim.AdamW(theirs.values(), lr=0.001, betas=(0.9, 0.99), weight_decay=0.0).step()
    for name, p in theirs.items():
        torch.testing.assert_close(ours[name], p, atol=1e-6, rtol=1e-4)


@needs_muon
def test_both_go_on_from_their_state() -> None:
    """Three steps, a checkpoint and three more are six steps: the states of both parts are kept."""
    whole, first, second = (network(torch.channels_last) for _ in range(3))
    optimizer = make_optimizer(whole, PHASE)
    assert isinstance(optimizer, MuonAdamW)
    train(whole, optimizer, 3, seed=1)
    train(whole, optimizer, 3, seed=2)
    before = make_optimizer(first, PHASE)
    train(first, before, 3, seed=1)
    second.load_state_dict(first.state_dict())
    after = make_optimizer(second, PHASE)
    after.load_state_dict(before.state_dict())
    train(second, after, 3, seed=2)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@needs_muon
def test_rates_are_those_of_the_groups() -> None:
    """A rate of zero stops its own group: the schedule of the loop reaches both."""
    for still in (0, 1):
        net = network(torch.channels_last)
        before = [p.detach().clone() for p in net.parameters()]
        optimizer = make_optimizer(net, PHASE)
        optimizer.param_groups[still]["lr"] = 0.0
        train(net, optimizer, 1)
        moved = {k for k, p in enumerate(net.parameters()) if not torch.equal(p, before[k])}
        kernel = 2  # weight and bias alternate
        assert moved == ({0, 1, 3, 4, 5} if still == 0 else {kernel})


@needs_muon
def test_what_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name, a rate that is missing, a torch that is too old: one line that says what to do."""
    with pytest.raises(ConfigurationError, match="adamw or muon"):
        make_optimizer(network(torch.channels_last), PHASE | {"optimizer": "sgd"})
    with pytest.raises(ConfigurationError, match="give lr_rest"):
        make_optimizer(network(torch.channels_last), {"optimizer": "muon", "lr": 0.02})
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ConfigurationError, match=r"install torch 2\.9"):
        make_optimizer(network(torch.channels_last), PHASE)
