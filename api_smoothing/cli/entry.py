"""Finds the commands, runs one, and turns whatever it raises into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol, cast

from api_smoothing.cli import commands
from api_smoothing.cli.overall_help import DESCRIPTION, USAGE, names, overall_help
from api_smoothing.cli.stopping import exit_code, heeding_signals, open_missing_streams, tell
from api_smoothing.errors import ApiSmoothError, nearest, unknown
from api_smoothing.shown import shown
from api_smoothing.version import __version__

_HELP = partial(argparse.RawDescriptionHelpFormatter, max_help_position=28)

Run = Callable[[argparse.Namespace, Sequence[str]], int]


class Command(Protocol):
    """What a module in `commands/` offers."""

    SUMMARY: str
    EXAMPLE: str  # one that works as it stands, of a picture cat.png

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments; imports nothing heavy."""

    @staticmethod
    def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
        """Do it and return the exit code; `argv` is the whole command line, for messages that repeat it."""
        ...


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and name the help of the command that was meant."""

    _mixed = False  # whether flags and other arguments are being told apart

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As the base class's, with flags anywhere; `_help` and `_flags` are the innermost command's, told first."""
        if self._mixed or self._subparsers is not None:
            found, strange = super().parse_known_args(args, namespace)
        else:
            self._mixed = True  # the base class comes back here
            try:
                found, strange = self.parse_known_intermixed_args(_marked(args), namespace)
            finally:
                self._mixed = False
        found._help = getattr(found, "_help", f"{self.prog} --help")
        flags = [flag for flag in self._option_string_actions if flag not in ("-h", "--h")]
        found._flags = getattr(found, "_flags", flags)
        return found, strange

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As the base class's, with the nearest of the choices."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown("choice", str(value), [*map(str, action.choices)]))

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} (see: {self.prog} --help)")


class _OverallParser(OneLineParser):
    """The parser of the whole command line; its help lists commands that it has not imported."""

    def format_help(self) -> str:
        """The text of `overall_help`."""
        return overall_help()


def _marked(args: Sequence[str]) -> list[str]:
    """`args` without a --: what begins with a dash behind it is a file of this folder."""
    words = list(args)
    if "--" not in words:
        return words
    mark = words.index("--")
    return words[:mark] + [f"./{word}" if word.startswith("-") else word for word in words[mark + 1 :]]


class UsageError(ApiSmoothError):
    """The command line itself is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` excludes the program's name."""
    argv = sys.argv[1:] if argv is None else list(argv)
    open_missing_streams()
    try:
        return _guarded(argv)
    finally:
        _let_go()


def _guarded(argv: list[str]) -> int:
    """The exit code, whatever happens: an error is one line."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A σ that the terminal cannot show must not end a paid run.
                stream.reconfigure(errors="replace")
        with heeding_signals():
            code = _dispatch(argv)
        sys.stdout.flush()  # here, so that a closed pipe is noticed inside the try
    except ApiSmoothError as error:
        return _complain(error, str(error), error.exit_code)
    except BrokenPipeError:  # whoever read the output has gone
        return 141
    except KeyboardInterrupt as stop:
        tell("\napi-smooth: interrupted")
        return exit_code(stop)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(error, f"{place}{error.strerror or error}", 2)
    except Exception as error:  # whatever it is, the user gets one line; the traceback is for developers
        if (
            interrupt := _interrupt_behind(error)
        ) is not None:  # what was tidied up amid something else may fail
            tell("\napi-smooth: interrupted")
            return exit_code(interrupt)
        if _of_a_database(error):
            text = f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
            if "malformed" in str(error):
                text = "a database is damaged: put a copy of it back, or run `api-smooth cache repair`"
            return _complain(error, text, 2)
        text = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())} \
(API_SMOOTH_DEBUG=1 shows the traceback)"
        return _complain(error, text, 1)
    return code


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt during whose handling `error` was raised, if there is one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _dispatch(argv: list[str]) -> int:
    command = next((word for word in argv if not word.startswith("-")), None)
    if command is not None and command not in (known := names()):
        near = nearest(command, known, most=1)
        raise UsageError(f"unknown command {command!r}; did you mean {' or '.join(near)}?")
    try:
        args, strange = build_parser([] if command is None else [command]).parse_known_args(argv)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if strange:
        raise UsageError(
            f"unrecognized arguments: {' '.join(strange)}{_meant(strange, args)} (see: {args._help})"
        )
    return cast(Run, args._run)(args, argv)


def _meant(strange: Sequence[str], args: argparse.Namespace) -> str:
    """The flag that was meant by the first unknown one."""
    flag = next((word.partition("=")[0] for word in strange if word.startswith("-")), None)
    return "" if flag is None else f"; did you mean {' or '.join(nearest(flag, args._flags, most=1))}?"


def _complain(error: Exception, text: str, code: int) -> int:
    if os.environ.get("API_SMOOTH_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    tell(f"api-smooth: error: {shown(text)}")
    return code


def _of_a_database(error: Exception) -> bool:
    import sqlite3

    return isinstance(error, sqlite3.Error)


def _let_go() -> None:
    """Point an output that takes nothing more at nothing, or Python tries again at its exit and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(only: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The command line, from the modules in `commands/`: the whole one, or of the commands in `only`."""
    parser = _OverallParser(prog="api-smooth", usage=USAGE, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"api-smooth {__version__}")
    subparsers = parser.add_subparsers(
        prog="api-smooth", metavar="COMMAND", required=True, parser_class=OneLineParser
    )
    for name in names() if only is None else only:
        command = cast(Command, importlib.import_module(f"{commands.__name__}.{name}"))
        sub = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=(command.__doc__ or command.SUMMARY).strip(),
            epilog=f"example: {command.EXAMPLE}",
            formatter_class=_HELP,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.set_defaults(_run=command.run)
    return parser
