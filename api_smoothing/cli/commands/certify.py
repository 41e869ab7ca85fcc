"""Certify that no perturbation within a radius changes an image's label.

Give a radius to have it decided with as few queries as possible, a number of queries for the best radius they
can prove, or both: the radius as target and the number as cap. Without a number a radius has a cap of 1,000 where
queries cost money or their price is unknown, of 10,000 where they are free, never fewer than it needs; without both
the best radius for 100 queries is given. Without a budget a run ends at 5 US dollars where a query has a price.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.limits import Limited, limited, refuse_idle_n0
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.resume import (
    how_to_resume,
    is_limited,
    retrying,
    run_name,
    what_is_left,
    with_larger_budget,
    with_the_number,
)
from api_smoothing.cli.settings import Settings, add_setting_flags
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
from api_smoothing.cli.suggestion import is_open, suggestion
from api_smoothing.cli.text import number_of
from api_smoothing.errors import BudgetError, ConfigurationError, CredentialsError, ProviderError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing import Certificate, SmoothedAPI
    from api_smoothing.runs import RunFile

SUMMARY = "certify a radius for images"
EXAMPLE = "api-smooth certify cat.png --radius 0.1 --sigma 0.12"
SETTINGS = ("radius", "n", "n0", "prior", "reuse", *FACADE)

_ENOUGH: Final = 1000  # queries an image that a dry run about presence assumes where no cap is given
_CHOOSING: Final = 100  # queries that only choose the class, where --n0 is not given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file, or a folder of them")
    add_setting_flags(parser, SETTINGS)
    parser.add_argument("--dry-run", action="store_true", help="print what it would cost; send nothing")
    add_sandbox_flag(parser)
    add_retry_flag(parser)
    add_yes_flag(parser)
    parser.add_argument(
        "--labels-present",
        metavar="LABELS",
        help="certify that labels are reported, not which is first: 'all', or names such as cat,dog:0.7 "
        "with the score each needs (0.5)",
    )
    parser.add_argument(
        "--labels-absent",
        metavar="LABELS",
        help="certify that labels are not reported: names such as weapon,blood:0.3 with the score below which "
        "each counts as absent (0.5)",
    )
    parser.add_argument(
        "--unseen-ok",
        action="store_true",
        help="certify the absence of a name that no answer has at any score: you are sure of its spelling",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")
    output.add_argument(
        "--output", type=Path, metavar="FILE", help="append to this run file (.jsonl), which can be resumed"
    )


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.cli.inputs import find_images

    settings = settings_of(args, SETTINGS)
    refuse_idle_n0(args, settings.method, labels=_of_labels(args))
    if _of_labels(args):
        thresholds_of(args.labels_present, args.labels_absent)  # refuses what cannot be read
    if args.output is not None:
        _refuse_output(args.output)
    images = find_images(args.images)
    summaries = args.json or not sys.stderr.isatty()
    progress = Progress(sys.stderr, len(images), summaries=summaries, charged=not args.sandbox)
    limits = limited(settings, sandbox=args.sandbox, labels=_of_labels(args), refuses=True)
    if args.dry_run:
        return _dry_run(args, settings, limits, images, progress)
    again = with_the_number(argv, settings, limits.settings)
    settings = limits.settings
    if settings.run is None and is_limited(settings):
        settings = replace(settings, run=run_name(settings, images, about=_about(args)))
    return _Run(args, again, replace(limits, settings=settings), images, progress).certify()


def _dry_run(
    args: argparse.Namespace, settings: Settings, limits: Limited, images: Sequence[str], progress: Progress
) -> int:
    from api_smoothing.cli.commands.estimate import print_estimate

    remarks, told = [], ""
    if _of_labels(args):  # all labels share at most n queries, whatever becomes of each
        most = _most(limits.settings)
        remarks = [f"all labels whose presence is asked for share {most:,} queries an image at most"]
        if settings.n == "auto" and settings.radius is not None:
            remarks.append(limits.unset[0])
        elif settings.n is None:
            remarks = [f"{remarks[0]}, though there is no cap; to be sure of it, give the run -n {most}"]
        settings = replace(settings, n=most, radius=None, method="fixed")
    elif settings.n == "auto" and settings.radius is None:
        told = limits.unset[0]
    return print_estimate(
        settings,
        images,
        as_json=args.json,
        sandbox=args.sandbox,
        progress=progress,
        remarks=remarks,
        told=told,
    )


class _Run:
    """One run over all images; keeps count of what is done for the message of an early end."""

    def __init__(
        self,
        args: argparse.Namespace,
        argv: Sequence[str],
        limits: Limited,
        images: Sequence[str],
        progress: Progress,
    ) -> None:
        self._args, self._argv = args, argv
        self._limits, self._settings = limits, limits.settings
        self._images, self._progress = images, progress
        self._decided = self._out_of_budget = self._failed = self._sent = self._answered = 0
        self._suggested = False
        self._reason = ""

    def certify(self) -> int:
        with ExitStack() as stack:
            stack.callback(self._progress.clear)
            try:
                api = stack.enter_context(
                    open_api(
                        self._settings,
                        self._progress,
                        sandbox=self._args.sandbox,
                        retry_failures=self._args.retry_failures,
                        goes_on=self._args.output is not None and self._args.output.exists(),
                    )
                )
                for certificates in self._certificates(api, stack):
                    self._count(certificates)
                    for certificate in certificates:
                        self._print(certificate)
            except KeyboardInterrupt as stop:
                self._progress.clear()
                self._answered += self._progress.started  # requests under way are waited for, and kept
                complain(f"interrupted; {self._standing()}")
                return exit_code(stop)
            except (BudgetError, ProviderError) as error:
                self._progress.clear()
                asked = not isinstance(error, CredentialsError) and self._progress.started
                self._answered += asked or self._progress.votes
                complain(f"error: {error}; {self._standing(spent=isinstance(error, BudgetError))}")
                return error.exit_code
        return self._finish()

    def _certificates(self, api: SmoothedAPI, stack: ExitStack) -> Iterator[list[Certificate]]:
        """The certificates of each image that the run file does not have, as they are made."""
        from api_smoothing import runs
        from api_smoothing.cli.inputs import digest_images

        settings = self._settings
        digests = digest_images(api, self._images)
        done: RunFile | None = None
        left = list(self._images)
        if self._args.output is not None:
            asked = {"radius": settings.radius, "n": settings.n, "n0": settings.n0}
            if self._args.labels_present is not None:
                asked["labels_present"] = self._args.labels_present
            done = stack.enter_context(runs.open(self._args.output, {**api.settings(), **asked}))
            if self._args.labels_absent is not None:
                asked["labels_absent"] = self._args.labels_absent
            of_labels = _of_labels(self._args)  # read from the cache again: which are lacking?
            known = (
                {} if of_labels else {image: done.find(image, digest) for image, digest in digests.items()}
            )
            earlier = {image: found for image, found in known.items() if found is not None}
            api.teach(earlier.values())
            for image, found in earlier.items():
                api.recall(image, found)
            left = [image for image in left if image not in earlier]
            self._decided = len(digests) - len(left)
            if self._decided:
                known_ones = f"{self._decided} of {number_of(len(digests), 'image')}"
                complain(
                    f"{known_ones} {'is' if self._decided == 1 else 'are'} already in {self._args.output}"
                )
        if not self._agreed(api, left):
            return
        for certificates in self._made(api, left):
            for certificate in certificates:
                if done is None:
                    continue
                new = not _of_labels(self._args) or not done.holds(certificate)
                if certificate.queries or (certificate.n and new):  # what was paid always leaves a line
                    done.append(certificate)
            yield certificates

    def _agreed(self, api: SmoothedAPI, images: Sequence[str]) -> bool:
        """Whether the run may begin, now that its limits and its price are told."""
        self._progress.clear()
        if not images:
            return False
        self._limits.told()
        fixed = _most(self._settings) if _of_labels(self._args) else None
        return self._limits.agreed(api, images, fixed=fixed, yes=self._args.yes)

    def _made(self, api: SmoothedAPI, images: Sequence[str]) -> Iterator[list[Certificate]]:
        settings = self._settings
        if _of_labels(self._args):
            thresholds, absent = thresholds_of(self._args.labels_present, self._args.labels_absent)
            for image in images:
                yield api.certify_labels(
                    image,
                    thresholds=thresholds,
                    radius=settings.radius,
                    n=settings.n,
                    absent=absent,
                    unseen_ok=self._args.unseen_ok,
                )
            return
        more: dict[str, Any] = {} if settings.n0 is None else {"n0": settings.n0}
        for certificate in api.certify_many(images, radius=settings.radius, n=settings.n, **more):
            yield [certificate]

    def _count(self, certificates: Sequence[Certificate]) -> None:
        stopped = {certificate.stopped for certificate in certificates}
        self._sent += sum(certificate.queries for certificate in certificates)
        self._answered += sum(
            certificate.n + certificate.n0 - certificate.failed for certificate in certificates
        )
        self._out_of_budget += "budget" in stopped
        self._failed += "failed" in stopped
        self._reason = next((c.reason for c in certificates if c.stopped == "failed"), self._reason)
        self._decided += not stopped & {"budget", "failed"}

    def _print(self, certificate: Certificate) -> None:
        from api_smoothing.cli.text import describe_certificate

        self._progress.clear()
        if self._args.json:
            print_json(certificate.to_dict())
            return
        print(describe_certificate(certificate), flush=True)
        if is_open(certificate) and not self._suggested:
            self._suggested = True  # once a command: it takes a while
            told = suggestion(certificate, self._settings, sandbox=self._args.sandbox)
            print(f"  {'':<9} {shown(told)}", flush=True)

    def _finish(self) -> int:
        if self._failed:
            failed = f"too many answers failed for {number_of(self._failed, 'image')}"
            complain(f"error: {failed} ({self._reason}); {self._standing(failed=True)}")
            return ProviderError.exit_code
        if self._out_of_budget:
            left = what_is_left(self._settings, self._limits.account)
            complain(f"error: the budget {left}; {self._standing(spent=True)}")
            return BudgetError.exit_code
        return 0

    def _standing(self, *, spent: bool = False, failed: bool = False) -> str:
        count = f"{self._decided} of {number_of(len(self._images), 'image')} decided"
        settings, again = self._settings, self._argv
        if spent:
            price = self._limits.price
            each = 0.0 if price is None else price.micro_usd / 1e6
            again = with_larger_budget(
                settings, again, fewest=_fewest(settings), usd_each=each, account=self._limits.account
            )
        if failed:  # they are remembered, and would fail the next run as well
            again = retrying(again)
        return f"{count}, {how_to_resume(settings, again, answered=self._decided + self._answered > 0)}"


def _most(settings: Settings) -> int:
    """Answers that all labels of an image share at most, or are taken to."""
    return settings.n if isinstance(settings.n, int) else _ENOUGH


def _fewest(settings: Settings) -> int:
    """Queries that are enough to begin an image: all of a fixed number, or twice what a sure one takes."""
    from api_smoothing.certify.plan import min_queries
    from api_smoothing.certify.spec import Spec
    from api_smoothing.engine.estimate.pricing import CANARIES

    spec = Spec(
        radius=settings.radius,
        n=settings.n if isinstance(settings.n, int) else None,
        n0=settings.n0 or _CHOOSING,
        sigma=settings.sigma,
        alpha=settings.alpha,
        method=settings.method,
        noise=settings.noise,
    )
    if spec.radius is None or spec.fixed is not None:
        return CANARIES + (spec.fixed or 0)
    of = {"alpha": settings.alpha, "sigma": settings.sigma, "noise": settings.noise}
    return CANARIES + 2 * min_queries(spec.radius, **of)  # type: ignore[arg-type]


def _refuse_output(file: Path) -> None:
    """Refuse a run file that cannot be made, before anything is loaded."""
    if file.is_dir():
        raise ConfigurationError(f"--output {file} is a folder; name a file in it, such as run.jsonl")
    if not file.parent.is_dir():
        raise ConfigurationError(f"--output {file}: no such folder; make it first")


def _of_labels(args: argparse.Namespace) -> bool:
    """Whether the question is which labels are reported, or not."""
    return args.labels_present is not None or args.labels_absent is not None


def _about(args: argparse.Namespace) -> str:
    """What of the question is no setting."""
    absent = "" if args.labels_absent is None else f" absent {args.labels_absent}"
    return f"certify {args.sandbox} {args.labels_present}{absent}"


def thresholds_of(
    present: str | None, absent: str | None
) -> tuple[float | dict[str, float], tuple[str, ...]]:
    """The score each label needs, and the labels whose absence is asked about, from the two flags."""
    known = 0.5 if absent is None else read_thresholds(absent, "--labels-absent")
    if absent is not None and not isinstance(known, dict):
        raise ConfigurationError("--labels-absent takes names: nobody can list all that is absent")
    names = tuple(known) if isinstance(known, dict) else ()
    if present is None:
        return known, names
    wanted = read_thresholds(present)
    if not isinstance(known, dict):
        return wanted, ()
    if not isinstance(wanted, dict):
        if set(known.values()) != {wanted}:
            raise ConfigurationError(
                f"with --labels-present all every label has the score {wanted:g}: give --labels-absent none"
            )
        return wanted, names
    for name in known.keys() & wanted.keys():
        if known[name] != wanted[name]:
            raise ConfigurationError(f"{name!r} has two scores: {wanted[name]:g} and {known[name]:g}")
    return {**wanted, **known}, names


def read_thresholds(text: str, flag: str = "--labels-present") -> float | dict[str, float]:
    """What --labels-present says: 0.5 for "all", or the score each named label needs."""
    if text.strip() == "all":
        return 0.5
    found = {}
    for part in text.split(","):
        name, _, score = part.rpartition(":") if ":" in part else (part, "", "0.5")
        try:
            if not name.strip():
                raise ValueError
            found[name.strip()] = float(score)
            if not 0 <= found[name.strip()] <= 1:
                raise ValueError
        except ValueError:
            raise ConfigurationError(
                f"{flag}: {part.strip()!r} is no NAME or NAME:SCORE, a score from 0 to 1"
            ) from None
    return found
