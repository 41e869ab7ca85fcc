"""Certify a whole data set: accuracy at radii, with intervals, a price, and a file that others can check.

Images are asked about at all radii at once. With -n each has one bound, without it ends when all radii are decided. A
single radius has the rule that needs the fewest; with a budget its cap is the one with which it goes furthest.
--at-least makes a claim: images in random order, until it is proved, refuted or not paid for. --baseline and
--fail-under are gates for builds: they fail only where chance cannot explain it. --corruptions repeats all of it on
corrupted images, each a run of its own beside the clean one (run.jsonl, run.fog-3.jsonl), on one budget for all.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_smoothing.cli.begun import command_of, gone_on_with
from api_smoothing.cli.consent import agreed_to_range
from api_smoothing.cli.datasets import add_dataset_flags
from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.limits import limited
from api_smoothing.cli.overall import Overall
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.resume import (
    how_to_resume,
    is_limited,
    run_name,
    what_is_left,
    with_larger_budget,
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
from api_smoothing.cli.workers import add_worker_flags, workers_of
from api_smoothing.errors import (
    BudgetError,
    ConfigurationError,
    CredentialsError,
    ProviderError,
)
from api_smoothing.remote import is_remote

if TYPE_CHECKING:
    from api_smoothing.datasets import DataSet
    from api_smoothing.evaluation import Evaluation
    from api_smoothing.events import Event, Observer
    from api_smoothing.recorded import Run
    from api_smoothing.recorded.gate import Gate
    from api_smoothing.smoothed import SmoothedAPI

SUMMARY = "certify a data set: accuracy at radii, claims, gates"
EXAMPLE = "api-smooth evaluate . --sigma 0.12 --radii 0,0.1 -n 60 --output run.jsonl"
SETTINGS = ("n", "prior", *FACADE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?",
        help="a folder of classes or of images, a .csv of path and label, an .npz, CIFAR-10's binary version, a folder "
        "written by `datasets`; or the URL (s3://, gs://, az://, https://) of a folder, an image, a .csv or an .npz",
    )
    parser.add_argument(
        "--radii", default="0,0.1,0.25", metavar="R,R,…", help="radii to certify (0,0.1,0.25)"
    )
    add_setting_flags(parser, SETTINGS)
    parser.add_argument(
        "--epoch", metavar="NAME", help="ask afresh: a round of votes of its own, such as 2026-12"
    )
    add_dataset_flags(parser)
    parser.add_argument(
        "--no-clean", action="store_true", help="leave out the query about each image as it is"
    )
    parser.add_argument(
        "--corruptions", metavar="C,C,…", help="besides, under these: all, or names as fog or fog:3"
    )
    parser.add_argument("--severities", metavar="S", help="of them: 3, 1..5 or 1,3,5 (1..5)")
    claim = parser.add_argument_group("a claim")
    claim.add_argument(
        "--at-least",
        type=float,
        metavar="X",
        help="stop when accuracy at the radius is proved to be at least X, or not",
    )
    claim.add_argument("--confidence", type=float, default=0.95, metavar="C", help="of the claim (0.95)")
    gates = parser.add_argument_group("gates: exit 1 where one is not passed")
    gates.add_argument(
        "--baseline", type=Path, metavar="RUN", help="an earlier run file, to be no worse than"
    )
    gates.add_argument("--max-drop", type=float, default=0.0, metavar="D", help="by more than D (0)")
    gates.add_argument(
        "--fail-under", type=float, metavar="X", help="accuracy at --radius must not be below X"
    )
    gates.add_argument(
        "--radius",
        dest="gate_radius",
        type=float,
        metavar="R",
        help="the radius of the gates: the largest, if not given",
    )
    gates.add_argument("--junit", type=Path, metavar="FILE", help="write the gates as JUnit's XML")
    add_worker_flags(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what it would cost; send nothing")
    add_sandbox_flag(parser)
    add_retry_flag(parser)
    add_yes_flag(parser)
    parser.add_argument(
        "--output",
        type=_place,
        metavar="FILE",
        help="the run file (.jsonl) or its s3:// URL, which can be resumed",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run file as the command that began it, in its folder; what is given besides counts instead",
    )
    parser.add_argument(
        "--json", action="store_true", help="the summary as one JSON object, and nothing else"
    )


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.resume is not None:
        with gone_on_with(args) as merged:
            return _run(merged, argv)
    if args.dataset is None:
        raise ConfigurationError("which images? Give a DATASET, or --resume RUN to go on with a run file")
    return _run(args, argv, command=command_of(argv))


def _goes_on(args: argparse.Namespace) -> bool:
    """Whether there may be a run file already; of one that lies elsewhere nobody has looked yet."""
    return args.output is not None and not (isinstance(args.output, Path) and not args.output.exists())


def _run(args: argparse.Namespace, argv: Sequence[str], *, command: Mapping[str, Any] | None = None) -> int:
    """Evaluate, where a new file keeps the `command`."""
    from api_smoothing.datasets import open_dataset
    from api_smoothing.engine.parts import epoch

    radii = _radii(args.radii)
    settings = settings_of(args, SETTINGS)
    _check(args, radii)
    epoch(args.epoch)
    workers = workers_of(args)
    data = open_dataset(
        args.dataset,
        limit=args.limit,
        column_path=args.column_path,
        column_label=args.column_label,
        classes=args.classes,
    )
    settings = workers.sharing(settings)
    limits = limited(replace(settings, n=100, radius=None), sandbox=args.sandbox)
    settings = replace(limits.settings, n=settings.n)
    wanted = _corruptions(args)
    terminal = sys.stderr.isatty()
    progress = Progress(sys.stderr, 0, summaries=False, charged=not args.sandbox)
    if args.dry_run:
        return _dry_run(args, data, settings, radii, progress, runs=1 + len(wanted))
    if settings.run is None and is_limited(settings):
        about = f"evaluate {args.sandbox} {radii} {args.epoch} {args.at_least}{' '.join(['', *wanted])}"
        settings = replace(settings, run=run_name(settings, [args.dataset], about=about))
    baseline = None
    if args.baseline is not None:
        from api_smoothing.recorded import read_run

        baseline = read_run(args.baseline)
        if limits.card is not None and baseline.header.settings.get("epoch") == args.epoch:
            raise ConfigurationError(
                f"{args.baseline} has the answers of the same round, which are kept: give --epoch NAME, another one, "
                "so that what the vendor has changed is seen"
            )
    settings = workers.first_account(settings)
    if args.junit is not None:
        args.junit.unlink(missing_ok=True)  # that of an earlier run says nothing of this one
    for line in limits.unset:
        complain(line)
    progress.say("loading …")
    with ExitStack() as stack:
        stack.callback(progress.clear)
        api = stack.enter_context(
            open_api(
                settings,
                sandbox=args.sandbox,
                retry_failures=args.retry_failures,
                epoch=args.epoch,
                account=workers.account,
                goes_on=_goes_on(args),
            )
        )

        waiting, agreed = 1 + len(wanted), False  # runs, which are agreed to together

        def agree(images: int) -> None:
            nonlocal waiting, agreed
            runs, waiting = waiting, waiting - 1
            if limits.price is None or not limits.price.micro_usd or not images or limits.sandbox or agreed:
                return
            agreed = True
            cost = _estimate(api, images * runs, radii, settings)
            if not agreed_to_range(cost.usd_low, cost.usd_high, yes=args.yes):
                raise _Declined

        overall = Overall(progress, terminal=terminal, agree=agree)
        try:
            watching = (partial(_check_images, baseline), overall)
            runs = _evaluated(args, data, api, radii, settings, watching, wanted, workers.engine, command)
        except _Declined:
            return 0
        except KeyboardInterrupt as stop:
            progress.clear()
            _write_junit(args, [], unfinished="interrupted")
            complain(f"interrupted; {how_to_resume(settings, argv, answered=overall.asked)}")
            return exit_code(stop)
        except (BudgetError, ProviderError) as error:
            progress.clear()
            _write_junit(args, [], unfinished=str(error))
            asked = overall.asked and not isinstance(error, CredentialsError)
            complain(f"error: {error}; {how_to_resume(settings, argv, answered=asked)}")
            return error.exit_code
        progress.clear()
        gates: list[Gate] = []
        name, found = list(runs.items())[-1]  # the one that was not come through, if any
        of = f" of {name} ({len(runs)} of {1 + len(wanted)} runs)" if wanted else ""
        done = found.run.images - found.left
        told = f"the budget is spent; {done:,} of {found.run.images:,} images{of} decided"
        unfinished = told if found.left and found.out_of_budget else ""
        if wanted:
            _print_all(args, runs)
        elif found.run.certificates or found.run.unreadable:  # else the budget paid for none
            gates = _gates(args, found, radii, baseline)
            _print(args, found, gates)
        _write_junit(args, gates, found, unfinished=unfinished)
    if unfinished:
        again = with_larger_budget(
            settings,
            argv,
            usd_each=0.0 if limits.price is None else limits.price.micro_usd / 1e6,
            account=limits.account,
        )
        complain(
            f"error: the budget {what_is_left(settings, limits.account)}; {done:,} of {found.run.images:,} images{of} "
            f"decided, {how_to_resume(settings, again, answered=bool(found.run.queries))}"
        )
        return BudgetError.exit_code
    return 0 if all(gate.passed for gate in gates) else 1


def _place(text: str) -> str | Path:
    """A path, or a URL, which is none."""
    return text if is_remote(text) else Path(text)


class _Declined(Exception):
    """The user does not want to spend that."""


def _evaluated(
    args: argparse.Namespace,
    data: DataSet,
    api: SmoothedAPI,
    radii: tuple[float, ...],
    settings: Settings,
    observers: Sequence[Observer],
    wanted: Sequence[str],
    engine: Any,
    command: Mapping[str, Any] | None,
) -> dict[str, Evaluation]:
    """The run on the images as they are, "clean", then those under the corruptions that are `wanted`."""
    from api_smoothing.evaluation import evaluate, evaluate_corrupted

    options: dict[str, Any] = {
        "radii": radii,
        "n": settings.n,
        "sample": args.sample,
        "sample_seed": args.sample_seed,
        "output": args.output,
        "clean": False if args.no_clean else None,
        "observers": observers,
        "engine": engine,
        "command": command,
    }
    if wanted:
        return evaluate_corrupted(api, data, wanted, **options)
    return {"clean": evaluate(api, data, at_least=args.at_least, confidence=args.confidence, **options)}


def _corruptions(args: argparse.Namespace) -> list[str]:
    """The corruptions besides the images as they are, as "fog:3". Raises ConfigurationError."""
    if args.corruptions is None:
        if args.severities is not None:
            raise ConfigurationError("--severities are those of --corruptions: give them, such as all")
        return []
    from api_smoothing.cli.commands.corrupt import severities
    from api_smoothing.corruptions import named

    levels = severities(args.severities or "1..5", "--severities")
    return [f"{name}:{severity}" for name, severity in named(args.corruptions.split(","), levels)]


def _print_all(args: argparse.Namespace, runs: Mapping[str, Evaluation]) -> None:
    from api_smoothing.evaluation.corrupted import means_of, rows_of_all, summaries_of

    if args.json:
        facts = {name: one.to_dict() for name, one in summaries_of(runs).items()}
        print_json({"runs": facts, "means": means_of(runs)})
    else:
        _print_rows(rows_of_all(runs))


def _gates(args: argparse.Namespace, found: Evaluation, radii: Sequence[float], baseline: Any) -> list[Gate]:
    from api_smoothing.recorded import gate

    radius = max(radii) if args.gate_radius is None else args.gate_radius
    gates = []
    if args.at_least is not None and found.run.claim is not None:
        gates.append(gate.claimed(found.run.claim))
    if baseline is not None:
        gates.append(gate.no_worse_than(baseline, found.run, radius, max_drop=args.max_drop))
    if args.fail_under is not None:
        gates.append(gate.at_least(found.run, radius, args.fail_under))
    return gates


def _check_images(baseline: Run | None, event: Event) -> None:
    """Refuse to compare other pixels, before the first query."""
    from api_smoothing.events import DataSetOpened
    from api_smoothing.recorded import gate

    if baseline is not None and isinstance(event, DataSetOpened):
        gate.check_same_images(baseline, event.digests)


def _write_junit(
    args: argparse.Namespace, gates: Sequence[Gate], found: Evaluation | None = None, *, unfinished: str
) -> None:
    from api_smoothing.recorded import gate

    if args.junit is not None:
        name = str(args.output or args.dataset) if found is None else found.run.name
        seconds = 0.0 if found is None else found.run.seconds
        gate.write_junit(args.junit, gates, name=name, seconds=seconds, unfinished=unfinished)


def _print(args: argparse.Namespace, found: Evaluation, gates: Sequence[Gate]) -> None:
    if args.json:
        values = found.summary.to_dict()
        print_json({**values, "gates": [gate.to_dict() for gate in gates]} if gates else values)
    else:
        print_table(found)
    for gate in gates:
        if not gate.passed:
            complain(f"not passed: {gate.why}")


def print_table(found: Evaluation) -> None:
    """The numbers of an evaluation on standard output."""
    _print_rows([("", "", "95 % interval"), *found.rows()])


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """A table, heads first: the first and the last column from the left, those between to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from api_smoothing.shown import shown

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    heads, *body = rows
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if 0 < column < len(heads) - 1 else "left")
    for row in body:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = Console(soft_wrap=True)
    if not console.is_terminal:  # a file has no width
        console = Console(width=40 + max(sum(map(len, row)) for row in rows))
    console.print(table)


