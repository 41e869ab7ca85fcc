"""Which images the report shows: the most and the least robust, those certified wrongly, and some of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from api_smoothing.report.pictures import Picture, Pictures
from api_smoothing.report.rows import ABSTAINED, RIGHT, UNJUDGED, WRONG, Rows
from api_smoothing.report.words import floored

#: What a card is shown for, in the words of the page's filter.
KINDS: Final = {
    "wrong": "certified, wrong",
    "least": "least robust",
    "most": "most robust",
    "abstained": "abstained",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Image `index` of run `run`, shown for being `kind`; `pictures` or the reason why there are none."""

    run: int
    index: int
    kind: str
    pictures: Sequence[Picture] | str


def cards(runs: Sequence[Rows], count: int, *, fewest: int = 12) -> list[Card]:
    """About `count` images over all `runs`, with pictures; where `count` is smaller than `fewest`, more without."""
    made, found = Pictures(), []
    for run, rows in enumerate(runs):
        share = _share(max(count, fewest), len(runs), run)
        with_pictures = _share(count, len(runs), run)
        for place, (kind, index) in enumerate(chosen(rows, share)):
            certificate = rows.certificates[index]
            assert certificate is not None  # what is unreadable is not chosen
            shown: Sequence[Picture] | str = "no pictures were asked for"
            if place < with_pictures:
                shown = made.of(certificate, floored(max(float(rows.reach[index]), 0.0)))
            found.append(Card(run=run, index=index, kind=kind, pictures=shown))
    return sorted(found, key=lambda card: (list(KINDS).index(card.kind), card.run))


def chosen(rows: Rows, count: int) -> list[tuple[str, int]]:
    """At most `count` images with what they are chosen for, no image twice: each kind in turn, its best first."""
    good = np.flatnonzero((rows.outcomes == RIGHT) | (rows.outcomes == UNJUDGED))
    by_reach = good[np.argsort(rows.reach[good], kind="stable")]
    bad = np.flatnonzero(rows.outcomes == WRONG)
    kinds = {
        "wrong": bad[np.argsort(-rows.reach[bad], kind="stable")],
        "least": by_reach[: (len(by_reach) + 1) // 2],
        "most": by_reach[::-1][: len(by_reach) // 2],
        "abstained": np.flatnonzero(rows.outcomes == ABSTAINED),
    }
    turns = zip_longest(*([(kind, int(i)) for i in indices[:count]] for kind, indices in kinds.items()))
    return [one for turn in turns for one in turn if one is not None][:count]


def _share(count: int, runs: int, run: int) -> int:
    return count // runs + (run < count % runs)
