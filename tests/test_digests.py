"""What tells functions and modules apart at work: whatever decides an answer and can be seen."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from api_smoothing.digests import sha256_of, state_of, weights_of

SCALE = 1.0


class Net(nn.Module):
    """Weights, a buffer that is not saved, and settings of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2))
        self.register_buffer("mean", torch.zeros(2), persistent=False)
        self.temperature, self.names, self.table = 1.0, ["a", "b"], np.arange(2000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - self.mean) * self.temperature * SCALE


class Wrapper:
    """An object that is called, counts its calls, and holds a net and an array."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.offset, self.calls = net, np.zeros(3), 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return self.net(x)


def set_scale(value: float) -> None:
    global SCALE
    SCALE = value


CHANGES = {
    "weights": lambda net: net.inner[0].weight.data.add_(1e-6),
    "through NumPy": lambda net: np.copyto(net.inner[0].bias.data.numpy(), 7.0),
    "buffer": lambda net: net.mean.add_(1),
    "number": lambda net: setattr(net, "temperature", 2.0),
    "list": lambda net: net.names.reverse(),
    "middle of an array": lambda net: net.table.__setitem__(1000, 0),
    "global of forward": lambda net: set_scale(2.0),
    "layer": lambda net: net.inner.append(nn.ReLU()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["module", "closure", "method", "partial"])
def test_whatever_decides_an_answer_is_part_of_the_state(change: str, kind: str) -> None:
    """A change of anything in sight is another state, and undoing nothing leaves it as it was."""
    set_scale(1.0)
    net = Net()
    thing: Any = {
        "module": net,
        "closure": lambda x: [net(row) for row in x],
        "method": net.forward,
        "partial": partial(lambda model, x: model(x), net),
    }[kind]
    before = state_of(thing)
    net(torch.zeros(1, 2))
    net.train(not net.training)
    assert state_of(thing) == before
    CHANGES[change](net)
    assert state_of(thing) != before
    set_scale(1.0)


def test_of_objects_the_weights_and_arrays_count_and_counters_do_not() -> None:
    """An object that counts its calls stays the same function; one with other weights does not."""
    thing = Wrapper(Net())
    before = state_of(thing)
    thing(torch.zeros(1, 2))
    assert state_of(thing) == before
    thing.offset[1] = 1
    changed = state_of(thing)
    thing.net.inner[0].bias.data.zero_()
    assert len({before, changed, state_of(thing)}) == 3


def test_two_functions_are_told_apart_by_their_code() -> None:
    """Also where they hold nothing."""
    assert state_of(lambda x: x) != state_of(lambda x: x * 0)
    assert state_of(lambda x: x + 1) != state_of(lambda x: x + 2)


def test_what_refers_to_itself_has_a_state() -> None:
    """A circle ends."""
    holder = Wrapper(Net())
    holder.net.parent = [holder]
    assert state_of(holder) == state_of(holder)


def test_weights_are_those_of_every_module_in_sight() -> None:
    """Of a module by its names, buffers that are not saved included; of a function those it uses."""
    net = Net()
    assert set(weights_of(net)) == {"inner.0.weight", "inner.0.bias", "mean"}
    assert {id(value) for value in weights_of(lambda x: net(x)).values()} == set(
        map(id, weights_of(net).values())
    )
    assert weights_of(lambda x: x) == {}
    assert sha256_of(weights_of(net)) != sha256_of(weights_of(Net()))
