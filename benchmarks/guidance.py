"""Which settings purify best: defences by a grid, on images for choosing, in rounds that keep the better half.

    python benchmarks/guidance.py --data DIR --output run.jsonl [--first 500] [--rounds 25,50,100] [--keep 0.5]
        [--defences SPEC,…] [--always SPEC,…]

The images are CIFAR-10's test images from --first on, 500 to 999 being for choosing; the classifier is the ResNet-56
in DIR/weights; the attacks are PGD (40 steps, cross-entropy and margin) in ℓ∞ 8/255 and ℓ2 128/255, which know the
classifier and not the defence. The first round has every setting on few images, each later one the best of them on
more: by the share that is right as it is and under each attack, on average. Those of --always are never left out.
Every setting is a defence by name, so that what wins is what `api-smooth compare` takes. Without --defences the grid
is: noise t* by its σ, guidance s, weight λ (of the classifier itself, and of a ResNet-20, in place of a black box),
distance, steps, copies that vote, what is guided (the bundled diffusion model, or the U-Net) and what it is held to
(the input, or the one-step estimate). The same command goes on where it was ended.
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain, product
from pathlib import Path

import torch

from api_smoothing import defences
from api_smoothing.defences.comparison import Comparison
from api_smoothing.errors import ApiSmoothError, ConfigurationError
from api_smoothing.training.data import load_images

ALWAYS = ("denoised", "guided")


def grid(weights: Path) -> list[str]:
    """Names of defences with their settings, those of --always left out."""
    surrogates = {name: weights / name for name in ("resnet56", "resnet20")}
    found = [
        f"smoothing?sigma={sigma}&copies={copies}" for sigma, copies in product((0.1, 0.15, 0.2), (5, 10))
    ]
    for net, sigma, guidance in product(("unet-cifar10", "diffusion-cifar10"), (0.1, 0.13), (0, 10, 40)):
        found.append(f"guided?denoiser={net}&sigma={sigma}&guidance={guidance}")
    unet = "guided?denoiser=unet-cifar10&guidance=10"
    found += [f"{unet}&steps={steps}" for steps in (2, 4, 12)]
    found += [f"{unet}&copies={copies}" for copies in (3, 5)]
    for surrogate, weight in product(surrogates.values(), (-5, -2, -1, 1, 5)):
        found.append(f"{unet}&steps=4&weight={weight}&surrogate={surrogate}")
        found.append(f"{unet}&steps=4&weight={weight}&surrogate={surrogate}&reference=estimate")
    found += [f"{unet}&reference=estimate", "guided?denoiser=unet-cifar10&guidance=20&distance=ssim&steps=4"]
    return found


def score(found: Comparison, name: str) -> float:
    """The share that is right, on average over the conditions."""
    shares = [found.cell(name, condition).value or 0.0 for condition in found.conditions]
    return sum(shares) / len(shares)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--first", type=int, default=500)
    parser.add_argument("--rounds", default="25,50,100", metavar="N,N")
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--defences", default="")
    parser.add_argument("--always", default=",".join(ALWAYS))
    args = parser.parse_args()
    try:
        search(args)
    except ApiSmoothError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def search(args: argparse.Namespace) -> None:
    """All rounds, each with its table."""
    test = load_images(args.data / "cifar10", "test")
    always = args.always.split(",") if args.always else []
    names = args.defences.split(",") if args.defences else grid(args.data / "weights")
    names = list(dict.fromkeys(chain(always, names)))
    for count in map(int, args.rounds.split(",")):
        images = test.pick(torch.arange(len(test))[args.first : args.first + count])
        if images.labels is None:
            raise ConfigurationError(f"{args.data}: the test images have no labels")
        made = [defences.load(name) for name in names]
        found = defences.compare(
            list(zip(images.images.numpy(), map(str, images.labels.tolist()), strict=True)),
            args.data / "weights" / "resnet56",
            made,
            output=args.output,
        )
        by_name = dict(zip(names, (one.name for one in made), strict=True))
        names.sort(key=lambda name: -score(found, by_name[name]))
        print(f"\n{count} images from {args.first} on, the best first\n")
        print(table(found, [by_name[name] for name in names]), flush=True)
        best = names[: max(1, round(args.keep * len(names)))]
        names = list(dict.fromkeys([*always, *best]))


def table(found: Comparison, names: list[str]) -> str:
    """A Markdown table: what is right under each condition, the paired difference to the first defence, seconds."""
    conditions = list(found.conditions)
    lines = [
        "| defence | " + " | ".join(conditions) + " | mean | lost and gained beside the first | seconds |",
        "|" + "---|" * (len(conditions) + 4),
    ]
    for name in names:
        cells = [found.cell(name, condition) for condition in conditions]
        pairs = ", ".join("–" if c.lost is None else f"−{c.lost} +{c.gained}" for c in cells)
        shares = " | ".join(f"{100 * (c.value or 0):.1f}" for c in cells)
        seconds = sum(c.seconds or 0.0 for c in cells) / len(cells)
        lines.append(f"| `{name}` | {shares} | {100 * score(found, name):.1f} | {pairs} | {seconds:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
