"""Images a second of the U-Net beside DnCNN's, at 32×32 and at 224×224, in one process.

    python benchmarks/denoiser_speed.py [--rounds 7] [--threads 2] [--dtype auto]

The networks take turns; each round gives a ratio to DnCNN 17/64 at the same size, and the median of the ratios is
the result. Only unet-cifar10 has trained weights: speed does not depend on them, so the others have random ones.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from api_smoothing.denoisers import Denoiser, DenoiserCard, load
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.noise_blind import BlindDenoiser
from api_smoothing.denoisers.unet import UNet, UNetDenoiser
from api_smoothing.precision import compute_type

SIGMA = 0.25


def card(name: str) -> DenoiserCard:
    return DenoiserCard(id=name, sha256="0" * 64, sigma_range=(SIGMA, SIGMA))


def randomise(net: nn.Module) -> None:
    """Weights that keep the signal's scale: zeros and subnormal numbers would run at other speeds."""
    for p in net.parameters():
        nn.init.kaiming_normal_(p, nonlinearity="relu") if p.ndim == 4 else nn.init.constant_(p, 0.01)


def dncnn(channels: int, compute: str) -> Denoiser:
    net = DnCNN(channels, 17, norm=False)
    randomise(net)
    return BlindDenoiser(net, card(f"DnCNN 17/{channels}"), compute=compute)


def unet(channels: tuple[int, ...], blocks: tuple[int, ...], compute: str) -> Denoiser:
    net = UNet(channels, blocks)
    randomise(net)
    name = f"U-Net {'/'.join(map(str, channels))}, blocks {'/'.join(map(str, blocks))}"
    return UNetDenoiser(net, card(name), compute=compute)


def seconds(denoiser: Denoiser, x: torch.Tensor) -> float:
    began = time.perf_counter()
    denoiser(x, SIGMA)
    return time.perf_counter() - began


def compare(denoisers: list[Denoiser], *, side: int, batch: int, rounds: int) -> None:
    """Prints a line for each; the first is what the others are measured by."""
    x = torch.rand(batch, 3, side, side)
    for denoiser in denoisers:
        seconds(denoiser, x)
    times = [[seconds(denoiser, x) for denoiser in denoisers] for _ in range(rounds)]
    for k, denoiser in enumerate(denoisers):
        ratio = statistics.median(row[0] / row[k] for row in times)
        rate = batch / statistics.median(row[k] for row in times)
        print(
            f"{side}×{side}  {denoiser.card.id:<32} {rate:9.1f} images/s   {ratio:6.2f} times DnCNN 17/64",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="auto", help="auto, fp32 or bf16")
    parser.add_argument(
        "--batch", type=int, nargs=2, default=(64, 8), help="images a call, at 32 and at 224 pixels"
    )
    parser.add_argument("--channels", default="64,128,256,256", help="of the U-Net at 224 pixels")
    parser.add_argument("--blocks", default="1,1,1,1", help="of the same")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    compute = compute_type("cpu", args.dtype)
    print(
        f"{compute}, {args.threads} threads, batches of {args.batch[0]} and {args.batch[1]}, {args.rounds} rounds"
    )
    small = [dncnn(64, compute), dncnn(128, compute), load("unet-cifar10", dtype=compute)]
    compare(small, side=32, batch=args.batch[0], rounds=args.rounds)
    channels, blocks = (tuple(map(int, text.split(","))) for text in (args.channels, args.blocks))
    large = unet(channels, blocks, compute)
    compare([dncnn(64, compute), large], side=224, batch=args.batch[1], rounds=args.rounds)


if __name__ == "__main__":
    main()
