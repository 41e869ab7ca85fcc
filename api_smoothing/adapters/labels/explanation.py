"""How an answer is read, label by label: for `api-smooth labels explain`, and for whoever writes a map."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import (
    LabelMap,
    TopLabel,
    WordKinds,
    counted,
    is_scoreless,
    key_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One label of an answer and what became of it.

    `counts_for` is the class it counts for, or None; `why` says how, or why not. `threshold` is the score it had
    to reach. `won` marks the label that decides; `tie` says by which rule where others had the same score.
    """

    name: str
    score: float | None
    id: str | None
    parents: tuple[str, ...]
    counts_for: str | None
    why: str
    threshold: float | None = None
    won: bool = False
    tie: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {**asdict(self), "parents": list(self.parents)}


def explain(
    answer: Answer, label_map: LabelMap | None = None, kinds: WordKinds | None = None
) -> list[Reading]:
    """Every label of the answer in its order; None reads it without a map, by its top label of these `kinds`."""
    read = TopLabel(kinds or WordKinds()) if label_map is None else label_map
    rows = [_row(label, read, scoreless=is_scoreless(answer)) for label in answer.labels]
    position = _position(answer, read)
    if position is None:
        return rows
    won = rows[position]
    equal = [row for row in rows if row.score == won.score and row.counts_for not in (None, won.counts_for)]
    tie = _rule(won, equal, by_top=label_map is None) if equal else ""
    rows[position] = replace(won, won=True, tie=tie)
    return rows


def _row(label: Label, read: LabelMap | TopLabel, *, scoreless: bool) -> Reading:
    counts_for: str | None = None
    threshold: float | None = None
    if isinstance(read, TopLabel):
        if read.kinds.is_meta(label):
            why = "a meta concept, never the class"
        else:
            counts_for = key_of(label)
            why = "the label itself, a general tag" if read.kinds.is_general(label) else "the label itself"
    else:
        how, entries = read.find(label)
        entry = counted(entries, 1.0 if scoreless else label.score or 0.0)
        if not entries:
            why = "in no class"
        elif entry is None:
            lowest = min(entries, key=lambda known: known.threshold)
            threshold = lowest.threshold
            why = f"known by its {how}, but below {threshold:g} of {lowest.owner}"
        elif entry.owner is None:
            why = "to be ignored"
        else:
            counts_for, threshold = entry.owner, entry.threshold
            why = f"by its {how} {entry.word}" if how == "parent" else f"by its {how}"
    return Reading(
        name=label.name,
        score=label.score,
        id=label.id,
        parents=label.parents,
        counts_for=counts_for,
        why=why,
        threshold=threshold,
    )


def _position(answer: Answer, read: LabelMap | TopLabel) -> int | None:
    if isinstance(read, LabelMap):
        won = read.winner(answer)
        return None if won is None else won[0]
    top = read(answer)
    same = [i for i, label in enumerate(answer.labels) if key_of(label) == top]
    return max(same, key=lambda i: answer.labels[i].score or 0.0, default=None)


def _rule(won: Reading, equal: list[Reading], *, by_top: bool) -> str:
    others = ", ".join(dict.fromkeys(row.counts_for for row in equal if row.counts_for is not None))
    if won.score is None:
        return f"before {others}: there are no scores, and it is listed first"
    if by_top:
        return f"as high as {others}: equal scores go by id, then name"
    return f"as high as {others}: of the classes, {won.counts_for} comes first in the order"
