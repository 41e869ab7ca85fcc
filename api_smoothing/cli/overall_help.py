"""What `api-smooth --help` says, without importing a command, or argparse: that takes as long again as Python does."""

from __future__ import annotations

import os

USAGE = "api-smooth [-h] [--version] COMMAND …"
DESCRIPTION = "Certificates of robustness for vision models you can only call."
EXIT_CODES = (
    "exit codes: 0 done (abstaining is done), 1 a gate, a claim or a check was not passed, 2 usage or \
configuration, 3 budget exhausted, 4 provider failed, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)"
)

_COMMANDS = os.path.join(os.path.dirname(__file__), "commands")
_SUMMARY = "SUMMARY = "


def names() -> list[str]:
    """The commands: the files in `commands/`."""
    files = os.listdir(_COMMANDS)
    return sorted(
        file.removesuffix(".py") for file in files if file.endswith(".py") and not file.startswith("_")
    )


def overall_help() -> str:
    """The whole text, its last line ended."""
    listing = "\n".join(f"  {name:<11} {_summary(name)}" for name in names())
    return f"""\
usage: {USAGE}

{DESCRIPTION}

options:
  -h, --help  show this help message and exit
  --version   print the version and exit

commands:
{listing}

example: api-smooth certify cat.png --sigma 0.12 --radius 0.1

{EXIT_CODES}
"""


def _summary(name: str) -> str:
    with open(os.path.join(_COMMANDS, f"{name}.py"), encoding="utf-8") as source:
        line = next(line for line in source if line.startswith(_SUMMARY))
    return line.removeprefix(_SUMMARY).strip().strip('"')
