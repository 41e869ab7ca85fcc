"""The report's figures for other programs: Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.report import attacks
from api_smoothing.report.comparing import compare
from api_smoothing.report.entries import Entry, entries_of
from api_smoothing.report.rows import OUTCOMES
from api_smoothing.report.words import between, dollars, p_value, percent, points, signed, told

if TYPE_CHECKING:
    from api_smoothing.recorded.run import Run
    from api_smoothing.recorded.summary import Share

COLUMNS: Final = (
    "run", "image", "image_sha256", "truth", "label", "clean", "outcome", "radius", "votes", "n", "answers", "usd",
    "radius_original", "attacked",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def table(runs: Iterable[Run]) -> str:
    """The summary as a Markdown table, a column a run, with exact 95 % intervals; differences below it.

    A run for a claim has none, as it ended by what it had seen.
    """
    return markdown(entries_of(runs))


def markdown(entries: Sequence[Entry]) -> str:
    """As `table`, of runs that are read already."""
    radii = sorted({radius for entry in entries for radius in entry.asked})
    summaries = [entry.summary for entry in entries]
    rows = [[f"certified at {r:g}", *(_at(entry, r) for entry in entries)] for r in radii]
    rows += [
        ["accuracy without noise", *(_share(entry, entry.summary.clean) for entry in entries)],
        ["smoothed accuracy", *(_share(entry, entry.smoothed) for entry in entries)],
        ["smoothed as without noise", *(_share(entry, entry.summary.agreement) for entry in entries)],
        ["abstained", *(_share(entry, entry.summary.abstained) for entry in entries)],
        ["failed or unreadable", *(_share(entry, entry.summary.failed) for entry in entries)],
        ["average certified radius", *(_average(entry) for entry in entries)],
        *attacks.cells(entries),
        ["images", *(f"{len(entry.rows):,}" for entry in entries)],
        ["queries, from the cache", *(f"{s.queries:,}, {s.cached:,}" for s in summaries)],
        ["dollars", *(dollars(s.usd) for s in summaries)],
    ]
    text = _markdown(["", *(entry.name for entry in entries)], rows)
    found = compare([entry.rows for entry in entries], radii)
    if not found:
        return text
    heads = [f"against {entries[0].name}", "radius", "difference, points", "95 %", "p"]
    lines = [
        [
            entries[one.other].name,
            f"{one.radius:g}",
            signed(100 * one.difference),
            points(one.low, one.high),
            (
                f"{p_value(one.p)}"
                f" ({'paired' if one.paired else 'unpaired'}{', significant' if one.significant else ''})"
            ),
        ]
        for one in found
    ]
    return f"{text}\n{_markdown(heads, lines)}"


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """The summaries and comparisons as plain JSON values."""
    radii = sorted({radius for entry in entries for radius in entry.asked})
    return {
        "schema": "api-smooth/report/1",
        "runs": [
            {
                "name": entry.name,
                "file": entry.source,
                "sha256": entry.sha256,
                **entry.summary.to_dict(),
                "attacks": None if entry.attacks is None else entry.attacks.to_dict(),
            }
            for entry in entries
        ],
        "comparisons": [asdict(one) for one in compare([entry.rows for entry in entries], radii)],
    }


def as_csv(entries: Sequence[Entry]) -> str:
    """A line an image and run. Radii have all their digits; text that a spreadsheet would run is quoted with a '.

    `radius_original` and `attacked`, the nearest image that turned the vote, are ℓ2 in pixels of the image as given.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        rows, attacked = entry.rows, entry.attacks.by_item() if entry.attacks is not None else {}
        for i in range(len(rows)):
            reach, certificate, near = float(rows.reach[i]), rows.certificates[i], attacked.get(rows.ids[i])
            text = [entry.name, rows.names[i], rows.digests[i], rows.truths[i], rows.labels[i], rows.clean[i]]
            writer.writerow(
                [
                    *map(_cell, text),
                    OUTCOMES[rows.outcomes[i]],
                    "" if reach < 0 else repr(reach),
                    int(rows.votes[i]),
                    int(rows.answers[i]),
                    int(rows.queries[i]),
                    repr(float(rows.usd[i])),
                    ""
                    if certificate is None or certificate.label is None
                    else repr(certificate.radius_original),
                    "" if near is None or near.attacked is None else repr(near.attacked),
                ]
            )
    return out.getvalue()


def _cell(value: str | None) -> str:
    text = told(value or "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _at(entry: Entry, radius: float) -> str:
    i = entry.curve.at(radius)
    if not entry.curve.n:
        return "–"
    value = percent(int(entry.curve.k[i]) / entry.curve.n)
    return _with(entry, value, between(float(entry.curve.low[i]), float(entry.curve.high[i])))


def _share(entry: Entry, share: Share | None) -> str:
    if share is None or share.value is None:
        return "–"
    return _with(entry, percent(share.value), between(share.low, share.high))


def _with(entry: Entry, value: str, interval: str) -> str:
    """A figure with its interval, which a run that ended by what it had seen does not have."""
    return f"{value} ({interval})" if entry.claim is None else value


def _average(entry: Entry) -> str:
    value, interval = entry.radius_on_average
    return value if value == "–" else _with(entry, value, interval)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(map(_plain, line))} |\n" for line in lines)


def _plain(text: str) -> str:
    """Text that stays one cell of Markdown, and no HTML."""
    for mark in "\\`|<>[]*_":
        text = text.replace(mark, f"\\{mark}")
    return text
