"""Attacks inside certified radii, counted against α, and on answers as they are: two Markdown tables.

    python benchmarks/attacks.py --data DIR [--images 50] [--cases rgb,resized,grey,present] [--alpha 0.001,0.1]
        [-n 200] [--steps 10] [--restarts 1] [--eot 4] [--votes 300] [--bare 50] [--queries 1000]

The images are CIFAR-10's test images from --first on, the classifier is the bundled one, σ = 0.25 behind the bundled
denoiser. "rgb" attacks the pixels that enter the noise; "resized" gives the images at 48×48, so that the ball is in
those pixels, before the resize; "grey" gives them in one channel; "present" attacks certificates that the label is
reported at 0.5 or more. "half-space" is a classifier of which the smoothed radius is known exactly: attacked at 0.95 of
it nothing may turn, at 1.08 everything must; no certificate is asked for. The last column is the same attack at four
times the radius (of a half-space at 1.08 times), which shows whether it could have turned anything. Exit code 1 where
certificates do not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from api_smoothing import SmoothedAPI
from api_smoothing.attacks import (
    PGD,
    Attacked,
    Holding,
    HopSkipJump,
    Square,
    Verdict,
    attack_answers,
    verdict,
)
from api_smoothing.attacks.ball import Pixels
from api_smoothing.attacks.holding import attack_certificates, by_prediction, by_report
from api_smoothing.attacks.victim import victim_of
from api_smoothing.claims import intervals
from api_smoothing.datasets import map_truths, open_dataset
from api_smoothing.errors import ApiSmoothError, ConfigurationError
from api_smoothing.training.data import load_images

CASES = ("half-space", "rgb", "resized", "grey", "present")


class HalfSpace(torch.nn.Module):
    """ "up" where w·(x − ½) > 0, for a random w of length 1: noise leaves it what it is."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        w = np.random.default_rng(seed).standard_normal((8, 8, 3))
        self.w = w / np.linalg.norm(w)
        self.normal = torch.from_numpy(self.w).permute(2, 0, 1).float()

    def forward(self, x: Tensor) -> Tensor:
        up = 20 * ((x - 0.5) * self.normal).sum((1, 2, 3))
        return torch.stack((up, -up), 1)


def half_spaces(count: int, alpha: float, holding: Holding) -> list[Attacked]:
    """`count` half-spaces at distances of 0.1 to 0.3, each attacked at 0.95 and 1.08 of the exact distance."""
    holding, done = replace(holding, factors=(0.95, 1.08), votes=max(8_000, holding.votes)), []
    for seed in range(count):
        net = HalfSpace(seed)
        pixels = np.rint(255 * (0.5 + (0.1 + 0.2 * seed / count) * net.w)).astype(np.uint8)
        exact = float(((pixels / 255 - 0.5) * net.w).sum())
        with SmoothedAPI(
            net, denoiser=None, sigma=0.08, alpha=alpha, store="memory", seed=seed, class_names=["up", "down"]
        ) as api:
            found = replace(api.certify(pixels, n=100), radius_original=exact)
            revote = by_prediction(api, "up", holding.votes)
            attempts = holding(victim_of(api, smoothed=True, seed=seed), pixels, found, revote)
        done.append(
            Attacked(
                id=str(seed),
                path=None,
                label="up",
                right=None,
                norm="l2",
                certified=exact,
                attempts=tuple(attempts),
            )
        )
    return done


def as_given(images: np.ndarray, case: str) -> list[Pixels]:
    """The images as a case gives them."""
    if case == "resized":
        return [np.asarray(Image.fromarray(x).resize((48, 48), Image.Resampling.BICUBIC)) for x in images]
    if case == "grey":
        return [np.asarray(Image.fromarray(x).convert("L")) for x in images]
    return list(images)


def certified(
    images: Sequence[Pixels], case: str, alpha: float, n: int, holding: Holding
) -> Iterator[Attacked]:
    """Each image certified, and what attacks on that came to."""
    with SmoothedAPI("torchvision", model="cifar10", size=32, alpha=alpha, seed=11, store="memory") as api:
        if case == "present":
            yield from present(api, images, n, holding)
            return
        data = open_dataset(list(images))
        yield from attack_certificates(api, data, map_truths(data, None, api.card.labels), holding, n=n)


