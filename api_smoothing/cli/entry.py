"""Finds the commands, runs one, and turns whatever it raises into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import pkgutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol, cast

from api_smoothing.cli import commands
from api_smoothing.cli.stopping import exit_code, heeding_signals, open_missing_streams, tell
from api_smoothing.errors import ApiSmoothError, nearest, unknown
from api_smoothing.shown import shown
from api_smoothing.version import __version__

EXIT_CODES = "exit codes: 0 done (abstaining is done), 2 usage or configuration, 3 budget exhausted, \
4 provider failed, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)"

_HELP = partial(argparse.RawDescriptionHelpFormatter, max_help_position=28)

Run = Callable[[argparse.Namespace, Sequence[str]], int]


class Command(Protocol):
    """What a module in `commands/` offers."""

    SUMMARY: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments; imports nothing heavy."""

    @staticmethod
    def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
        """Do it and return the exit code; `argv` is the whole command line, for messages that repeat it."""
        ...


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and name the help of the command that was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As the base class's; `_help` and `_flags` are the innermost command's, which tells them first."""
        found, strange = super().parse_known_args(args, namespace)
        found._help = getattr(found, "_help", f"{self.prog} --help")
        found._flags = getattr(found, "_flags", [*self._option_string_actions])
        return found, strange

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As the base class's, with the nearest of the choices."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown("choice", str(value), [*map(str, action.choices)]))

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} (see: {self.prog} --help)")


class UsageError(ApiSmoothError):
    """The command line itself is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` excludes the program's name."""
    argv = sys.argv[1:] if argv is None else list(argv)
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a σ that the terminal cannot show must not end a paid run
    try:
        with heeding_signals():
            code = _dispatch(argv)
        sys.stdout.flush()  # here, so that a closed pipe is noticed inside the try
    except ApiSmoothError as error:
        return _complain(error, str(error), error.exit_code)
    except BrokenPipeError:
        return _closed_pipe()
    except KeyboardInterrupt as stop:
        tell("\napi-smooth: interrupted")
        return exit_code(stop)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(error, f"{place}{error.strerror or error}", 2)
    except sqlite3.Error as error:
        text = f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
        return _complain(error, text, 2)
    except Exception as error:  # whatever it is, the user gets one line; the traceback is for developers
        text = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())} \
(API_SMOOTH_DEBUG=1 shows the traceback)"
        return _complain(error, text, 1)
    return code


def _dispatch(argv: list[str]) -> int:
    known = [found.name for found in pkgutil.iter_modules(commands.__path__)]
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        near = nearest(argv[0], known, most=1)
        raise UsageError(f"unknown command {argv[0]!r}; did you mean {' or '.join(near)}?")
    try:
        args, strange = build_parser().parse_known_args(argv)
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
    return "" if flag is None else f"; did you mean {nearest(flag, args._flags, most=1)[0]}?"


def _complain(error: Exception, text: str, code: int) -> int:
    if os.environ.get("API_SMOOTH_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    tell(f"api-smooth: error: {shown(text)}")
    return code


def _closed_pipe() -> int:
    """Whoever read the output has gone. Point it at nothing, or Python complains again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, from the modules in `commands/`."""
    parser = OneLineParser(
        prog="api-smooth",
        usage="api-smooth [-h] [--version] COMMAND …",
        description="Certificates of robustness for vision models you can only call.",
        epilog=f"example: api-smooth certify cat.png --sigma 0.12 --radius 0.1\n\n{EXIT_CODES}",
        formatter_class=_HELP,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"api-smooth {__version__}", help="print the version and exit"
    )
    found = dict(_commands())
    listing = "\n".join(f"{name:<11} {command.SUMMARY}" for name, command in found.items())
    subparsers = parser.add_subparsers(
        prog="api-smooth",
        title="commands",
        description=listing,
        help=argparse.SUPPRESS,
        metavar="COMMAND",
        required=True,
    )
    for name, command in found.items():
        sub = subparsers.add_parser(
            name,
            description=(command.__doc__ or command.SUMMARY).strip(),
            formatter_class=_HELP,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.set_defaults(_run=command.run)
    return parser


def _commands() -> Iterator[tuple[str, Command]]:
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        yield found.name, cast(Command, module)
