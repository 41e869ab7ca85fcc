"""Which class of the provider a label of the data set means; what is nobody's is listed, not guessed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api_smoothing.adapters.base import Label
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.datasets.base import DataSet, Example

_FEW: Final = 8  # labels named in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Truths:
    """The labels of a data set as classes of the provider.

    `classes` maps each label that means one class to it; `unmapped` counts the images of the others, most first.
    `told` says how labels were read that are not spelled as the class, and which are none of the classes.
    """

    classes: Mapping[str, str]
    unmapped: Mapping[str, int]
    told: tuple[str, ...] = ()

    def of(self, example: Example) -> str | None:
        """The class of an example; None where it has no label, or one that is no class."""
        return None if example.truth is None else self.classes.get(example.truth)


def map_truths(
    dataset: DataSet, labels: LabelMap | None = None, known: Sequence[str] | None = None
) -> Truths:
    """Place each label of `dataset` among the classes of `labels`, else among the model's own, `known`.

    A label is the class of that name; else the one that has it but for case, spaces, hyphens and underscores; else
    the one whose word it is in the map, by name or id; else, of a model's own classes and where all labels of the set
    are numbers, the class of that number, counted from 0. Two that fit are none. Without a map and without known
    classes every label stays as it is.
    """
    counts = Counter(example.truth for example in dataset if example.truth is not None)
    names = _names(labels, known)
    if not counts or names is None:
        told = ["labels are compared with the provider's words as they are spelled"] if counts else []
        return Truths(classes={name: name for name in counts}, unmapped={}, told=tuple(told))
    alike = _by_spelling(names)
    found = {label: _candidates(label, alike, labels) for label in counts}
    told = []
    if labels is None and not any(found.values()) and _are_numbers(counts, len(names)):
        found = {label: [names[int(label)]] for label in counts}
        told.append("labels are numbers, taken as the model's own, counted from 0")
    classes = {label: fit[0] for label, fit in found.items() if len(fit) == 1}
    ambiguous = {label: fit for label, fit in found.items() if len(fit) > 1}
    unmapped = {label: count for label, count in _ordered(counts) if label not in classes}
    if read := [(f"{a!r} as {b!r}", counts[a]) for a, b in classes.items() if a != b]:
        told.append(f"labels are read as classes: {_listing(read)}")
    if ambiguous:
        several = [(f"{label!r} is {' or '.join(fit)}", counts[label]) for label, fit in ambiguous.items()]
        told.append(f"labels that fit several classes, and so none: {_listing(several)}")
    if none := [(repr(label), count) for label, count in unmapped.items() if label not in ambiguous]:
        told.append(f"labels that are none of the {len(names)} classes: {_listing(none)}")
    return Truths(classes=classes, unmapped=unmapped, told=tuple(told))


def _names(labels: LabelMap | None, known: Sequence[str] | None) -> list[str] | None:
    if labels is None:
        return None if known is None else list(known)
    extra = [name for name in (labels.other, labels.none) if name is not None]
    return list(dict.fromkeys([*labels.classes, *extra]))


def _by_spelling(names: Sequence[str]) -> dict[str, list[str]]:
    """The names that are one but for case, spaces, hyphens and underscores."""
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(_folded(name), []).append(name)
    return alike


def _candidates(label: str, alike: Mapping[str, list[str]], labels: LabelMap | None) -> list[str]:
    """The classes that a label fits."""
    near = alike.get(_folded(label), [])
    if label in near:
        return [label]
    if near or labels is None:
        return near
    for spelling in dict.fromkeys([label, _folded(label)]):
        _, entries = labels.find(Label(name=spelling, id=spelling))
        owners = [entry.owner for entry in entries if entry.owner is not None]
        if owners:
            return list(dict.fromkeys(owners))
    return []


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _are_numbers(labels: Mapping[str, int], count: int) -> bool:
    return all(label.isascii() and label.isdigit() and int(label) < count for label in labels)


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _listing(pairs: Sequence[tuple[str, int]]) -> str:
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{text} ({count:,} {'image' if count == 1 else 'images'})" for text, count in ordered[:_FEW]]
    return ", ".join(shown) + (f", and {len(pairs) - _FEW} more" if len(pairs) > _FEW else "")
