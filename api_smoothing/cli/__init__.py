"""The command line: `api-smooth COMMAND …`. One file a command, in `commands/`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` excludes the program's name."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv in (["--help"], ["-h"]) and _helped():
        return 0
    from api_smoothing.cli import entry

    return entry.main(argv)


def _helped() -> bool:
    """Whether the help could be printed at once; where not, `entry` says why."""
    from api_smoothing.cli.overall_help import overall_help

    try:
        print(overall_help(), end="", flush=True)
    except (OSError, ValueError):  # nobody reads it, or the stream knows no "…"
        return False
    return True
