"""The report's sections as HTML, one function each; "" for one that has nothing to say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from api_smoothing.report import charts, claim, markup, settings
from api_smoothing.report.entries import Entry, accuracy_of, asked, at
from api_smoothing.report.words import dollars, escaped, listed, percent


def claims(entries: Sequence[Entry]) -> str:
    """The claim of each run as a sentence."""
    parts = []
    for i, entry in enumerate(entries):
        name = f'<p class="claimed">{escaped(entry.name)}</p>' if len(entries) > 1 else ""
        parts.append(f'<div class="r{i % 8}">{name}<p class="sentence">{claim.sentence(entry)}</p></div>')
    several = ' class="several"' if len(entries) > 1 else ""
    return f"<div{several}>{''.join(parts)}</div>"


def meaning(entries: Sequence[Entry]) -> str:
    """What the words of the claims mean, said once where it is the same for all runs."""
    terms: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        for term, text in claim.meaning(entry) if len(entry.rows) else []:
            terms.setdefault(term, {}).setdefault(text, []).append(entry.name)
    rows = "".join(
        f"<div><dt>{escaped(term)}</dt><dd>{_for_whom(texts, len(entries))}</dd></div>"
        for term, texts in terms.items()
    )
    return f'<dl class="meaning">{rows}</dl>' if rows else ""


def accuracy(entries: Sequence[Entry]) -> str:
    """The curves, what they say at one radius, and how to read them."""
    if not any(len(entry.rows) for entry in entries):
        return ""
    about = f"{accuracy_of(entries)} against radius. " + ". ".join(
        f"{entry.name}: "
        + ", ".join(f"{percent(float(entry.curve.share[entry.curve.at(r)]))} at {r:g}" for r in entry.asked)
        for entry in entries
    )
    chart = charts.accuracy(
        [entry.curve for entry in entries],
        [entry.asked for entry in entries],
        norm=listed(sorted({entry.norm for entry in entries})),
        about=about,
    )
    most = charts.x_max([entry.curve for entry in entries], [entry.asked for entry in entries])
    slider = (
        '<div class="read"><label for="radius">Read at radius</label><input type="range" id="radius" min="0"'
        f' max="{most:g}" step="0.001" value="{min(entries[0].headline, most):g}"><output id="radius-is"'
        ' for="radius"></output></div>'
    )
    rows = [
        f'<tr><th scope="row">{markup.chip(i)}{escaped(entry.name)}</th><td class="n main"'
        f' data-read="{i}">{at(entry, entry.headline)[0]}</td><td'
        f' class="n">{at(entry, entry.headline)[1]}</td><td'
        f' class="n">{at(entry, entry.headline)[2]}</td></tr>'
        for i, entry in enumerate(entries)
    ]
    heads = ["Run", accuracy_of(entries), "95 % interval", "Images"]
    caption = "At the radius that is read; without a script, at that of the claim"
    return f"{markup.legend(entries)}{chart}{slider}{markup.table(caption, heads, rows)}{_how_exact(entries)}"


def cost(entries: Sequence[Entry]) -> str:
    """What one certified image costs at each radius, in dollars where all runs had a price."""
    usd = [entry.summary.usd for entry in entries]
    answers = [float(entry.rows.queries.sum()) for entry in entries]
    priced = all(amount > 0 for amount in usd)
    about = "What one image certified right costs, against radius. " + ". ".join(
        f"{entry.name}: " + ", ".join(_price(entry, r, priced) for r in entry.asked) for entry in entries
    )
    chart = charts.cost(
        [entry.curve for entry in entries],
        usd if priced else answers,
        norm=entries[0].norm,
        unit="$" if priced else "",
        about=about,
    )
    if chart is None:
        return ""
    unit = "dollars spent" if priced else "answers used"
    rows = [
        markup.row(f"{radius:g}", [_price(entry, radius, priced, with_radius=False) for entry in entries])
        for radius in asked(entries)
    ]
    table = markup.table(f"Per image certified right: {unit}", ["Radius", *markup.heads(entries)], rows)
    intro = (
        f"All {unit}, divided by the images certified right at that radius: what you pay for one certificate"
        " of that size, the images that got none included."
    )
    decided = _decided(entries)
    return f"<p>{intro}</p>{markup.legend(entries)}{chart}{table}{decided}"


def queries(entries: Sequence[Entry]) -> str:
    """How many queries the images took, those that were read from the cache included: a histogram a run."""
    parts = []
    most = max((int(entry.rows.queries.max(initial=0)) for entry in entries), default=0)
    if not most:
        return ""
    for i, entry in enumerate(entries):
        used = entry.rows.queries[entry.rows.queries > 0]
        if not len(used):
            continue
        low, middle, high = (int(v) for v in np.quantile(used, [0.1, 0.5, 0.9], method="lower"))
        words = (
            f"half of the images took at most {middle:,} queries, one in ten {low:,} or fewer, one in ten"
            f" {high:,} or more"
        )
        if used.max() == used.min():
            words, chart = f"every image took {middle:,} queries", ""
        else:
            chart = charts.histogram(
                used, i, most=most, about=f"Queries an image took in {entry.name}: {words}"
            )
        parts.append(
            f'<div class="r{i % 8}"><h3>{escaped(entry.name)}</h3><p'
            f' class="note">{words[0].upper()}{words[1:]}; canaries and kept answers count.</p>{chart}</div>'
        )
    return f'<div class="multiples">{"".join(parts)}</div>'


def made_by(entries: Sequence[Entry]) -> str:
    """Settings side by side, digests, commands."""
    rows = [
        markup.row(
            name,
            [escaped(text) for text in texts],
            tag="differs" if differs and len(entries) > 1 else "",
            kind="digest",
        )
        for name, texts, differs in settings.side_by_side(entries)
    ]
    parts = [
        markup.table(
            "Settings of each run, as its file has them",
            ["Setting", *markup.heads(entries)],
            rows,
            right=False,
        )
    ]
    marks = [dict(settings.digests(entry)) for entry in entries]
    names = list(dict.fromkeys(name for one in marks for name in one))
    lines = [
        markup.row(name, [escaped(one.get(name, "–")) for one in marks], kind="digest") for name in names
    ]
    if lines:
        parts.append(
            "<h3>Digests</h3>"
            + markup.table("What a third party compares", ["", *markup.heads(entries)], lines, right=False)
        )
    parts.append("<h3>Commands</h3>")
    for entry in entries:
        title = f'<p class="note">{escaped(entry.name)}</p>' if len(entries) > 1 else ""
        parts.append(f'{title}<pre tabindex="0"><code>{markup.lines(settings.commands(entry))}</code></pre>')
    return "".join(parts)


def _for_whom(texts: dict[str, list[str]], runs: int) -> str:
    if len(texts) == 1:
        return next(iter(texts))
    return "<br>".join(f"<b>{escaped(listed(names))}:</b> {text}" for text, names in texts.items())


def _how_exact(entries: Sequence[Entry]) -> str:
    between_radii = any(entry.stops_early for entry in entries)
    text = (
        "The band is the exact 95 % interval at each single radius, not of the whole curve at once. Circles"
        " mark the radii that were asked for."
    )
    if between_radii:
        text += (
            " Where radii were asked for without a fixed number of answers, the curve falls at those radii"
            " alone: between two it shows what is proved at the larger one, and beyond the last one nothing, as"
            " such a run stops there."
        )
    return f'<p class="note">{text}</p>'


def _decided(entries: Sequence[Entry]) -> str:
    """The mean number of answers after which each radius was decided, where run files tell."""
    rows = []
    for radius in asked(entries):
        cells = []
        for entry in entries:
            n = [
                one["n"]
                for c in entry.rows.certificates
                if c is not None
                for one in c.radii
                if one["radius"] == radius and one["reached"] is not None
            ]
            cells.append(f"{np.mean(n):,.0f} <small>over {len(n):,} images</small>" if n else markup.NONE)
        rows.append((radius, cells))
    if all(cell == markup.NONE for _, cells in rows for cell in cells):
        return ""
    lines = [markup.row(f"{radius:g}", cells) for radius, cells in rows]
    return markup.table(
        "Answers until a radius is decided, on average", ["Radius", *markup.heads(entries)], lines
    )


def _price(entry: Entry, radius: float, priced: bool, *, with_radius: bool = True) -> str:
    k = int(entry.curve.k[entry.curve.at(radius)])
    total = entry.summary.usd if priced else float(entry.rows.queries.sum())
    text = "–" if not k or not total else dollars(total / k) if priced else f"{total / k:,.0f}"
    return f"{text} at {radius:g}" if with_radius else text
