"""The command that began a run, as its file keeps it, and going on with it: `evaluate --resume RUN`.

Kept are the words that were given, without secrets, the folder they were given in and the variables that set something:
so what goes on is the same command, from wherever it is given. Whatever is given anew counts instead. A run file may be
somebody else's, so what decides where a key goes must be given anew, or stand in a variable.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, Final

from api_smoothing.cli.resume import without_secrets
from api_smoothing.cli.setting_kinds import KINDS, Expected
from api_smoothing.cli.settings import deciding
from api_smoothing.errors import ConfigurationError
from api_smoothing.remote import is_remote

_VARIABLE: Final = "API_SMOOTH_{}"


def command_of(argv: Sequence[str]) -> dict[str, Any]:
    """What a new run file keeps of the command line `argv`."""
    found = {name: text for name in KINDS if (text := _variable(name))}
    return {
        "argv": without_secrets(argv),
        "folder": os.getcwd(),
        "environment": {name: text for name, text in found.items() if not deciding(_settings({name: text}))},
    }


@contextmanager
def gone_on_with(args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The arguments of the command that began `args.resume`, with what `args` gives anew, in that command's folder.

    Raises ConfigurationError where the file does not tell what began it.
    """
    if args.output is not None:
        raise ConfigurationError("--resume goes on with a run file, --output names one: give one of them")
    run = args.resume if is_remote(args.resume) else Path(args.resume).absolute()
    again = f"give the whole command again, with --output {args.resume}"
    if (kept := _kept(run)) is None:
        raise ConfigurationError(
            f"{args.resume} does not tell the command that began it, as files from Python and of older versions do "
            f"not: {again}"
        )
    if not Path(kept["folder"]).is_dir():
        raise ConfigurationError(f"{args.resume} was begun in {kept['folder']}, which is not there: {again}")
    then = {**kept["environment"], **_given(_read(kept["argv"]))}
    now = {
        name: value.absolute() if isinstance(value, Path) else value for name, value in _given(args).items()
    }
    for name in _not_taken_over(then):
        if name not in now and not _variable(name):
            flag = "DATASET" if name == "dataset" else f"--{name}"
            raise ConfigurationError(
                f"{args.resume} was begun with {flag}, which decides where keys or data go and is not taken from a "
                f"file: give {flag} once more"
            )
        then.pop(name)
    merged = {**vars(args), **then, **now, "output": run, "resume": None}
    with chdir(kept["folder"]):
        yield argparse.Namespace(**merged)


def _not_taken_over(then: Mapping[str, Any]) -> list[str]:
    """The arguments that decide where a key goes, or whose secret was left out."""
    names = dict.fromkeys(name.partition(".")[0] for name in deciding(_settings(then)))
    if ":" in str(then.get("ray", "")):
        names["ray"] = None
    if str(then.get("dataset", "")).endswith("?…"):  # its signature is a secret
        names["dataset"] = None
    return list(names)


def _settings(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `texts` that are settings, as values; one that cannot be read is told of where it is used."""
    found = {}
    for name, text in texts.items():
        if name in KINDS and isinstance(text, str):
            try:
                found[name] = KINDS[name].read(text)
            except Expected:
                continue
    return found


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that are not as they are where none is given."""
    usual = vars(_read(["evaluate"]))
    return {
        name: value
        for name, value in vars(args).items()
        if not name.startswith("_") and value != usual.get(name)
    }


def _read(words: Sequence[str]) -> argparse.Namespace:
    from api_smoothing.cli.entry import build_parser

    return build_parser(["evaluate"]).parse_args(words)


def _variable(name: str) -> str | None:
    return os.environ.get(_VARIABLE.format(name.upper()))


def _kept(run: str | Path) -> Mapping[str, Any] | None:
    """The command in the header of a run file, or of its URL."""
    from api_smoothing import runs

    if isinstance(run, Path):
        return runs.header(run).command
    from api_smoothing.evaluation.mirror import mirrored

    with mirrored(run) as path:
        return runs.header(path).command
