"""Throughput of `certify` against the bare forward passes of the same denoiser and classifier, in one process.

    python benchmarks/throughput.py [--n 10000] [--rounds 5]

Bare: the denoiser, rounding to 8 bits and the classifier on noisy images that lie ready in memory, in the
batch size (of several tried) that is fastest for it. Certify: the whole way from the image, with noise, votes,
disk cache and bound. The two alternate; the median of the ratios is the result.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from skimage import data

from api_smoothing import SmoothedAPI, images
from api_smoothing.adapters import load as load_adapter
from api_smoothing.denoisers import load
from api_smoothing.denoisers.selection import choose
from api_smoothing.noise import to_float


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sigma", type=float, default=0.25)
    args = parser.parse_args()
    picture = data.chelsea()
    denoiser = load(choose(side=32, sigma=args.sigma))
    classifier = load_adapter("torchvision", model="cifar10")._module  # the bare network
    with SmoothedAPI("torchvision", sigma=args.sigma, cache=False, seed=0) as api:
        loaded = images.load(picture, size=api.size)
        noisy = to_float(loaded.grid + api._noise_stream(loaded).sample(range(1024)), loaded.sub)
    ready = torch.from_numpy(noisy).permute(0, 3, 1, 2)

    def bare(batch: int, n: int) -> None:
        with torch.inference_mode():
            for start in range(0, n, batch):
                x = ready[start % 1024 :][:batch]
                clean = denoiser(x, args.sigma).clamp(0, 1).mul(255).round().div(255)
                classifier(clean).argmax(1)

    best = min((16, 32, 64, 128, 256), key=lambda b: min(seconds(lambda: bare(b, 1024)) for _ in range(3)))
    ratios = []
    for number in range(args.rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            SmoothedAPI("torchvision", sigma=args.sigma, cache=folder, seed=number, method="fixed") as api,
        ):
            api.certify(picture, n=64)
            whole = seconds(lambda: api.certify(picture, n=args.n))
        alone = seconds(lambda: bare(best, args.n))
        ratios.append(alone / whole)
        rates = f"bare {args.n / alone:.0f} images/s (batch {best}), certify {args.n / whole:.0f}"
        print(f"round {number}: {rates}, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
