"""MemNet: memory blocks that gate everything they and their forerunners computed (Tai et al. 2017).

As Salman et al. 2020 trained and published it: 3 blocks of 6 residual units of 64 channels; unlike in the first
paper, section 3, the units of a block do not share weights, and the image is reconstructed from the last block
alone. Layers are named as in the published checkpoints, so their state dicts are read as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.noise_blind import BlindDenoiser, fill

_PART = re.compile(r"^((?:.*\.)?)(?:feature_extractor|dense_memory|reconstructor)\.")


class _Conv(nn.Module):
    """normalisation–ReLU–convolution without bias."""

    def __init__(self, into: int, out: int, side: int = 3) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(into)
        self.conv = nn.Conv2d(into, out, side, padding=side // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.bn(x).relu_().to(self.conv.weight.dtype))
        return out


class _Unit(nn.Module):
    """x + conv(conv(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu_conv1 = _Conv(channels, channels)
        self.relu_conv2 = _Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.relu_conv2(self.relu_conv1(x))
        return out


class _Memory(nn.Module):
    """Residual units in a row; a 1×1 gate weighs the output of each, and the `earlier` long-term memories."""

    def __init__(self, channels: int, units: int, earlier: int) -> None:
        super().__init__()
        self.recursive_unit = nn.ModuleList(_Unit(channels) for _ in range(units))
        self.gate_unit = _Conv((units + earlier) * channels, channels, 1)

    def forward(self, x: Tensor, long: list[Tensor]) -> Tensor:
        short = []
        for unit in self.recursive_unit:
            x = unit(x)
            short.append(x)
        gated: Tensor = self.gate_unit(torch.cat((*short, *long), 1))
        return gated


class MemNet(nn.Module):
    """x (N,3,H,W) → x̂0 (N,3,H,W), float32, any sides; a pixel sees the (4·blocks·units + 5)² about it."""

    def __init__(self, channels: int = 64, blocks: int = 3, units: int = 6) -> None:
        super().__init__()
        self.channels, self.blocks, self.units = channels, blocks, units
        self.feature_extractor = _Conv(3, channels)
        self.reconstructor = _Conv(channels, 3)
        self.dense_memory = nn.ModuleList(_Memory(channels, units, k + 1) for k in range(blocks))
        nn.init.zeros_(self.reconstructor.conv.weight)  # the identity at first

    def forward(self, x: Tensor) -> Tensor:
        memories = [self.feature_extractor(x)]
        for block in self.dense_memory:
            memories.append(block(memories[-1], memories))
        out: Tensor = x + self.reconstructor(memories[-1]).float()
        return out


def build(
    card: DenoiserCard,
    architecture: dict[str, Any],
    weights: Mapping[str, Tensor],
    *,
    device: str,
    compute: str,
) -> BlindDenoiser:
    """The denoiser of a weights file. Raises WeightsError where the weights do not fit the architecture."""
    net = MemNet(architecture["channels"], architecture["blocks"], architecture["units"])
    return BlindDenoiser(fill(net, card, weights), card, device=device, compute=compute)


def stem(names: Iterable[str]) -> str | None:
    """What the names of a published MemNet's layers begin with; None where it is none."""
    found = [match[1] for name in names if (match := _PART.match(name))]
    return max(set(found), key=found.count) if found else None


def published(state: Mapping[str, Tensor], head: str) -> MemNet:
    """The MemNet of a published state dict whose names begin with `head`; its size is read off the names.

    Raises ValueError, naming the first key that does not fit.
    """
    first = f"{head}feature_extractor.conv.weight"
    if first not in state:
        raise ValueError(f"{first} is missing")
    blocks = _count(state, f"{head}dense_memory.")
    units = _count(state, f"{head}dense_memory.0.recursive_unit.")
    with torch.device("meta"):  # shapes only: nothing is allocated before they are known to be the file's
        net = MemNet(state[first].shape[:1].numel(), blocks, units)
    wanted = net.state_dict()
    for name in state:
        if not name.startswith(head) or name.removeprefix(head) not in wanted:
            raise ValueError(f"{name} is no key of a MemNet")
    for name, value in wanted.items():
        if name.endswith(".num_batches_tracked"):  # a count of training steps; older files lack it
            continue
        if head + name not in state:
            raise ValueError(f"{head}{name} is missing")
        if state[head + name].shape != value.shape:
            shapes = f"{tuple(state[head + name].shape)}, not {tuple(value.shape)}"
            raise ValueError(f"{head}{name} has shape {shapes}")
    weights = {name.removeprefix(head): value.float() for name, value in state.items()}
    steps = {name: torch.tensor(0.0) for name in wanted if name.endswith(".num_batches_tracked")}
    net.load_state_dict(steps | weights, assign=True)
    return net


def _count(state: Mapping[str, Tensor], head: str) -> int:
    numbers = {name.removeprefix(head).split(".", 1)[0] for name in state if name.startswith(head)}
    return len(numbers)
