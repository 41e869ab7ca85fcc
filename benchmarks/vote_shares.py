"""How often the top class of an image wins, as the tables in `engine/estimate/shares.py` have it.

    python benchmarks/vote_shares.py --data DIR [--what cifar|photographs] [--images 500:1000] [--sigma 0.25] [--n 100]
                                     [--votes FILE]

Asks `--n` queries about each image behind the denoiser that "auto" takes, and prints the vote shares at the 2.5th,
7.5th, …, 97.5th percentile of images: the mixture of binomials that makes the votes most likely, so that the noise of
n votes is not taken for a spread of images. The images are those for choosing: CIFAR-10 test images 500–999 read by
the bundled classifier, Imagenette validation photographs 250–499 by the sandbox's. What came of each is kept in FILE,
and not asked again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 30  # of expectation maximisation: few, or a smooth spread of images is taken for some single shares


def pictures(data: Path, what: str, first: int, last: int) -> Iterator[tuple[int, Any]]:
    """The images with their numbers."""
    from certified_accuracy import PHOTOGRAPHS, loader

    module = loader(data)
    if what == "cifar":
        yield from enumerate(module.cifar10("test")[0][first:last], first)
        return
    for number, (_, _, picture) in enumerate(
        itertools.islice(module.photos(PHOTOGRAPHS), first, last), first
    ):
        yield number, picture


def facade(what: str, sigma: float) -> Any:
    """What is asked: the bundled classifier, or a sandbox that reads photographs."""
    from api_smoothing import SmoothedAPI

    if what == "cifar":
        return SmoothedAPI("torchvision", sigma=sigma, seed=0, store="memory")
    return SmoothedAPI("http", sandbox=True, sigma=sigma, seed=0, store="memory")


def ask(args: argparse.Namespace, votes: dict[str, list[int]]) -> None:
    """Ask about the images that are not in `votes` yet, and keep what comes of each."""
    first, _, last = args.images.partition(":")
    with facade(args.what, args.sigma) as api:
        for number, picture in pictures(args.data, args.what, int(first), int(last)):
            if str(number) in votes:
                continue
            began = time.perf_counter()
            counts = api.predict(picture, n=args.n).counts
            votes[str(number)] = [args.n, max(counts.values(), default=0)]
            args.votes.write_text(json.dumps(votes))
            rate = args.n / (time.perf_counter() - began)
            print(f"\r{len(votes)} images, {rate:.3g} queries a second ", end="", file=sys.stderr, flush=True)


def quantiles(votes: list[list[int]]) -> list[float]:
    """The shares at the percentiles, of the mixture that makes (n, votes) of all images most likely."""
    grid = (
        1.0 - np.concatenate([np.geomspace(5e-4, 0.1, 60, endpoint=False), np.linspace(0.1, 0.9, 161)])[::-1]
    )
    n, k = np.array(votes).T[:, :, None]
    likelihood = k * np.log(grid) + (n - k) * np.log1p(-grid)
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    weights = np.full(grid.size, 1.0 / grid.size)
    for _ in range(STEPS):
        each = likelihood * weights
        weights = (each / each.sum(axis=1, keepdims=True)).mean(axis=0)
    at = (np.arange(20) + 0.5) / 20
    return [round(float(p), 4) for p in np.interp(at, np.cumsum(weights) - weights / 2, grid)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--what", choices=("cifar", "photographs"), default="cifar")
    parser.add_argument("--images")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--votes", type=Path)
    args = parser.parse_args()
    args.images = args.images or ("500:1000" if args.what == "cifar" else "250:500")
    os.environ.setdefault("API_SMOOTH_HOME", tempfile.mkdtemp(prefix="api-smooth-shares-"))
    args.votes = args.votes or Path(os.environ["API_SMOOTH_HOME"]) / "votes.json"
    votes = json.loads(args.votes.read_text()) if args.votes.exists() else {}
    ask(args, votes)
    print(f"\n{args.what}, σ {args.sigma:g}, {len(votes)} images: {quantiles(list(votes.values()))}")


if __name__ == "__main__":
    main()
