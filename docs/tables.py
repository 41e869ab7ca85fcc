"""Writes the table of settings in docs/settings.md from the code that reads them: `python docs/tables.py`."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

from api_smoothing.cli.setting_kinds import KINDS
from api_smoothing.cli.settings import Settings

PAGE = Path(__file__).with_name("settings.md")
START, END = "<!-- settings: written by docs/tables.py -->\n", "<!-- end of settings -->"


def settings() -> str:
    """A row a setting: how it is given, its default, its line of help."""
    defaults = {field.name: field.default for field in fields(Settings)}
    rows = ["| setting | flag | variable | default | what it is |", "|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        flag = f"`-{name}`" if len(name) == 1 else f"`--{name.replace('_', '-')}`"
        told, default = kind.help.replace("|", "\\|"), defaults[name]
        if default is MISSING:
            default = None
        if default is not None:  # it has a column of its own
            told = re.sub(r" \(default: [^()]*\)$", "", told)
        shown = "" if default is None else f"`{str(default).lower() if default is True else default}`"
        rows.append(f"| `{name}` | {flag} {kind.metavar} | `API_SMOOTH_{name.upper()}` | {shown} | {told} |")
    return "\n".join(rows) + "\n"


def with_tables(text: str) -> str:
    """The page with its tables as they are now."""
    before, rest = text.split(START)
    return f"{before}{START}{settings()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(settings(), end="")
