"""Estimate the queries, dollars and seconds of a run without sending anything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.limits import USUAL_TOLD, refuse_idle_n0
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.setting_kinds import norm_of
from api_smoothing.cli.settings import Settings, add_setting_flags
from api_smoothing.cli.smoothing import FACADE, add_sandbox_flag, complain, estimates, has_budget, settings_of
from api_smoothing.errors import ConfigurationError

SUMMARY = "say what a run would cost; sends nothing"
EXAMPLE = "api-smooth estimate --count 100 --provider aws --radius 0.1 --sigma 0.12"
SETTINGS = ("radius", "n", "n0", *FACADE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="an image file, or a folder of them")
    parser.add_argument("--count", type=int, metavar="K", help="a number of images, instead of images")
    add_setting_flags(parser, SETTINGS)
    add_sandbox_flag(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.cli.inputs import find_images
    from api_smoothing.engine.estimate.defaults import MOST_IMAGES

    settings = settings_of(args, SETTINGS)
    refuse_idle_n0(args, settings.method)
    if (args.count is None) == (not args.images):
        raise ConfigurationError("give images, or --count K without images")
    if args.count is not None and not 1 <= args.count <= MOST_IMAGES:
        raise ConfigurationError(
            f"--count must be a whole number from 1 to {MOST_IMAGES:,}, not {args.count}"
        )
    told = USUAL_TOLD if settings.n == "auto" and settings.radius is None else ""
    images = args.count if args.count is not None else find_images(args.images)
    progress = Progress(sys.stderr, 0, summaries=False)
    return print_estimate(
        settings, images, as_json=args.json, sandbox=args.sandbox, progress=progress, told=told
    )


def print_estimate(
    settings: Settings,
    images: Sequence[str] | int,
    *,
    as_json: bool,
    sandbox: bool,
    progress: Progress,
    remarks: Sequence[str] = (),
    radii: Sequence[float] = (),
    told: str = "",
) -> int:
    """Print the estimate for these images, or this many; `remarks` go before what it assumes. Returns the exit code.

    What is `told` stands on standard error, unless the estimate is refused.
    """
    from api_smoothing.cli.text import describe_estimate

    if not has_budget(settings):  # a name alone is none
        settings = replace(settings, run=None)
    estimate = estimates(settings, images, sandbox=sandbox, radii=radii)
    free = ["in the sandbox nothing is charged; the dollars are what the service would cost"] * sandbox
    estimate = replace(estimate, assumptions=[*remarks, *free, *estimate.assumptions])
    progress.clear()
    if told:
        complain(told)
    if as_json:
        print_json(asdict(estimate))
    else:
        print(describe_estimate(estimate, norm_of(settings.noise)))
    return 0
