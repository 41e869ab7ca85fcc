"""Certify that no perturbation within a radius changes an image's label.

Give a radius to have it decided with as few queries as possible, a number of queries for the best radius they
can prove, or both: the radius as target and the number as cap.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.cli.progress import Progress
from api_smoothing.cli.settings import Settings, add_setting_flags
from api_smoothing.cli.smoothing import FACADE, complain, how_to_resume, open_api, settings_of
from api_smoothing.errors import BudgetError, ConfigurationError, ProviderError

if TYPE_CHECKING:
    from api_smoothing import Certificate, SmoothedAPI
    from api_smoothing.cli.runfile import RunFile

SUMMARY = "certify a radius for images"
SETTINGS = ("radius", "n", "n0", *FACADE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file, or a folder of them")
    add_setting_flags(parser, SETTINGS)
    parser.add_argument("--dry-run", action="store_true", help="print what it would cost; send nothing")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")
    output.add_argument(
        "--output", type=Path, metavar="FILE", help="append to this run file (.jsonl), which can be resumed"
    )


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.cli.inputs import find_images

    settings = settings_of(args, SETTINGS)
    if settings.radius is None and settings.n is None:
        raise ConfigurationError(
            "give --radius R (decided with few queries), -n N (best radius for N queries), or both"
        )
    images = find_images(args.images)
    progress = Progress(sys.stderr, len(images), summaries=args.json or not sys.stderr.isatty())
    if args.dry_run:
        from api_smoothing.cli.commands.estimate import print_estimate

        return print_estimate(settings, images, as_json=args.json, progress=progress)
    return _Run(args, argv, settings, images, progress).certify()


class _Run:
    """One run over all images; keeps count of what is done for the message of an early end."""

    def __init__(
        self,
        args: argparse.Namespace,
        argv: Sequence[str],
        settings: Settings,
        images: Sequence[str],
        progress: Progress,
    ) -> None:
        self._args, self._argv, self._settings = args, argv, settings
        self._images, self._progress = images, progress
        self._decided = self._out_of_budget = self._failed = self._sent = 0

    def certify(self) -> int:
        with ExitStack() as stack:
            stack.callback(self._progress.clear)
            try:
                api = stack.enter_context(open_api(self._settings, self._progress))
                for certificate in self._certificates(api, stack):
                    self._count(certificate)
                    self._print(certificate)
            except KeyboardInterrupt:
                self._progress.clear()
                complain(f"interrupted; {self._standing()}")
                return 130
            except (BudgetError, ProviderError) as error:
                self._progress.clear()
                complain(f"error: {error}; {self._standing()}")
                return error.exit_code
        return self._finish()

    def _certificates(self, api: SmoothedAPI, stack: ExitStack) -> Iterator[Certificate]:
        """The certificates of all images: those the run file has, then the others as they are made."""
        from api_smoothing.cli.inputs import digest_images
        from api_smoothing.cli.runfile import open_run

        settings = self._settings
        digests = digest_images(api, self._images)
        done: RunFile | None = None
        left = list(self._images)
        if self._args.output is not None:
            asked = {"radius": settings.radius, "n": settings.n, "n0": settings.n0}
            done = stack.enter_context(open_run(self._args.output, {**api.settings(), **asked}))
            known = {image: done.find(image, digest) for image, digest in digests.items()}
            left = [image for image in left if known[image] is None]
            self._decided = len(known) - len(left)
            if self._decided:
                complain(f"{self._decided} of {len(known)} images are already in {self._args.output}")
        more = {} if settings.n0 is None else {"n0": settings.n0}
        for certificate in api.certify_many(left, radius=settings.radius, n=settings.n, **more):
            if done is not None and certificate.n:
                done.append(certificate)
            yield certificate

    def _count(self, certificate: Certificate) -> None:
        self._sent += certificate.queries
        self._out_of_budget += certificate.stopped == "budget"
        self._failed += certificate.stopped == "failed"
        self._decided += certificate.stopped not in ("budget", "failed")

    def _print(self, certificate: Certificate) -> None:
        from api_smoothing.cli.text import describe_certificate

        self._progress.clear()
        print(certificate.to_json() if self._args.json else describe_certificate(certificate), flush=True)

    def _finish(self) -> int:
        if self._failed:
            complain(f"error: too many answers failed for {self._failed} images; {self._standing()}")
            return ProviderError.exit_code
        if self._out_of_budget:
            spent = "is exhausted" if self._sent else "is too small for any further image: raise it"
            complain(f"error: the budget {spent}; {self._standing()}")
            return BudgetError.exit_code
        return 0

    def _standing(self) -> str:
        count = f"{self._decided} of {len(self._images)} images decided"
        return f"{count}, {how_to_resume(self._settings, self._argv)}"
