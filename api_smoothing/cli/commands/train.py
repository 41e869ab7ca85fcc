"""Train a denoiser or a classifier by a recipe. Interrupted runs go on where they were."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api_smoothing.cli.stopping import exit_code, tell
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

SUMMARY = "train a denoiser, a recogniser or a classifier"
EXAMPLE = "api-smooth train denoiser --recipe unet-cifar10 --data DATA --out OUT --surrogates NETS"

_NETWORKS = {
    "denoiser": ("a network D(x, σ) that takes the noise away", EXAMPLE),
    "classifier": (
        "the bundled CIFAR-10 classifier",
        "api-smooth train classifier --recipe cifar10 --data DATA --out OUT",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", title="what to train", metavar="WHAT", required=True)

    def sub(name: str, summary: str, description: str, example: str) -> argparse.ArgumentParser:
        return kinds.add_parser(
            name,
            help=summary,
            description=description,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    for kind, (summary, example) in _NETWORKS.items():
        _add_training(sub(kind, summary, f"Train {summary}.", example), kind)
    own = sub(
        "recogniser",
        "a recogniser of your own classes, from a folder of pictures for each",
        "Train a denoiser that reads before it paints, for your own classes: DATA has a folder of pictures for each.",
        "api-smooth train recogniser --data CLASSES --out OUT",
    )
    _add_common(own, "a folder with one folder of pictures for each class")
    recipes = sub(
        "recipes",
        "list the bundled recipes, or print one to start from",
        "List the bundled recipes; of one that is named, print the file.",
        "api-smooth train recipes unet-photographs",
    )
    recipes.add_argument("name", nargs="?", metavar="NAME", help="the one to print")
    pack = sub(
        "pack",
        "put training images into one small file",
        "Put CIFAR-10, or squares of photographs, into one file that --data takes, to train elsewhere.",
        "api-smooth train pack DATA --out images.safetensors",
    )
    pack.add_argument("data", type=Path, metavar="DATA", help="the folder with the training images")
    pack.add_argument("--out", required=True, type=Path, metavar="FILE", help="a .safetensors file to write")
    pack.add_argument(
        "--side",
        type=int,
        metavar="S",
        help="of the squares of photographs (default: 256; CIFAR-10's are 32)",
    )
    pack.add_argument(
        "--archives", nargs="+", default=(), metavar="A", help="photographs of DATA/A.npz, not of the folder"
    )
    pack.add_argument(
        "--megabytes", type=float, metavar="M", help="at most (default: 20 for CIFAR-10, 60 for photographs)"
    )


def _add_training(sub: argparse.ArgumentParser, kind: str) -> None:
    sub.add_argument(
        "--recipe",
        required=kind != "denoiser",
        metavar="R",
        help="a bundled recipe, a .toml file, or a card (.json)"
        + "; with --target the one for such images" * (kind == "denoiser"),
    )
    _add_common(sub, "a folder of images, or a pack", "; 20 with --target alone" * (kind == "denoiser"))
    if kind == "denoiser":
        sub.add_argument("--surrogates", type=Path, metavar="DIR", help="classifiers for its objective")
        sub.add_argument(
            "--target",
            metavar="M",
            help="tune for the model behind it: a checkpoint, MODULE:NAME, a torchvision model, or cifar10",
        )
        sub.add_argument("--arch", metavar="A", help="the checkpoint's torchvision architecture")
        sub.add_argument(
            "--mean", metavar="R|G|B", help="of the checkpoint's normalisation (default: ImageNet's)"
        )
        sub.add_argument("--std", metavar="R|G|B", help="the same")
        sub.add_argument(
            "--device",
            default="auto",
            metavar="D",
            help="cpu, cuda, cuda:1 (default: cuda where there is one)",
        )
        sub.add_argument(
            "--draws",
            choices=("cpu", "device"),
            default="cpu",
            help="where images are kept and noise is drawn: on a GPU faster, and another stream (default: cpu)",
        )


def _add_common(sub: argparse.ArgumentParser, data: str, otherwise: str = "") -> None:
    sub.add_argument("--data", required=True, type=Path, metavar="DATA", help=data)
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="where weights, card and log go")
    sub.add_argument(
        "--minutes",
        type=float,
        metavar="T",
        help=f"at most T minutes (default: the whole recipe{otherwise})",
    )
    sub.add_argument("--seed", type=int, default=0, metavar="K", help="of everything random (default: 0)")
    sub.add_argument("--no-resume", action="store_true", help="start over, whatever DIR has")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.kind == "recipes":
        return _recipes(args.name)
    if args.kind == "pack":
        return _pack(args)
    return _train(args)


def _recipes(name: str | None) -> int:
    from api_smoothing.training.recipe import recipe_names, recipe_text

    if name is not None:
        print(recipe_text(name), end="")
        return 0
    width = max(map(len, recipe_names()))
    for each in recipe_names():
        print(f"{each:<{width}}  {recipe_text(each).partition(chr(10))[0].lstrip('# ')}")
    return 0


def _pack(args: argparse.Namespace) -> int:
    if args.megabytes is not None and not (math.isfinite(args.megabytes) and args.megabytes > 0):
        raise ConfigurationError(f"--megabytes must be a number above 0, not {args.megabytes}")
    from api_smoothing.training.packing import write_pack

    made = write_pack(args.data, args.out, side=args.side, archives=args.archives, megabytes=args.megabytes)
    print(made)
    return 0


def _train(args: argparse.Namespace) -> int:
    if args.minutes is not None and not (math.isfinite(args.minutes) and args.minutes > 0):
        raise ConfigurationError(f"--minutes must be a number above 0, not {args.minutes}")
    if abs(args.seed) >= 2**63:
        raise ConfigurationError(f"--seed must be below 2^63, not {args.seed}")
    if not args.data.exists():
        raise ConfigurationError(f"--data {args.data} is no folder, and no pack")
    from api_smoothing.training.recipe import read_recipe

    if args.kind == "denoiser" and args.recipe is None and args.target is None:
        raise ConfigurationError("neither --recipe nor --target is given; name one of them")
    if args.kind != "recogniser" and args.recipe is not None:
        read_recipe(args.recipe, args.kind)  # a slip is told before torch is loaded
    from api_smoothing.engine import parts
    from api_smoothing.training import train_classifier, train_denoiser, train_recogniser

    common: dict[str, Any] = {
        "minutes": args.minutes,
        "seed": args.seed,
        "resume": not args.no_resume,
        "on_progress": _show,
    }
    try:
        if args.kind == "recogniser":
            weights = train_recogniser(args.data, args.out, **common)
        elif args.kind == "classifier":
            weights = train_classifier(args.recipe, args.data, args.out, **common)
        else:
            device = parts.device(args.device)
            weights = train_denoiser(
                args.recipe,
                args.data,
                args.out,
                surrogates=args.surrogates,
                device=device,
                draws=args.draws,
                target=_target(args),
                **common,
            )
    except KeyboardInterrupt as stop:
        again = "the same command goes on from the last checkpoint"
        tell(f"api-smooth: interrupted; {again} in {shown(str(args.out))}")
        return exit_code(stop)
    print(weights)
    _show_card(weights)
    return 0


def _target(args: argparse.Namespace) -> Any:
    said = {key: value for key in ("arch", "mean", "std") if (value := getattr(args, key)) is not None}
    if args.target is None:
        if said:
            raise ConfigurationError(f"--{next(iter(said))} is of a --target; name it")
        return None
    from api_smoothing.training.target import load_target

    sys.path.insert(0, "")  # MODULE:NAME may lie in the folder one is in
    return load_target(args.target, **said)


def _show(figures: Mapping[str, Any]) -> None:
    """One line: where it is, its figures, the time that is left, and the step that a kill would leave."""
    rest = dict(figures)
    phase, step, of, left, kept = (rest.pop(key) for key in ("phase", "step", "of", "left", "checkpoint"))
    words = [f"{phase}  step {step} of {of}", *(f"{k} {_number(v)}" for k, v in rest.items())]
    ends = f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"
    print("  ".join([*words, ends, f"checkpoint at {kept}"]), file=sys.stderr, flush=True)


def _show_card(weights: Path) -> None:
    """What it reached, a line for each noise level or set of images, as the card says."""
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    before = card.get("training", {}).get("before", {})
    for level, figures in card.get("quality", {}).items():
        was = before.get(level, {})
        words = [
            f"{k} {_number(v)}" + (f" (before {_number(was[k])})" if k in was else "")
            for k, v in figures.items()
        ]
        print("  ".join([f"σ = {level}", *words]), file=sys.stderr)
    for name, figures in card.get("accuracy", {}).items():
        print("  ".join([name, *(f"{k} {_number(v)}" for k, v in figures.items())]), file=sys.stderr)
    if not (card.get("quality") or card.get("accuracy")):
        tell("api-smooth: nothing to measure it on: give the recipe a holdout in its [data]")


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
