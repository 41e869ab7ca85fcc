"""The report as one file: no network, no font, no script or style but its own, each allowed by its hash alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.report import attacks, glance, listing, sections
from api_smoothing.report.cards import gallery
from api_smoothing.report.entries import Entry, accuracy_of, entries_of
from api_smoothing.report.gallery import cards
from api_smoothing.report.rows import OUTCOMES, Rows
from api_smoothing.report.words import escaped, file_name, floored, in_script, listed, short
from api_smoothing.version import __version__

if TYPE_CHECKING:
    from api_smoothing.recorded.run import Run

PICTURES: Final = 12  # images shown, of all runs together
_DARK: Final = """
  color-scheme: dark;
  --paper: #14171a; --raised: #1c2024; --ink: #e8eaec; --soft: #a3abb4; --line: #343a41; --hair: #262b30;
  --wash: #1c2024; --focus: #8ab8ff; --good: #7dd3a0; --bad: #ff9a9f;
  --r0: #7fb2ff; --r1: #f0a571; --r2: #56cbbd; --r3: #c9a3ff;
  --r4: #ff98bd; --r5: #c3ce5c; --r6: #b4bfcc; --r7: #e2b65a;
"""


def html(runs: Iterable[Run], *, pictures: int = PICTURES) -> str:
    """The whole report of one or several runs, with pictures of at most `pictures` images whose files are here."""
    return page(entries_of(runs), pictures=pictures)


def page(entries: Sequence[Entry], *, pictures: int = PICTURES) -> str:
    """As `html`, of runs that are read already."""
    style, script = _style(), _asset("page.js")
    shown = [
        ("claim", "What is certified", "", sections.claims(entries)),
        ("curves", f"{accuracy_of(entries)} at every radius", "Curves", sections.accuracy(entries)),
        ("meaning", "What the claim says exactly", "Meaning", sections.meaning(entries)),
        ("attacked", "Certified and attacked", "Attacked", attacks.attacks(entries)),
        ("compared", "Runs compared", "Compared", glance.comparison(entries)),
        ("figures", "All figures", "Figures", glance.glance(entries)),
        ("cost", "Cost against radius", "Cost", sections.cost(entries)),
        ("queries", "Queries an image took", "Queries", sections.queries(entries)),
        ("gallery", "Gallery", "Gallery", gallery(entries, cards([e.rows for e in entries], pictures))),
        ("images", "All images", "Images", listing.images(entries)),
        ("made", "How it was made", "Settings", sections.made_by(entries)),
    ]
    shown = [one for one in shown if one[3]]
    links = "".join(f'<li><a href="#{name}">{link or "Claim"}</a></li>' for name, _, link, _ in shown)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title"{" class=out" if not link else ""}>{title}</h2>{text}</section>'
        for name, title, link, text in shown
    )
    title = _title(entries)
    now = datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta'
        f' http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport"'
        ' content="width=device-width, initial-scale=1"><meta name="referrer"'
        f' content="no-referrer"><title>{title}</title><style>{style}</style></head>\n<body><a class="skip"'
        ' href="#claim">To the claim</a><header><p class="mark">Certified robustness</p><button'
        f' type="button" class="theme" hidden>Dark page</button><h1>{title}</h1><p class="when">Report of'
        f" {now}, api-smooth {__version__}</p></header>\n<nav"
        f' aria-label="Sections"><ul>{links}</ul></nav>\n<main>{body}</main>\n<footer><p>Certificates hold'
        " for the smoothed classifier named above and for what answered on that day. They say nothing of"
        " changes larger than the radius, or of another kind: blur, crops, other views of the same"
        ' thing.</p></footer>\n<script type="application/json"'
        f' id="data">{in_script(data(entries))}</script>\n<script>{script}</script></body></html>\n'
    )


def data(entries: Sequence[Entry]) -> dict[str, Any]:
    """What the script reads: curves, and all images as compact rows; radii are rounded down."""
    words: dict[str, int] = {}
    runs = []
    for entry in entries:
        curve = entry.curve
        steps = {
            "r": [floored(r, 6) for r in curve.radius.tolist()],
            "k": curve.k.tolist(),
            "low": [int(1000 * v) / 1000 for v in curve.low.tolist()],
            "high": [-int(-1000 * v // 1) / 1000 for v in curve.high.tolist()],
        }
        runs.append({"name": entry.name, "n": curve.n, "curve": steps, "rows": _rows(entry.rows, words)})
    return {"runs": runs, "words": list(words), "outcomes": OUTCOMES}


def _rows(rows: Rows, words: dict[str, int]) -> list[list[Any]]:
    def number(word: str | None) -> int:
        return -1 if word is None else words.setdefault(short(word), len(words))

    return [
        [name, number(truth), number(label), number(clean), outcome, floored(reach), votes, n, queries]
        for name, truth, label, clean, outcome, reach, votes, n, queries in zip(
            rows.names,
            rows.truths,
            rows.labels,
            rows.clean,
            rows.outcomes.tolist(),
            rows.reach.tolist(),
            rows.votes.tolist(),
            rows.answers.tolist(),
            rows.queries.tolist(),
            strict=True,
        )
    ]


def _title(entries: Sequence[Entry]) -> str:
    sets = list(dict.fromkeys(_data_name(entry) for entry in entries))
    names = " against ".join(e.name for e in entries) if len(entries) < 3 else f"{len(entries)} runs compared"
    return f"{escaped(listed(sets))}: {escaped(names)}"


def _data_name(entry: Entry) -> str:
    return short(file_name(entry.settings.get("data") or entry.source))


def _style() -> str:
    return _asset("page.css").replace("DARK", _DARK)


def _asset(name: str) -> str:
    return resources.files("api_smoothing.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
