"""The gallery's cards as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from api_smoothing.report import charts
from api_smoothing.report.entries import Entry
from api_smoothing.report.gallery import KINDS, Card
from api_smoothing.report.words import escaped, floored, named

_SHOWN = 3  # labels that a card counts


def gallery(entries: Sequence[Entry], cards: Sequence[Card]) -> str:
    """All cards, with what filters and sorts them where there is a script."""
    if not cards:
        return ""
    kinds = "".join(f'<option value="{kind}">{name}</option>' for kind, name in KINDS.items())
    runs = ""
    if len(entries) > 1:
        names = "".join(
            f'<option value="{i}">{escaped(entry.name)}</option>' for i, entry in enumerate(entries)
        )
        runs = f'<label>Run<select id="card-run"><option value="">all</option>{names}</select></label>'
    tools = (
        '<div class="tools needs-js"><label>Show<select id="kind"><option'
        f' value="">all</option>{kinds}</select></label>{runs}<label>Order<select id="order"><option'
        ' value="shown">by kind</option><option value="most">largest radius first</option><option'
        ' value="least">smallest radius first</option><option value="votes">largest share of votes'
        ' first</option></select></label><p id="card-count" role="status"></p></div>'
    )
    reasons = {card.pictures for card in cards if isinstance(card.pictures, str)}
    note = "".join(
        f'<p class="note">Some images stand without pictures: {escaped(reason)}.</p>'
        for reason in sorted(reasons)
    )
    if any(not isinstance(card.pictures, str) for card in cards):
        note += (
            '<p class="note">“Changed” shows a change of exactly the certified size, spread over the image or'
            " gathered in one place: no such change, nor any other of that size, alters the smoothed answer,"
            " but for α. The bar counts the answers: the label’s own in colour, the second’s in grey; the"
            " line is half.</p>"
        )
    items = "".join(_card(entries, card) for card in cards)
    return f'{note}{tools}<ul class="cards">{items}</ul>'


def _card(entries: Sequence[Entry], card: Card) -> str:
    rows, i = entries[card.run].rows, card.index
    certificate = rows.certificates[i]
    assert certificate is not None  # see gallery.cards
    reach, truth = float(rows.reach[i]), rows.truths[i]
    facts = [f"<span>{KINDS[card.kind]}</span>"]
    if len(entries) > 1:
        facts.append(f"<span>{escaped(entries[card.run].name)}</span>")
    facts.append(f"<span>label <b>{named(rows.labels[i] or 'none')}</b></span>")
    if truth is not None:
        kind = (
            ""
            if rows.labels[i] is None
            else ' class="right"'
            if truth == rows.labels[i]
            else ' class="wrong"'
        )
        facts.append(f"<span>truth <b{kind}>{named(truth)}</b></span>")
    facts.append(f"<span>radius <b>{'none' if reach < 0 else f'{floored(reach):.4f}'}</b></span>")
    counts = sorted(certificate.counts.items(), key=lambda one: (one[0] != rows.labels[i], -one[1]))
    tally = ", ".join(f"{named(name)} {count:,}" for name, count in counts[:_SHOWN])
    rest = certificate.n - sum(count for _, count in counts[:_SHOWN])
    votes = ""
    if certificate.n:
        votes = (
            charts.votes_bar(counts[:_SHOWN], certificate.n) + f'<p class="tally">{certificate.n:,} answers:'
            f" {tally}{f', other or none {rest:,}' if rest > 0 else ''}</p>"
        )
    share = certificate.votes / certificate.n if certificate.n else 0.0
    return (
        f'<li class="card{"" if isinstance(card.pictures, str) else " seen"} r{card.run % 8}"'
        f' data-kind="{card.kind}" data-run="{card.run}" data-reach="{reach:.6f}"'
        f' data-share="{share:.4f}"><h3>{escaped(rows.names[i])}</h3><p'
        f' class="facts">{"".join(facts)}</p>{_tiles(card)}{votes}</li>'
    )


def _tiles(card: Card) -> str:
    if isinstance(card.pictures, str):
        return ""
    figures = "".join(
        f'<figure><img src="{picture.uri}" alt=""{" class=coarse" if picture.coarse else ""}>'
        f"<figcaption>{escaped(picture.caption)}</figcaption></figure>"
        for picture in card.pictures
    )
    return f'<div class="tiles">{figures}</div>'
