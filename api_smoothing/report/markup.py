"""Tables, legends and choices as HTML, the same in every section."""

from __future__ import annotations

from collections.abc import Sequence

from api_smoothing.report.entries import Entry
from api_smoothing.report.words import escaped

NONE = '<span aria-label="none">–</span>'


def legend(entries: Sequence[Entry]) -> str:
    """Which line is which run; nothing of a single one."""
    if len(entries) == 1:
        return ""
    return f'<ul class="legend">{"".join(f"<li>{chip(i)}{escaped(e.name)}</li>" for i, e in enumerate(entries))}</ul>'


def chip(run: int) -> str:
    """A short piece of the run's line, in its colour and dashes."""
    return (
        f'<svg class="chip r{run % 8}" viewBox="0 0 22 10" aria-hidden="true"><path class="r{run % 8}" d="M0'
        ' 5H22"/></svg>'
    )


def heads(entries: Sequence[Entry]) -> list[str]:
    """The runs' names as column heads."""
    if len(entries) == 1:
        return [escaped(entries[0].name)]
    return [f"{chip(i)}{escaped(entry.name)}" for i, entry in enumerate(entries)]


def run_choice(name: str, entries: Sequence[Entry], *, every: bool) -> str:
    """A choice of one run, or of `every` one; nothing where there is no choice."""
    """A choice of one run, or of `every` one; nothing where there is no choice."""
    if len(entries) == 1:
        return ""
    options = '<option value="">all</option>' if every else ""
    options += "".join(
        f'<option value="{i}">{escaped(entry.name)}</option>' for i, entry in enumerate(entries)
    )
    return f'<label>Run<select id="{name}">{options}</select></label>'


def group(name: str, runs: int) -> str:
    """A row that begins a group of rows."""
    return f'<tr class="group"><th scope="rowgroup" colspan="{runs + 1}">{escaped(name)}</th></tr>'


def row(name: str, cells: Sequence[str], *, tag: str = "", kind: str = "") -> str:
    """A row: its name, perhaps with a tag, and HTML cells of a `kind`."""
    mark = f' <span class="tag">{tag}</span>' if tag else ""
    body = "".join(f'<td class="{kind}">{cell}</td>' if kind else f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{escaped(name)}{mark}</th>{body}</tr>'


def table(
    caption: str, heads: Sequence[str], rows: Sequence[str], *, left: int = 1, right: bool = True
) -> str:
    """A table in a box of its own that scrolls where it is too wide; heads after `left` stand over numbers."""
    cells = "".join(
        (
            f'<th scope="col"{number(right and i >= left and bool(rows) and chr(34) + "n" in rows[0])}>{head}</th>'
            if head
            else "<td></td>"
        )
        for i, head in enumerate(heads)
    )
    return (
        '<div class="scroll" tabindex="0" role="region"'
        f' aria-label="{escaped(caption)}"><table><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def number(numbers: bool) -> str:
    """The class of cells that hold numbers, where they do."""
    return ' class="n"' if numbers else ""


def lines(text: str) -> str:
    """Lines of text, each made safe."""
    return "\n".join(escaped(line) for line in text.splitlines())
