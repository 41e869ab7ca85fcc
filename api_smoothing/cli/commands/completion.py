"""Print a script that completes this command's flags, names and files in a shell.

It is made from the commands as they are, and asks nothing while you type: print it anew after an upgrade. bash: put the
output into ~/.local/share/bash-completion/completions/api-smooth; zsh: into a file _api-smooth of a folder in $fpath;
fish: into ~/.config/fish/completions/api-smooth.fish.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

SUMMARY = "print a completion script for bash, zsh or fish"
EXAMPLE = "api-smooth completion bash"
SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = frozenset({"IMAGE", "FILE", "MAP", "DATA", "DATASET", "RUN"})  # metavars of what lies on disk
_FOLDERS: Final = frozenset({"DIR"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    import shtab

    from api_smoothing.cli.entry import build_parser

    parser, names = build_parser(), _names()
    for action in _actions(parser):
        if action.choices is None and action.dest in names:
            action.choices = names[action.dest]
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _names() -> Mapping[str, Sequence[str]]:
    """What may stand after a flag, by the setting; files of one's own may as well."""
    from api_smoothing.adapters import registry
    from api_smoothing.adapters.labels.file import built_in
    from api_smoothing.cli.setting_kinds import Method, Noise
    from api_smoothing.denoisers import registry as denoisers

    return {
        "provider": registry.names(),
        "denoiser": ["auto", "none", *denoisers.names()],
        "labels": [*built_in()],
        "method": get_args(Method),
        "noise": get_args(Noise),
        "prior": ("learn",),
        "reuse": ("ball",),
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of the parser and of those within it."""
    for action in parser._actions:
        yield action
        inner: Any = action.choices if isinstance(action, argparse._SubParsersAction) else {}
        for command in inner.values():
            yield from _actions(command)
