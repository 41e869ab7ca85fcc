"""The command line: `api-smooth COMMAND …`. One file a command, in `commands/`."""

from api_smoothing.cli.entry import main

__all__ = ["main"]
