"""What half precision of the shipped weights costs: votes behind them, and behind float32 weights that round to them.

Every shipped file is float16 already, and the float32 weights it was rounded from are gone. In their place stand
weights drawn within half a unit in the last place, which round to the same file:
`python benchmarks/half_precision.py --data DIR`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers import registry
from api_smoothing.training.held_out import HeldOut, cifar10
from api_smoothing.training.loop import generator
from api_smoothing.training.objectives import on_grid
from api_smoothing.training.surrogates import load_surrogate


def unrounded(value: Tensor, draw: torch.Generator) -> Tensor:
    """Float32 numbers that float16 rounds to `value`, drawn evenly; what is not a float16 number stays."""
    half = value.half()
    unit = torch.from_numpy(np.spacing(half.abs().numpy()).astype(np.float32))
    drawn = value + unit * (torch.rand(value.shape, generator=draw) - 0.5)
    return torch.where((drawn.half() == half) & (half.float() == value), drawn, value)


@torch.no_grad()
def votes(net: denoisers.Denoiser, target: nn.Module, held: HeldOut, sigma: float, count: int) -> Tensor:
    """(images, count) labels of `target` behind `net`, the noise a function of the image alone."""
    found = []
    for row in range(len(held)):
        clean = held.floats(torch.tensor([row]))
        noise = torch.randn(count, *clean.shape[1:], generator=generator(0, 8, row))
        noisy = (clean + sigma * noise).mul(255).round().div(255)
        found.append(target(on_grid(net(noisy, sigma))).argmax(1))
    return torch.stack(found)


def network_of(denoiser: denoisers.Denoiser) -> nn.Module:
    """The module inside, whose weights can be changed."""
    found = getattr(denoiser, "network", None) or denoiser._net  # type: ignore[attr-defined]
    assert isinstance(found, nn.Module)
    return found


def main() -> None:
    """One line a network: votes, and how many of them and of the majorities change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="the folder that holds cifar10/")
    parser.add_argument("--images", type=int, default=40, help="from test image 500 on (default: 40)")
    parser.add_argument("--votes", type=int, default=50, help="an image (default: 50)")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument(
        "names", nargs="*", help="default: every bundled denoiser, and the classifier cifar10"
    )
    a = parser.parse_args()
    held = cifar10(a.data / "cifar10")
    held = HeldOut(
        name=held.name, images=held.images[: a.images], labels=held.labels[: a.images], questions={}
    )
    for name in a.names or [*sorted(registry.PINNED), "cifar10"]:
        denoiser = denoisers.load("unet-cifar10" if name == "cifar10" else name, dtype="fp32")
        target = load_surrogate("cifar10", [])
        stored = votes(denoiser, target, held, a.sigma, a.votes)
        changed, draw = target if name == "cifar10" else network_of(denoiser), generator(0, 9)
        changed.load_state_dict({k: unrounded(v, draw) for k, v in changed.state_dict().items()})
        other = votes(denoiser, target, held, a.sigma, a.votes)
        differ = int((stored != other).sum())
        majorities = int((stored.mode(1).values != other.mode(1).values).sum())
        print(
            f"{name}: {differ} of {stored.numel()} votes differ, {majorities} of {len(held)} majorities",
            flush=True,
        )


if __name__ == "__main__":
    main()
