"""Certified beside attacked: what attacks on the images of a run came to, where they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from api_smoothing.claims import intervals
from api_smoothing.report import markup
from api_smoothing.report.words import between, escaped, floored, p_value, short

if TYPE_CHECKING:
    from api_smoothing.recorded.attacked import Attacks
    from api_smoothing.report.entries import Entry

_SHOWN: Final = 20  # images of a run


def attacks(entries: Sequence[Entry]) -> str:
    """The count against α, loudly where it is contradicted, and the images where proof and attack are nearest."""
    parts = [_of(entry, len(entries) > 1) for entry in entries if entry.attacks is not None]
    return "".join(parts)


def _of(entry: Entry, several: bool) -> str:
    found = entry.attacks
    assert found is not None
    name = f"<h3>{escaped(entry.name)}</h3>" if several else ""
    rows = sorted(found.images, key=lambda one: (not one.broken, (one.attacked or 1e9) / one.certified))
    lines = [
        markup.row(
            short(one.item),
            [
                f"{floored(one.certified):.4f}",
                "none found" if one.attacked is None else f"{one.attacked:.4f}",
                '<strong class="wrong">TURNED INSIDE</strong>' if one.broken else "",
            ],
        )
        for one in rows[:_SHOWN]
    ]
    heads = ["Image", "Certified radius", "Nearest attack", ""]
    caption = "Certified ≤ true ≤ attacked, ℓ2 in pixels of the images as given"
    more = (
        f'<p class="note">The first {_SHOWN} of {len(rows)}: broken ones, then those where the two are nearest.</p>'
        if len(rows) > _SHOWN
        else ""
    )
    return f"{name}<p>{sentence(found)}</p>{markup.table(caption, heads, lines, right=False)}{more}"


def sentence(found: Attacks) -> str:
    """What the count says, as text."""
    images, broken = len(found.images), found.broken
    turned, beyond = found.power
    text = f"{broken} of {images} attacked images were turned inside their certified radius"
    text += f" ({between(*intervals.exact(broken, images))}; p = {p_value(found.p_value)} against α). "
    if broken and found.holds:
        text = f"<strong>{text}</strong> α allows that many; look at them. "
    if not found.holds:
        text = f"<strong>These certificates do not hold: {text}</strong>"
    text += f"The same attack beyond the radius turned {turned} of {beyond}"
    text += ", so that a clean count inside says little" if beyond and turned < beyond / 2 else ""
    gap = found.gap
    text += "." if gap is None else f"; the median of attacked over certified is {gap:.2f}."
    stale = found.passed_over
    return text + (f" {stale} attacks on other certificates than these are left out." if stale else "")


def cells(entries: Sequence[Entry]) -> list[list[str]]:
    """Rows of the table of figures, as text: name, then a cell a run."""
    joined = [entry.attacks for entry in entries]
    if not any(joined):
        return []
    inside = [
        "–" if one is None
        else f"{one.broken} of {len(one.images)}" + ("" if one.holds else ": DO NOT HOLD")
        for one in joined
    ]  # fmt: skip
    beyond = ["–" if one is None else "{} of {}".format(*one.power) for one in joined]
    gaps = ["–" if one is None or one.gap is None else f"{one.gap:.2f}" for one in joined]
    return [
        ["attacked: turned inside the certified radius", *inside],
        ["attacked: turned beyond it", *beyond],
        ["nearest attack over certified radius, median", *gaps],
    ]
