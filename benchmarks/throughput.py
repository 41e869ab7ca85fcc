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
from collections.abc import Iterator

from networks import Bare
from rows import Plan, Row, seconds
from skimage import data

from api_smoothing import SmoothedAPI


def measured(n: int, rounds: int, sigma: float) -> list[float]:
    """The ratio of rates of each round, printed as it comes."""
    picture = data.chelsea()
    with SmoothedAPI("torchvision", sigma=sigma, cache=False, seed=0) as api:
        networks = Bare(api, picture)

    def bare(batch: int, n: int) -> None:
        networks.run(n, batch)

    best = min((16, 32, 64, 128, 256), key=lambda b: min(seconds(lambda: bare(b, 1024)) for _ in range(3)))
    ratios = []
    for number in range(rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            SmoothedAPI("torchvision", sigma=sigma, cache=folder, seed=number, method="fixed") as api,
        ):
            api.certify(picture, n=64)
            whole = seconds(lambda: api.certify(picture, n=n))
        alone = seconds(lambda: bare(best, n))
        ratios.append(alone / whole)
        rates = f"bare {n / alone:.0f} images/s (batch {best}), certify {n / whole:.0f}"
        print(f"round {number}: {rates}, ratio {ratios[-1]:.3f}", flush=True)
    return ratios


def rows(plan: Plan) -> Iterator[Row]:
    """The median ratio."""
    n, rounds = (1_000, 3) if plan.quick else (10_000, 5)
    ratios = measured(n, rounds, 0.25)
    note = f"one image, n = {n:,}; {min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds"
    yield Row(
        name="throughput: certify over bare rate",
        figure=statistics.median(ratios),
        than="≥",
        limit=0.90,
        note=note,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sigma", type=float, default=0.25)
    args = parser.parse_args()
    ratios = measured(args.n, args.rounds, args.sigma)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
