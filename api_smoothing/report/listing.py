"""The table of all images."""

from __future__ import annotations

from collections.abc import Sequence

from api_smoothing.report import markup
from api_smoothing.report.entries import Entry
from api_smoothing.report.rows import OUTCOMES
from api_smoothing.report.words import escaped, floored, named

FIRST_ROWS = 20  # where there is no script


def images(entries: Sequence[Entry]) -> str:
    """The table of all images, which the script fills; its first rows stand here."""
    if not any(len(entry.rows) for entry in entries):
        return ""
    rows = entries[0].rows
    first = "".join(
        f"<tr><td>{escaped(rows.names[i])}</td><td>{named(rows.truths[i] or '–')}</td>"
        f"<td>{named(rows.labels[i] or '–')}</td><td>{OUTCOMES[rows.outcomes[i]]}</td>"
        f'<td class="n">{"–" if rows.reach[i] < 0 else f"{floored(float(rows.reach[i])):.4f}"}</td>'
        f'<td class="n">{_votes(int(rows.votes[i]), int(rows.answers[i]))}</td><td'
        f' class="n">{int(rows.queries[i]):,}</td></tr>'
        for i in range(min(len(rows), FIRST_ROWS))
    )
    heads = ["Image", "Truth", "Label", "Outcome", "Radius", "Votes", "Answers used"]
    head = "".join(
        f'<th scope="col" aria-sort="none"{markup.number(i > 3)}><button type="button">{name}</button></th>'
        for i, name in enumerate(heads)
    )
    options = "".join(f'<option value="{i}">{name}</option>' for i, name in enumerate(OUTCOMES))
    tools = (
        f'<div class="tools needs-js">{markup.run_choice("table-run", entries, every=False)}'
        f'<label>Outcome<select id="outcome"><option value="">any</option>{options}</select></label>'
        '<label>Name or label<input type="search" id="search" autocomplete="off"></label></div>'
    )
    pages = (
        '<div class="pages needs-js"><span><button type="button" id="first">First</button><button'
        ' type="button" id="before">Previous</button></span><span id="page-is"'
        ' role="status"></span><span><button type="button" id="next">Next</button><button type="button"'
        ' id="last">Last</button></span></div>'
    )
    more = len(entries) > 1 or len(rows) > FIRST_ROWS
    of = "" if len(entries) == 1 else f" of {escaped(entries[0].name)}"
    note = (
        f'<p class="nojs">The first {min(len(rows), FIRST_ROWS)} of {len(rows):,} images{of}; the others need'
        " JavaScript, or the CSV file.</p>"
        if more
        else ""
    )
    return (
        f'{note}{tools}<div class="scroll" tabindex="0" role="region" aria-label="Table of all images"><table'
        ' id="all"><caption class="out">All'
        f" images</caption><thead><tr>{head}</tr></thead><tbody>{first}</tbody></table></div>{pages}"
    )


def _votes(votes: int, answers: int) -> str:
    return f"{votes:,} of {answers:,}" if answers else "–"