def present(api: SmoothedAPI, images: Sequence[Pixels], n: int, holding: Holding) -> Iterator[Attacked]:
    victim = victim_of(api, smoothed=True, seed=holding.seed)
    for number, pixels in enumerate(images):
        found = next((one for one in api.certify_labels(pixels, n=n) if one.label is not None), None)
        result = Attacked(
            id=str(number), path=None, label=None, right=None, norm="l2", reason="nothing certified"
        )
        if found is not None:
            attempts = holding(victim, pixels, found, by_report(api, found, 0.5, holding.votes))
            result = replace(
                result, label=found.label, certified=found.radius_original, alpha=found.alpha,
                attempts=tuple(attempts), reason="",
            )  # fmt: skip
        yield result


def row(case: str, alpha: float, done: Sequence[Attacked], found: Verdict, starts: int) -> str:
    power = intervals.exact(found.power, found.outside)
    return (
        f"| {case} | {alpha:g} | {found.images} of {len(done)} | {starts} | {found.turned} "
        f"({found.low:.1%}–{found.high:.1%}) | {found.p_value:.2g} | {found.power} of {found.outside} "
        f"({power[0]:.0%}–{power[1]:.0%}) |"
    )


def bare(images: Sequence[Pixels], labels: Sequence[str], queries: int, steps: int) -> Iterator[str]:
    """A row an attack on the classifier as it is."""
    attacks = {
        "PGD, ℓ∞ 8/255": PGD(norm="linf", radius=8 / 255, steps=steps),
        "PGD, ℓ2 0.5": PGD(norm="l2", radius=0.5, steps=steps),
        f"Square, ℓ∞ 8/255, {queries:,} queries": Square(radius=8 / 255, queries=queries),
        f"HopSkipJump, ℓ2, {queries:,} queries": HopSkipJump(queries=queries),
    }
    for name, attack in attacks.items():
        with SmoothedAPI("torchvision", model="cifar10", denoiser=None, store="memory", seed=0) as api:
            data = open_dataset(list(zip(images, labels, strict=True)))
            done = list(attack_answers(api, data, map_truths(data, None, api.card.labels), attack))
        right = sum(bool(one.right) for one in done)
        far = sorted(one.distance for one in done if one.distance is not None)
        low, high = intervals.exact(right - len(far), len(done))
        middle = f"{far[len(far) // 2]:.3f}" if far else "–"
        asked = sum(one.queries for one in done) / len(done)
        yield (
            f"| {name} | {right} of {len(done)} | {right - len(far)} ({low:.0%}–{high:.0%}) | {middle} | {asked:,.0f} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--alpha", default="0.001,0.1")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--eot", type=int, default=4)
    parser.add_argument("--votes", type=int, default=300)
    parser.add_argument("--bare", type=int, default=50, help="images of the second table; 0 leaves it out")
    parser.add_argument("--queries", type=int, default=1_000)
    args = parser.parse_args()
    try:
        return start(args)
    except ApiSmoothError as error:
        print(f"attacks: {error}", file=sys.stderr)
        return error.exit_code


def start(args: argparse.Namespace) -> int:
    """Load what `args` names, and run."""
    cases = args.cases.split(",") if args.cases else []
    if strange := [case for case in cases if case not in CASES]:
        raise ConfigurationError(f"no case {strange[0]!r}; choose from {', '.join(CASES)}")
    test = load_images(args.data, "test")
    data = test.pick(torch.arange(len(test))[args.first : args.first + max(args.images, args.bare)])
    if not len(data) or data.labels is None:
        raise ConfigurationError(f"no labelled images from {args.first} on; there are {len(test)}")
    images = data.images.numpy()
    holding = Holding(steps=args.steps, restarts=args.restarts, eot=args.eot, votes=args.votes)
    starts, holds = args.restarts * len(holding.losses), True
    if cases:
        print(
            "| case | α | certified | starts | turned inside (95 %) | p | turned beyond |\n"
            + "|---" * 7
            + "|"
        )
    for case in cases:
        for alpha in map(float, args.alpha.split(",")):
            began, given = time.monotonic(), as_given(images[: args.images], case)
            if case == "half-space":
                done = half_spaces(len(given), alpha, holding)
            else:
                done = list(certified(given, case, alpha, args.n, holding))
            found = verdict(done, error=holding.error)
            holds &= found.holds
            print(row(case, alpha, done, found, starts), flush=True)
            print(f"{case}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if args.bare:
        from api_smoothing.convnet import CLASSES

        labels = [CLASSES[label] for label in data.labels[: args.bare].tolist()]
        print(
            "\n| attack | right as they are | right under attack (95 %) | median distance | queries |\n"
            + "|---" * 5
            + "|"
        )
        for line in bare(list(images[: args.bare]), labels, args.queries, 40):
            print(line, flush=True)
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
