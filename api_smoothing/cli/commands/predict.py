"""Predict the smoothed classifier's label, or abstain. A prediction has no radius and needs few queries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from api_smoothing.certify.spec import USUAL
from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.limits import limited
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.resume import (
    how_to_resume,
    is_limited,
    run_name,
    what_is_left,
    with_larger_budget,
    with_the_number,
)
from api_smoothing.cli.settings import add_setting_flags
from api_smoothing.cli.smoothing import (
    FACADE,
    add_retry_flag,
    add_sandbox_flag,
    add_yes_flag,
    complain,
    open_api,
    settings_of,
)
from api_smoothing.cli.stopping import exit_code
from api_smoothing.errors import BudgetError, CredentialsError, ProviderError

SUMMARY = "label images without a radius"
EXAMPLE = "api-smooth predict cat.png -n 50"
SETTINGS = ("n", *(name for name in FACADE if name != "method"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file, or a folder of them")
    add_setting_flags(
        parser,
        SETTINGS,
        n=f"queries an image (default: {USUAL})",
        alpha="probability that the label is not the most frequent one (default: 0.001)",
        noise="gaussian, uniform or laplace (default: gaussian)",
    )
    add_sandbox_flag(parser)
    add_retry_flag(parser)
    add_yes_flag(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.cli.inputs import digest_images, find_images
    from api_smoothing.cli.text import describe_prediction, number_of

    asked = settings_of(args, SETTINGS)
    images = find_images(args.images)
    limits = limited(asked, sandbox=args.sandbox)
    settings, argv = limits.settings, with_the_number(argv, asked, limits.settings)
    n = settings.n
    assert isinstance(n, int)  # without a radius
    if settings.run is None and is_limited(settings):
        settings = replace(settings, run=run_name(settings, images, about=f"predict {args.sandbox}"))
    progress = Progress(sys.stderr, len(images), summaries=False)
    decided = answered = asking = 0

    def standing(again: Sequence[str]) -> str:
        progress.clear()
        count = f"{decided} of {number_of(len(images), 'image')} decided"
        return f"{count}, {how_to_resume(settings, again, answered=answered + asking > 0)}"

    try:
        with open_api(settings, progress, sandbox=args.sandbox, retry_failures=args.retry_failures) as api:
            digest_images(api, images)
            progress.clear()
            limits.told()
            if not limits.agreed(api, images, fixed=n, yes=args.yes):
                return 0
            for image in images:
                asking = 1  # what comes of it is not told if it is cut short
                prediction = api.predict(image, n=n)
                asking = 0
                answered += prediction.n - prediction.failed
                decided += prediction.n == n
                progress.clear()
                if args.json:
                    print_json(asdict(prediction))
                else:
                    print(describe_prediction(prediction), flush=True)
        if decided < len(images):
            raise BudgetError(f"the budget {what_is_left(settings, limits.account)}")
    except KeyboardInterrupt as stop:
        complain(f"interrupted; {standing(argv)}")
        return exit_code(stop)
    except BudgetError as error:
        complain(f"error: {error}; {standing(with_larger_budget(settings, argv, account=limits.account))}")
        return error.exit_code
    except ProviderError as error:
        asking *= not isinstance(error, CredentialsError)
        complain(f"error: {error}; {standing(argv)}")
        return error.exit_code
    finally:
        progress.clear()
    return 0
