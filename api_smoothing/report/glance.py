"""All figures of all runs side by side, and the runs against one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from api_smoothing.report import markup
from api_smoothing.report.comparing import Comparison, compare
from api_smoothing.report.entries import Entry, accuracy_of, asked, at
from api_smoothing.report.words import (
    between,
    dollars,
    duration,
    escaped,
    p_value,
    percent,
    points,
    signed,
)

if TYPE_CHECKING:
    from api_smoothing.recorded.summary import Share


def glance(entries: Sequence[Entry]) -> str:
    """All figures of each run, with their intervals."""
    summaries = [entry.summary for entry in entries]
    rows: list[str] = []
    radii = asked(entries)
    if radii:
        rows.append(markup.group(f"{accuracy_of(entries)}, {entries[0].norm} radius", len(entries)))
        for radius in radii:
            rows.append(markup.row(f"{radius:g}", [_certified(entry, radius) for entry in entries]))
    rows.append(markup.group("Accuracy and answers", len(entries)))
    named: list[tuple[str, Callable[[int], Share | None]]] = [
        ("Without noise", lambda i: summaries[i].clean),
        ("Smoothed, most frequent answer", lambda i: entries[i].smoothed),
        ("Smoothed as without noise", lambda i: summaries[i].agreement),
        ("Abstained", lambda i: summaries[i].abstained),
        ("Failed or unreadable", lambda i: summaries[i].failed),
    ]
    for name, share in named:
        cells = [_share(share(i)) for i in range(len(entries))]
        if any(cell != markup.NONE for cell in cells):
            rows.append(markup.row(name, cells))
    rows.append(
        markup.row(
            "Average certified radius",
            [
                '<span class="main">{}</span> <small>{}</small>'.format(*entry.radius_on_average)
                for entry in entries
            ],
        )
    )
    rows.append(markup.group("What it took", len(entries)))
    rows.append(markup.row("Images", [f"{len(entry.rows):,}" for entry in entries]))
    rows.append(
        markup.row(
            "Queries", [f"{s.queries:,} <small>and {s.cached:,} from the cache</small>" for s in summaries]
        )
    )
    rows.append(markup.row("Dollars", [dollars(s.usd) for s in summaries]))
    rows.append(markup.row("Time", [duration(s.seconds) for s in summaries]))
    return markup.table(
        "Figures of each run, with 95 % intervals", ["", *markup.heads(entries)], rows, right=False
    )


def comparison(entries: Sequence[Entry]) -> str:
    """Every run against the first, by exact tests."""
    found = compare([entry.rows for entry in entries], asked(entries))
    if not found:
        return ""
    rows = [_compared(entries, one) for one in found]
    heads = [
        "Run",
        "Radius",
        "Difference, points",
        "95 % interval",
        "Only before",
        "Only after",
        "p",
        "At 5 %",
    ]
    paired = [one for one in found if one.paired]
    how = []
    if paired:
        how.append(
            f"The same images stand in both runs ({paired[0].n_base:,}), so that they are compared image by"
            " image: McNemar’s exact test of those certified in one run alone."
        )
    if len(paired) < len(found):
        how.append("Where the images are not the same: Fisher’s exact test.")
    how.append(
        "p is two-sided. “Significant” allows for all rows of this table (Holm, 5 %). Intervals hold with at"
        " least 95 %."
    )
    caption = f"{accuracy_of(entries)} against {entries[0].name}"
    return f"<p>{' '.join(how)}</p>{markup.table(caption, heads, rows, left=2)}"


def _compared(entries: Sequence[Entry], one: Comparison) -> str:
    cells = [
        f"{one.radius:g}",
        f'<span class="main">{signed(100 * one.difference)}</span>',
        points(one.low, one.high),
        "–" if one.only_base is None else f"{one.only_base:,}",
        "–" if one.only_other is None else f"{one.only_other:,}",
        p_value(one.p),
        (
            '<span class="tag yes">significant</span>'
            if one.significant
            else '<span class="tag">not significant</span>'
        ),
    ]
    head = f'<th scope="row">{markup.chip(one.other)}{escaped(entries[one.other].name)}</th>'
    body = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f"<tr>{head}{body}</tr>"


def _certified(entry: Entry, radius: float) -> str:
    share, interval, _ = at(entry, radius)
    return f'<span class="main">{share}</span> <small>{interval}</small>'


def _share(share: Share | None) -> str:
    if share is None or share.value is None:
        return markup.NONE
    return f'<span class="main">{percent(share.value)}</span> <small>{between(share.low, share.high)}</small>'