def _dry_run(
    args: argparse.Namespace,
    data: DataSet,
    settings: Settings,
    radii: tuple[float, ...],
    progress: Progress,
    *,
    runs: int,
) -> int:
    from api_smoothing.cli.commands.estimate import print_estimate

    images, remarks = min(len(data), args.sample or len(data)) * runs, list(data.told)
    if runs > 1:
        remarks.append(f"{images // runs:,} images as they are, and under {runs - 1} corruptions")
    if args.at_least is not None:
        remarks.append("a claim ends as soon as it is decided, which may be long before the last image")
    if not args.no_clean and args.at_least is None:
        remarks.append(f"besides, {images:,} queries about the images as they are")
    if _aims(radii, settings):
        settings, radii = replace(settings, radius=radii[0]), ()
    return print_estimate(
        settings,
        images,
        as_json=args.json,
        sandbox=args.sandbox,
        progress=progress,
        remarks=remarks,
        radii=radii,
    )


def _estimate(api: SmoothedAPI, images: int, radii: tuple[float, ...], settings: Settings) -> Any:
    if _aims(radii, settings):
        return api.estimate(images, radius=radii[0], n=settings.n)
    return api.estimate(images, radii=radii, n=settings.n)


def _aims(radii: Sequence[float], settings: Settings) -> bool:
    return len(radii) == 1 and radii[0] > 0 and not isinstance(settings.n, int)


