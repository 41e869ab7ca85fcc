"""A report of one or several runs: one HTML file that needs nothing else, and tables for other programs.

RUN is a run file of `evaluate` or `certify`, or a file of github.com/locuslab/smoothing (idx, label, predict, radius,
correct, time). The first run is the one that the others are compared with. Nothing is sent; pictures are made from the
images' files where they are still there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from api_smoothing.cli.json_output import print_json
from api_smoothing.errors import ConfigurationError

SUMMARY = "make a report of run files: a page, a table, a figure"
EXAMPLE = "api-smooth report run.jsonl -o report.html"

_MOST_RUNS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run files, the one to compare with first")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page (.html)")
    parser.add_argument("--csv", metavar="FILE", help="a line an image and run")
    parser.add_argument("--markdown", metavar="FILE", help="the table of figures")
    parser.add_argument("--png", metavar="FILE", help="the curve; needs the extra evaluate")
    parser.add_argument(
        "--json", action="store_true", help="the figures as one JSON object on standard output"
    )
    parser.add_argument(
        "--pictures", type=int, default=12, metavar="K", help="show pictures of K images in all (default: 12)"
    )
    parser.add_argument(
        "--sigma", type=float, metavar="S", help="σ of files of the authors' code whose name does not tell it"
    )


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    files = [args.output, args.csv, args.markdown, args.png]
    _refuse(args, [Path(file) for file in files if file is not None])
    from api_smoothing.cli.stopping import tell
    from api_smoothing.report import figure, page, tables
    from api_smoothing.report.entries import entries_of
    from api_smoothing.report.source import read

    entries = entries_of([read(Path(path), sigma=args.sigma) for path in args.runs])
    if args.png is not None:
        figure.draw(entries).savefig(args.png, format="png")
    if args.csv is not None:
        Path(args.csv).write_text(tables.as_csv(entries), encoding="utf-8", newline="")
    if args.markdown is not None:
        Path(args.markdown).write_text(tables.markdown(entries), encoding="utf-8")
    if args.output is not None:
        Path(args.output).write_text(page.page(entries, pictures=args.pictures), encoding="utf-8")
    if args.json:
        print_json(tables.as_json(entries))
    elif not any(files):
        print(tables.markdown(entries), end="")
    for file in files:
        if file is not None:
            tell(f"written: {file}")
    return 0


def _refuse(args: argparse.Namespace, files: Sequence[Path]) -> None:
    """What would overwrite a run, or show more than can be told apart. Raises ConfigurationError."""
    runs = {Path(run).resolve() for run in args.runs}
    if overwritten := next((file for file in files if file.resolve() in runs), None):
        raise ConfigurationError(f"{overwritten} is one of the runs: choose another file to write")
    if len({file.resolve() for file in files}) < len(files):
        raise ConfigurationError("two outputs have the same file: choose another one")
    if len(args.runs) > _MOST_RUNS:
        raise ConfigurationError(f"{len(args.runs)} runs: a report tells at most {_MOST_RUNS} apart")
    if args.pictures < 0:
        raise ConfigurationError(f"--pictures must be 0 or more, not {args.pictures}")
    if args.sigma is not None and not args.sigma > 0:
        raise ConfigurationError(f"--sigma must be above 0, not {args.sigma:g}")
