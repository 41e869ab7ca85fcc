"""Train a denoiser or a classifier by a recipe. Interrupted runs go on where they were."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api_smoothing.cli.stopping import exit_code, tell
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

SUMMARY = "train a denoiser or a classifier by a recipe"
EXAMPLE = "api-smooth train denoiser --recipe unet-cifar10 --data DATA --out OUT --surrogates NETS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", title="what to train", metavar="WHAT", required=True)
    for kind, summary, example in (
        ("denoiser", "a network D(x, σ) that takes the noise away", EXAMPLE),
        (
            "classifier",
            "the bundled CIFAR-10 classifier",
            "api-smooth train classifier --recipe cifar10 --data DATA --out OUT",
        ),
    ):
        sub = kinds.add_parser(
            kind,
            help=summary,
            description=f"Train {summary}.",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--recipe", required=True, metavar="R", help="a bundled recipe, or a .toml file")
        sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="the training images")
        sub.add_argument(
            "--out", required=True, type=Path, metavar="DIR", help="where weights, card and log go"
        )
        sub.add_argument(
            "--minutes", type=float, metavar="T", help="at most T minutes (default: the whole recipe)"
        )
        sub.add_argument("--seed", type=int, default=0, metavar="K", help="of everything random (default: 0)")
        sub.add_argument("--no-resume", action="store_true", help="start over, whatever DIR has")
        if kind == "denoiser":
            sub.add_argument("--surrogates", type=Path, metavar="DIR", help="classifiers for its objective")
            sub.add_argument(
                "--device",
                default="auto",
                metavar="D",
                help="cpu, cuda, cuda:1 (default: cuda where there is one)",
            )


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.minutes is not None and not (math.isfinite(args.minutes) and args.minutes > 0):
        raise ConfigurationError(f"--minutes must be a number above 0, not {args.minutes}")
    if abs(args.seed) >= 2**63:
        raise ConfigurationError(f"--seed must be below 2^63, not {args.seed}")
    if not args.data.is_dir():
        raise ConfigurationError(f"--data {args.data} is no folder")
    from api_smoothing.training.recipe import read_recipe

    read_recipe(args.recipe, args.kind)  # a slip is told before torch is loaded
    from api_smoothing.engine import parts
    from api_smoothing.training import train_classifier, train_denoiser

    common: dict[str, Any] = {
        "minutes": args.minutes,
        "seed": args.seed,
        "resume": not args.no_resume,
        "on_progress": _show,
    }
    try:
        if args.kind == "classifier":
            weights = train_classifier(args.recipe, args.data, args.out, **common)
        else:
            device = parts.device(args.device)
            weights = train_denoiser(
                args.recipe, args.data, args.out, surrogates=args.surrogates, device=device, **common
            )
    except KeyboardInterrupt as stop:
        again = "the same command goes on from the last checkpoint"
        tell(f"api-smooth: interrupted; {again} in {shown(str(args.out))}")
        return exit_code(stop)
    print(weights)
    return 0


def _show(figures: Mapping[str, Any]) -> None:
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
    print("  ".join(shown), file=sys.stderr, flush=True)