def _radii(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise ConfigurationError(
            f"--radii must be numbers with commas between, such as 0,0.25, not {text!r}"
        ) from None
    if not found or not all(0 <= radius < math.inf for radius in found):
        raise ConfigurationError(f"--radii must be 0 or more, not {text!r}")
    return found


def _check(args: argparse.Namespace, radii: Sequence[float]) -> None:
    """Refuse what does not go together, before anything is loaded."""
    if args.gate_radius is not None and args.fail_under is None and args.baseline is None:
        raise ConfigurationError(
            "--radius is that of the gates --fail-under and --baseline; --radii are certified"
        )
    if args.gate_radius is not None and args.gate_radius > max(radii) and args.n is None:
        raise ConfigurationError(
            f"--radius {args.gate_radius:g} is beyond --radii, which end at {max(radii):g}"
        )
    if args.gate_radius is not None and not 0 <= args.gate_radius < math.inf:
        raise ConfigurationError(f"--radius must be 0 or more, not {args.gate_radius:g}")
    both = args.output, args.baseline
    if all(isinstance(path, Path) and path.exists() for path in both) and args.output.samefile(args.baseline):
        raise ConfigurationError(f"--output {args.output} is the --baseline itself: name another file")
    if args.junit is not None and args.fail_under is None and args.baseline is None and args.at_least is None:
        raise ConfigurationError("--junit reports gates: give --fail-under, --baseline or --at-least")
    if args.corruptions is not None:
        for flag in ("at_least", "baseline", "fail_under"):
            if getattr(args, flag) is not None:
                raise ConfigurationError(
                    f"--{flag.replace('_', '-')} is about one run, --corruptions makes several: give one of them"
                )
    if args.limit is not None and args.sample is not None:
        raise ConfigurationError("--limit takes the first images and --sample random ones: give one of them")
    for name in ("at_least", "fail_under", "max_drop"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise ConfigurationError(f"--{name.replace('_', '-')} is a share from 0 to 1, not {value:g}")
    if args.at_least is not None and len(radii) != 1:
        raise ConfigurationError("--at-least is about one radius: give --radii R")
    if args.max_drop and args.baseline is None:
        raise ConfigurationError("--max-drop is allowed since --baseline RUN: give that")
    for name in ("output", "junit"):
        path = getattr(args, name)
        if isinstance(path, Path) and (path.is_dir() or not path.parent.is_dir()):
            raise ConfigurationError(f"--{name} {path}: name a file in a folder that is there")
