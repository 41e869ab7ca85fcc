"""Predict the smoothed classifier's label, or abstain. A prediction has no radius and needs few queries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from api_smoothing.cli.progress import Progress
from api_smoothing.cli.settings import add_setting_flags
from api_smoothing.cli.smoothing import (
    FACADE,
    add_sandbox_flag,
    complain,
    how_to_resume,
    open_api,
    run_name,
    settings_of,
)
from api_smoothing.errors import BudgetError, ProviderError

SUMMARY = "label images without a radius"
SETTINGS = ("n", *(name for name in FACADE if name != "method"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file, or a folder of them")
    add_setting_flags(parser, SETTINGS)
    add_sandbox_flag(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.cli.inputs import digest_images, find_images
    from api_smoothing.cli.text import describe_prediction

    settings = settings_of(args, SETTINGS)
    images = find_images(args.images)
    if settings.run is None and (settings.budget_queries, settings.budget_usd) != (None, None):
        settings = replace(settings, run=run_name(settings, images, about=f"predict {args.sandbox}"))
    progress = Progress(sys.stderr, len(images), summaries=False)
    decided = short = 0
    try:
        with open_api(settings, progress, sandbox=args.sandbox) as api:
            digest_images(api, images)
            for image in images:
                prediction = api.predict(image, n=settings.n or 100)
                cut = prediction.n < (settings.n or 100)
                decided, short = decided + (not cut), short + cut
                progress.clear()
                print(prediction.to_json() if args.json else describe_prediction(prediction), flush=True)
    except KeyboardInterrupt:
        progress.clear()
        complain(f"interrupted; {decided} of {len(images)} images decided, {how_to_resume(settings, argv)}")
        return 130
    except (BudgetError, ProviderError) as error:
        progress.clear()
        again = how_to_resume(settings, argv, spent=isinstance(error, BudgetError))
        standing = f"{decided} of {len(images)} images decided, {again}"
        complain(f"error: {error}; {standing}")
        return error.exit_code
    finally:
        progress.clear()
    if short:
        again = how_to_resume(settings, argv, spent=True)
        complain(f"error: the budget is exhausted; {decided} of {len(images)} images decided, {again}")
        return BudgetError.exit_code
    return 0
