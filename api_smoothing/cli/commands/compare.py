"""Compare defences: accuracy under attacks and corruptions, on the same images, with paired tests and costs.

A defence purifies an image before the classifier sees it. The first one named is what the others are held against, by
the exact test of McNemar. Attacks are made on the bare classifier; with --adaptive again on the classifier behind each
defence, through its gradients, which is what a defence has to stand. Nothing is sent anywhere: the classifier is a
model of this process. Accuracy under attacks is no certificate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from api_smoothing.cli.datasets import add_dataset_flags, open_named
from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.smoothing import complain
from api_smoothing.cli.stopping import exit_code
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

SUMMARY = "defences under attacks and corruptions, side by side"
EXAMPLE = "api-smooth compare cat.png --defences none,jpeg-75 --attacks none,pgd-linf-2/255 --steps 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="+", metavar="DATASET|IMAGE", help="a data set, or images and folders"
    )
    parser.add_argument(
        "--model",
        default="cifar10",
        metavar="NAME",
        help="cifar10, a torchvision model, or weights FOLDER/NAME (default: cifar10)",
    )
    parser.add_argument(
        "--defences",
        default="none,jpeg-75,bits-5,denoised",
        metavar="D,D,…",
        help="none, jpeg-75, bits-5, denoised, diffusion, reverse, guided, densepure, smoothing, with settings as "
        "guided?sigma=0.2 (none,jpeg-75,bits-5,denoised)",
    )
    parser.add_argument(
        "--attacks",
        default="none,pgd-linf-8/255,pgd-l2-128/255",
        metavar="A,A,…",
        help="none, pgd-linf-R, pgd-l2-R, square-linf-R, square-l2-R (none,pgd-linf-8/255,pgd-l2-128/255)",
    )
    parser.add_argument(
        "--corruptions", metavar="C,C,…", help="all, or names, each at all severities or one, as fog:3"
    )
    parser.add_argument(
        "--adaptive", action="store_true", help="attack the classifier behind each defence, too"
    )
    parser.add_argument("--steps", type=int, default=40, metavar="K", help="of PGD (40)")
    parser.add_argument("--eot", type=int, default=4, metavar="K", help="draws a step of --adaptive (4)")
    parser.add_argument(
        "--queries", type=int, default=1000, metavar="K", help="most an image, of square (1000)"
    )
    parser.add_argument("--batch", type=int, default=25, metavar="K", help="images at once (25)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="bring images to this side first")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other random draws (0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, … (cpu)")
    add_dataset_flags(parser)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the run file (.jsonl), which can be gone on with"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.output is not None and (args.output.is_dir() or not args.output.parent.is_dir()):
        raise ConfigurationError(f"--output {args.output}: name a file in a folder that is there")
    data = open_named(args, args.source)
    progress = Progress(sys.stderr, 0, summaries=False)
    progress.say("loading …")
    from api_smoothing.defences import compare

    try:
        found = compare(
            data,
            args.model,
            args.defences.split(","),
            attacks=_list(args.attacks),
            corruptions=_list(args.corruptions),
            adaptive=args.adaptive,
            seed=args.seed,
            output=args.output,
            steps=args.steps,
            eot=args.eot,
            queries=args.queries,
            batch=args.batch,
            size=args.size,
            device=args.device,
            tell=progress.say,
        )
    except KeyboardInterrupt as stop:
        progress.clear()
        again = "" if args.output is None else f"; the same command goes on with {shown(str(args.output))}"
        complain(f"interrupted{again}")
        return exit_code(stop)
    finally:
        progress.clear()
    for line in found.told:
        if line not in data.told:
            complain(line)
    for item, reason in found.unreadable.items():
        complain(f"{shown(item)} cannot be read, and is left out: {reason}")
    if found.left_out:
        complain(f"left out, as their labels are no class of the model: {found.left_out:,} images")
    if args.json:
        print_json(found.to_dict())
    else:
        print(found.table())
    return 0


def _list(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part.strip()]
