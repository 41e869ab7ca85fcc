"""Defences on CIFAR-10's test images: what `api-smooth compare` tells, and how like the clean images they leave.

    python benchmarks/purification.py --data DIR [--images 200] [--first 0] [--defences none,denoised,guided]
        [--adaptive] [--output run.jsonl]

The images are the first of CIFAR-10's test images, which are for reporting (choose settings on --first 500), the
classifier is the ResNet-56 in DIR/weights. SSIM and LPIPS (where its network is at hand) are of purified clean images
to the clean ones; of a defence with several copies, of the first. No figure here is a certificate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from api_smoothing import defences
from api_smoothing.defences.base import purified
from api_smoothing.errors import ApiSmoothError, ConfigurationError, MissingExtraError, WeightsError
from api_smoothing.training.data import ImageSet, load_images
from api_smoothing.training.likeness import Likeness, lpips, ssim


def likeness(
    images: ImageSet, made: Sequence[defences.Defence], measures: Mapping[str, Likeness], *, batch: int = 50
) -> dict[str, dict[str, float]]:
    """{defence: {measure: mean over the images}}, of purified clean `images` to themselves."""
    found: dict[str, dict[str, float]] = {}
    for defence in made:
        values: dict[str, list[float]] = {name: [] for name in measures}
        for start in range(0, len(images), batch):
            clean = images.floats(slice(start, start + batch)).contiguous()
            seen = purified(defence, clean, 0)[:, 0]
            for name, measure in measures.items():
                values[name] += measure(seen, clean).tolist()
        found[defence.name] = {name: sum(each) / len(each) for name, each in values.items()}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first test image")
    parser.add_argument("--defences", default="none,denoised,diffusion,reverse,densepure,guided")
    parser.add_argument("--adaptive", action="store_true")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--output", type=Path, help="the run file, which is gone on with")
    args = parser.parse_args()
    try:
        run(args)
    except ApiSmoothError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def run(args: argparse.Namespace) -> None:
    """Compare, and print both tables."""
    test = load_images(args.data / "cifar10", "test")
    images = test.pick(torch.arange(len(test))[args.first : args.first + args.images])
    if not len(images) or images.labels is None:
        raise ConfigurationError(f"no images from {args.first} on; there are {len(test)}")
    made = [defences.load(name) for name in args.defences.split(",")]
    found = defences.compare(
        list(zip(images.images.numpy(), map(str, images.labels.tolist()), strict=True)),
        args.data / "weights" / "resnet56",
        made,
        adaptive=args.adaptive,
        steps=args.steps,
        batch=args.batch,
        output=args.output,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(found.table())
    measures: dict[str, Likeness] = {"ssim": ssim}
    try:
        name, measure = lpips()
        measures[name] = measure
    except (MissingExtraError, WeightsError) as error:
        print(f"LPIPS is left out: {error}", file=sys.stderr)
    print()
    for name, values in likeness(images, made, measures, batch=args.batch).items():
        print(f"{name:<24}" + "".join(f"  {measure} {value:.4g}" for measure, value in values.items()))


if __name__ == "__main__":
    raise SystemExit(main())
