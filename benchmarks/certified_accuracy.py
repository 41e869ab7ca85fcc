"""Certified accuracy of black-box targets behind a denoiser, by the paper's protocol and sequentially.

    python benchmarks/certified_accuracy.py --data DIR [--images 0:500] [--sigma 0.25] [--denoiser auto|none|NAME]

Every image is asked the same queries for all targets (the noise and the denoiser do not depend on the target).
The paper's protocol (n0=100 votes choose the class, n=10,000 others bound it, Clopper-Pearson, alpha=0.001) is
curtailed: an image stops as soon as its remaining votes can change no entry of the table, which leaves every
entry what the full run gives. The sequential target mode then runs on the same votes.

DIR holds `cifar10/` (sheets of test images), and for the target resnet56 `weights/` with its checkpoint.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import torch

from api_smoothing import SmoothedAPI, certify, images
from api_smoothing.adapters import Adapter, AdapterCard, Answer, Verdict
from api_smoothing.adapters import load as load_adapter
from api_smoothing.adapters.cifar10net import CLASSES
from api_smoothing.adapters.local import ModuleAdapter
from api_smoothing.certify import clopper_pearson
from api_smoothing.engine.votes import VoteSource

RADII = (0.0, 0.25, 0.5, 0.75)


class Together:
    """Several targets asked the same queries; an answer holds each one's top label, in order."""

    def __init__(self, targets: dict[str, Adapter]) -> None:
        self._targets = targets
        names = "+".join(targets)
        prints = "+".join(target.card.fingerprint for target in targets.values())
        self.card = AdapterCard(name=names, fingerprint=prints, accepts="tensor", batch=256, native_side=32)

    def label(self, batch: Any, /) -> list[Answer]:
        each = [target.label(batch) for target in self._targets.values()]
        return [Answer(labels=tuple(a.labels[0] for a in row)) for row in zip(*each, strict=True)]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def resnet56(data: Path) -> Adapter:
    """The pretrained ResNet-56 beside the data, run as the bundled classifier is: bfloat16 where the CPU has it."""
    spec = importlib.util.spec_from_file_location("reference_data", data / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = Fused(module.resnet_cifar(56))
    return ModuleAdapter(
        network, name="resnet56", fingerprint="resnet56-4bfd9763/bf16", class_names=CLASSES, top=1
    )


class Fused(torch.nn.Module):
    """A classifier with its batch normalisation folded into its convolutions, in bfloat16 and channels_last."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        import torch.fx.experimental.optimization as optimization

        folded = optimization.fuse(network.eval())
        self.network = folded.to(torch.bfloat16).to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.to(torch.bfloat16, memory_format=torch.channels_last)).float()


def thresholds(sigma: float, n: int, alpha: float, slack: float) -> list[int]:
    """For each radius the fewest of n votes whose Clopper-Pearson bound certifies it; n+1 when none does."""
    found = []
    for radius in RADII:
        p0 = 0.5 * (1 + math.erf(radius / sigma / math.sqrt(2))) + slack
        low, high = 0, n + 1
        while low < high:
            k = (low + high) // 2
            low, high = (low, k) if clopper_pearson.lower(k, n, alpha) > p0 else (k + 1, high)
        found.append(low)
    return found


class PaperProtocol:
    """Which of RADII an image is certified at, from n0 + n votes, deciding each as early as it is certain."""

    def __init__(self, needed: list[int], *, n0: int, n: int) -> None:
        self._needed, self._n0, self._n = needed, n0, n
        self._choosing: Counter[Hashable] = Counter()
        self.label: Hashable = None
        self.seen = self.k = self.n = 0

    def add(self, vote: Hashable) -> None:
        self.seen += 1
        if self.seen <= self._n0:
            self._choosing[vote] += 1
            self.label = self._choosing.most_common(1)[0][0]
        elif self.n < self._n:
            self.n += 1
            self.k += vote == self.label

    def decided(self, radius: int) -> bool | None:
        """Whether RADII[radius] is certified; None while the remaining votes can still change that."""
        if self.seen >= self._n0 and self.k >= self._needed[radius]:
            return True
        return False if self.n - self.k > self._n - self._needed[radius] else None


def votes_of(source: VoteSource, limit: int) -> Iterator[tuple[Hashable, ...]]:
    """Votes of all targets, one tuple a query; each block is asked only when the one before is used up."""
    for portion in source.take(range(limit)):
        yield from portion  # type: ignore[misc]


def sequential(
    next_votes: Callable[[int], list[Hashable]], api: SmoothedAPI, radius: float, n: int, slack: float
) -> Any:
    """The sequential target mode with cap n over the same votes."""
    certifier = certify.certifier(
        method="sequential",
        target=radius,
        n=n,
        alpha=api.alpha,
        sigma=api.sigma,
        noise=api.noise,
        slack=slack,
    )
    used = 0
    while (count := certifier.need()) > 0:
        certifier.add(next_votes(used + count)[used:])
        used += count
    return certifier.result()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", default="0:500")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--alpha", type=float, default=0.001)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--target-radius", type=float, default=0.25)
    parser.add_argument("--denoiser", default="auto")
    parser.add_argument("--targets", default="bundled,resnet56")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default=None, help="folder for the answers, to resume an interrupted run")
    parser.add_argument(
        "--json", type=Path, default=None, help="where to write one line per image and target"
    )
    args = parser.parse_args()

    from api_smoothing.training.data import load_cifar10

    start, stop = (int(v) for v in args.images.split(":"))
    pixels, truth = load_cifar10(args.data / "cifar10", "test")
    names = args.targets.split(",")
    makers: dict[str, Callable[[], Adapter]] = {
        "bundled": lambda: load_adapter("torchvision", model="cifar10", top=1),
        "resnet56": lambda: resnet56(args.data),
    }
    api = SmoothedAPI(
        Together({name: makers[name]() for name in names}),
        sigma=args.sigma,
        alpha=args.alpha,
        denoiser=None if args.denoiser == "none" else args.denoiser,
        size=32,
        seed=args.seed,
        cache=args.cache or False,
    )
    print(f"{api.settings()}", file=sys.stderr)
    out = args.json.open("w") if args.json else None
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    began, needed = time.monotonic(), None
    for index in range(start, stop):
        loaded = images.load(pixels[index], size=api.size)
        stream = api._noise_stream(loaded)
        needed = needed or thresholds(args.sigma, args.n, args.alpha, stream.slack)
        source = api._source(loaded, stream)
        source._read = lambda answer: tuple(label.name for label in answer.labels)
        label = CLASSES[truth[index]]
        votes: list[tuple[Hashable, ...]] = []
        more = votes_of(source, 20 * args.n)
        protocols = [PaperProtocol(needed, n0=args.n0, n=args.n) for _ in names]

        def open_radii(protocol: PaperProtocol, label: str = label) -> bool:
            """A wrongly labelled image enters the table nowhere; only its decision at the target is compared."""
            wanted = [r for r, v in enumerate(RADII) if protocol.label == label or v == args.target_radius]
            return any(protocol.decided(r) is None for r in wanted)

        while any(p.seen < args.n0 or (p.seen < args.n0 + args.n and open_radii(p)) for p in protocols):
            vote = next(more)
            votes.append(vote)
            for target, protocol in enumerate(protocols):
                protocol.add(vote[target])

        for target, name in enumerate(names):

            def next_votes(
                count: int,
                target: int = target,
                votes: list[tuple[Hashable, ...]] = votes,
                more: Iterator[tuple[Hashable, ...]] = more,
            ) -> list[Hashable]:
                while len(votes) < count:
                    votes.append(next(more))
                return [vote[target] for vote in votes[:count]]

            protocol = protocols[target]
            bound = sequential(next_votes, api, args.target_radius, args.n, stream.slack)
            certified = [bool(protocol.decided(r)) for r in range(len(RADII))]
            row = {
                "image": index,
                "target": name,
                "truth": label,
                "label": protocol.label,
                "k": protocol.k,
                "n": protocol.n,
                "certified": certified,
                "sequential": {"label": bound.label, "n": bound.n, "stopped": bound.stopped},
            }
            rows[name].append(row)
            if out:
                print(json.dumps(row), file=out, flush=True)
        if (index + 1 - start) % 10 == 0 or index + 1 == stop:
            spent = time.monotonic() - began
            heads = "  ".join(f"{name} {_accuracies(rows[name])}" for name in names)
            print(f"{index + 1 - start} images, {spent:.0f} s: {heads}", file=sys.stderr, flush=True)
    _print_tables(args, rows)
    return 0


def _accuracies(rows: list[dict[str, Any]]) -> str:
    right = [row for row in rows if row["label"] == row["truth"]]
    return " ".join(f"{sum(r['certified'][i] for r in right) / len(rows):.3f}" for i in range(len(RADII)))


def _print_tables(args: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    heads = "".join(f"  r={radius:<5g}" for radius in RADII)
    print(
        f"certified accuracy, sigma={args.sigma:g}, denoiser={args.denoiser}, images {args.images}, n={args.n}"
    )
    print(f"{'target':<12}{heads}")
    for name, found in rows.items():
        print(f"{name:<12}" + "".join(f"  {float(v):<7.3f}" for v in _accuracies(found).split()))
    print(f"\nsequential target mode at r={args.target_radius:g} with cap {args.n} on the same votes")
    at = RADII.index(args.target_radius)
    for name, found in rows.items():
        mean = statistics.mean(row["sequential"]["n"] for row in found)
        print(f"{name:<12}  mean queries {mean:.1f}, {(args.n + args.n0) / mean:.1f} times fewer")
        for row in found:
            fixed = row["label"] if row["certified"][at] else None
            if fixed != row["sequential"]["label"]:
                print(
                    f"  differs: image {row['image']}, fixed {fixed} ({row['k']}/{row['n']}), "
                    f"sequential {row['sequential']['label']} after {row['sequential']['n']}"
                )


if __name__ == "__main__":
    raise SystemExit(main())
