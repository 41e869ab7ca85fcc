"""The options both scripts have, and how a run of them begins and ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from api_smoothing.errors import ApiSmoothError, ConfigurationError, unknown
from reproduce.cells import Cells
from reproduce.pages import Page, write

#: A page from the options and the cells.
Make = Callable[[argparse.Namespace, Cells], Page]

#: Option: (the published size, that of --quick, what it is). One that is a list is given as words with commas.
Sizes = Mapping[str, tuple[Any, Any, str]]


def run(
    doc: str | None, sizes: Sizes, pages: Mapping[str, Make], *, paper: str, title: str, lead: str
) -> int:
    """Make the pages that the command line asks for, in its order, and write them. Returns the exit code."""
    parser = _parser(doc, sizes, list(pages))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        _fill_in(args, sizes)
        names = _named(args.pages, list(pages))
        cells = Cells(args.out / "cells", minutes=args.minutes)
        made = [pages[name](args, cells) for name in names]
        absent = [name for name in pages if name not in names]
        print(write(made, args.out, paper=paper, title=title, lead=lead, absent=absent))
    except ApiSmoothError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _named(words: str, pages: Sequence[str]) -> list[str]:
    """The pages that are meant, in their own order: each by its name, or by a part of that between dashes."""
    meant: set[str] = set()
    for word in words.split(","):
        found = [name for name in pages if word in (name, *name.split("-"))]
        if not found:
            raise ConfigurationError(unknown("page", word, pages))
        meant.update(found)
    return [name for name in pages if name in meant]


def _parser(doc: str | None, sizes: Sizes, pages: Sequence[str]) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--data", type=Path, required=True, help="the folder with cifar10/, weights/ and photos/")
    add("--out", type=Path, required=True, help="where pages, pictures and cells go")
    add("--pages", default=",".join(pages), help=f"some of {', '.join(pages)}, or parts of these names")
    add("--quick", action="store_true", help="all pages as small as they go: that they work, no more")
    add("--minutes", type=float, help="begin no further cell after so long: the rest is told as not run")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=0)
    for name, (full, quick, about) in sizes.items():
        kind = str if isinstance(full, tuple) else type(full)
        add(f"--{name}", type=kind, help=f"{about} (default: {_words(full)}; quick: {_words(quick)})")
    return found


def _fill_in(args: argparse.Namespace, sizes: Sizes) -> None:
    """What was not given is the published size, or the quick one."""
    for name, (full, quick, _) in sizes.items():
        key = name.replace("-", "_")
        given = getattr(args, key)
        if given is None:
            setattr(args, key, quick if args.quick else full)
        elif isinstance(full, tuple):
            setattr(args, key, _read(name, given, full))


def _read(name: str, words: str, full: Sequence[Any]) -> tuple[Any, ...]:
    kind: Callable[[str], Any] = type(full[0])
    try:
        return tuple(kind(word) for word in words.split(","))
    except ValueError:
        raise ConfigurationError(f"--{name} is numbers with commas between, such as {_words(full)}") from None


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
