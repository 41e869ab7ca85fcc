"""What concentrates votes: denoisers side by side before several classifiers, on the same noise.

    python benchmarks/levers.py --data DIR [--nets DIR] [--images 100] [--sigma 0.25] [--votes 50]
        [--targets resnet56,cifar10] DENOISER…

Of every image the share of votes for its true class: its mean over the images, and how many images have more than a
half, 84.1 % and 97.7 % of them, what radii of 0, σ and 2σ ask for if the votes went on for ever. A DENOISER is a name
or a file that training wrote; targets are looked for in --nets and in DIR/weights. The images are those for choosing
between variants, CIFAR-10's test images from 500 on; nothing is certified here.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.training.held_out import HeldOut, cifar10
from api_smoothing.training.loop import generator
from api_smoothing.training.objectives import on_grid
from api_smoothing.training.surrogates import load_surrogate

RADII = (0, 1, 2)  # in units of σ


@torch.no_grad()
def shares(
    made: Mapping[str, denoisers.Denoiser],
    targets: Mapping[str, nn.Module],
    held: HeldOut,
    *,
    sigma: float,
    votes: int,
) -> dict[tuple[str, str], Tensor]:
    """{(denoiser, target): (images,) share of the votes for the true class}, the noise a function of the image."""
    found: dict[tuple[str, str], list[float]] = {(d, t): [] for d in made for t in targets}
    for row in range(len(held)):
        clean = held.floats(torch.tensor([row]))
        noise = torch.randn(votes, *clean.shape[1:], generator=generator(0, 8, row))
        noisy = (
            (clean + sigma * noise).mul(255).round().div(255).contiguous(memory_format=torch.channels_last)
        )
        for name, denoiser in made.items():
            seen = on_grid(denoiser(noisy, sigma))
            for target, net in targets.items():
                right = net(seen).argmax(1) == held.labels[row]
                found[name, target].append(float(right.float().mean()))
    return {key: torch.tensor(each) for key, each in found.items()}


def figures(found: Tensor) -> list[float]:
    """[mean share, then of images the shares above what each radius asks for], in per cent."""
    above = [float((found > NormalDist().cdf(radius)).float().mean()) for radius in RADII]
    return [round(100 * value, 1) for value in (float(found.mean()), *above)]


def main() -> None:
    """One row a denoiser and target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, type=Path, help="the folder that holds cifar10/ and weights/"
    )
    parser.add_argument("--nets", type=Path, default=Path(), help="classifiers that training wrote")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--votes", type=int, default=50)
    parser.add_argument("--targets", default="resnet56,cifar10")
    parser.add_argument("names", nargs="+", metavar="DENOISER")
    a = parser.parse_args()
    whole = cifar10(a.data / "cifar10")
    held = HeldOut(
        name=whole.name, images=whole.images[: a.images], labels=whole.labels[: a.images], questions={}
    )
    targets = {name: load_surrogate(name, [a.nets, a.data / "weights"]) for name in a.targets.split(",")}
    made = {Path(name).stem: denoisers.load(name) for name in a.names}
    print(f"{'denoiser':<24} {'target':<16}  votes  > 50 %  > 84.1 %  > 97.7 %   of {len(held)} images")
    for (name, target), each in shares(made, targets, held, sigma=a.sigma, votes=a.votes).items():
        mean, *above = figures(each)
        print(f"{name:<24} {target:<16} {mean:6.1f} {above[0]:7.1f} {above[1]:9.1f} {above[2]:9.1f}")


if __name__ == "__main__":
    main()
