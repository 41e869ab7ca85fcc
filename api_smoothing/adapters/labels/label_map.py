"""Label maps: how a provider's answer becomes a class, fixed before the first query.

Without a map the class is the provider's own top label. A map names a closed set of classes over the providers'
vocabularies; `file` reads them from TOML, `explanation` shows how an answer is read.

Without one, a *meta* concept, which says what is not in the image as Clarifai's "no person" does, is never the class. A
*general* tag stands above more specific ones, as "Animal" does above "Cat": it may be the class, and is called what it
is. Which they are is data in the provider's folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from api_smoothing.adapters import registry
from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.file import built_in, parse, read, section_of
from api_smoothing.adapters.labels.words import Words
from api_smoothing.adapters.provider import Provider, text_of

#: The score from which an answer is taken to report a label: the usual threshold of a presence certificate.
REPORTED: Final = 0.5


def key_of(label: Label) -> str:
    """The class a label stands for without a map: its name, and in brackets its id where the provider has one.

    People read the name; the id tells apart two entities of one name, and stays when the provider renames one:
    compare certificates of different days by it. Within a certificate the two go together, as a model that
    changes voids it; should a name change all the same, the vote is split, which only lowers what is proved.
    """
    return label.name if label.id in (None, label.name) else f"{label.name} ({label.id})"


def top_label(answer: Answer, passed_over: Callable[[Label], bool] | None = None) -> str | None:
    """The label with the highest score, or the first where there are no scores; None when there is no label.

    Labels that are to be `passed_over` never are it. Providers break ties in undocumented ways, so equal scores are
    ordered by id, then name: a fixed rule that does not depend on the image.
    """
    labels = [label for label in answer.labels if passed_over is None or not passed_over(label)]
    if not labels:
        return None
    if is_scoreless(answer):
        return key_of(labels[0])
    return key_of(min(labels, key=lambda label: (-(label.score or 0.0), label.id or "", label.name)))


def first_label(answer: Answer) -> str | None:
    """The label with the highest score; of equal ones, or without scores, the first; None when there is no label.

    For models in this process: what comes first is settled there, by the scores before they were rounded.
    """
    if not answer.labels:
        return None
    return key_of(max(answer.labels, key=lambda label: label.score or 0.0))


def is_scoreless(answer: Answer) -> bool:
    """Whether no label of the answer has a score; then all are certain, and the first is the best."""
    return all(label.score is None for label in answer.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordKinds:
    """A provider's `meta` and `general` words, names or ids, in lower case."""

    meta: frozenset[str] = frozenset()
    general: frozenset[str] = frozenset()

    def is_meta(self, label: Label) -> bool:
        """Whether `label` is never the class."""
        return _among(self.meta, label)

    def is_general(self, label: Label) -> bool:
        """Whether `label` is listed as general."""
        return _among(self.general, label)

    @property
    def reading(self) -> str | None:
        """Names the reading by the best label that is no meta concept; None where there is none to pass over."""
        if not self.meta:
            return None
        return f"top-label@{hashlib.sha256(json.dumps(sorted(self.meta)).encode()).hexdigest()[:16]}"


@functools.cache
def kinds_of(provider: str) -> WordKinds:
    """Those of the provider called `provider` (the name on the card); empty where it declares none."""
    declared = registry.find(provider)
    if declared is None or declared.words is None:
        return WordKinds()
    content: dict[str, Any] = tomllib.loads(text_of(declared.words))
    return WordKinds(
        **{kind: frozenset(map(str.casefold, content.get(kind, ()))) for kind in ("meta", "general")}
    )


class TopLabel:
    """Reads an answer as its best label that is no meta concept; None where there is no other. See `top_label`."""

    def __init__(self, kinds: WordKinds) -> None:
        self.kinds = kinds

    def __call__(self, answer: Answer) -> str | None:
        return top_label(answer, self.kinds.is_meta if self.kinds.meta else None)


class Reports:
    """How many of some answers report each label, whichever is the best, and which labels are general.

    A general label is listed as such, or heads a line of ancestors: a parent of other labels that has none itself.
    """

    def __init__(self, kinds: WordKinds) -> None:
        """No answer yet."""
        self._kinds = kinds
        self.answers = 0
        self._counts: Counter[str] = Counter()
        self._labels: dict[str, Label] = {}
        self._parents: set[str] = set()

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.answers += 1
        scoreless = is_scoreless(answer)
        named = {
            key_of(label): label for label in answer.labels if scoreless or (label.score or 0.0) >= REPORTED
        }
        self._counts.update(named.keys())
        self._labels |= named
        for label in answer.labels:
            self._parents.update(label.parents)

    def is_general(self, name: str) -> bool:
        """Whether the label of that name (as `key_of` has it) is general."""
        label = self._labels.get(name)
        if label is None:
            return False
        return self._kinds.is_general(label) or (label.name in self._parents and not label.parents)

    def specific(self) -> list[tuple[str, int]]:
        """The labels that are neither general nor meta, with the answers that report them, most first."""
        return [
            (self._labels[name].name, count)
            for name, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
            if not self.is_general(name) and not self._kinds.is_meta(self._labels[name])
        ]


def _among(words: frozenset[str], label: Label) -> bool:
    return label.name.casefold() in words or (label.id is not None and label.id.casefold() in words)


class Entry(NamedTuple):
    """A word of the index: the class that owns it (None: to be ignored), its rank, and the score it needs."""

    rank: int
    owner: str | None
    threshold: float
    word: str


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A closed set of classes over the vocabularies of providers.

    `classes` maps each class to the words that mean it; `sections` adds those of single providers (provider →
    class → words), which also overrule the general thresholds there. A label is known by its id, else by its
    name in exactly this spelling, else by its name in any case, else by its parents: it counts for one class,
    if its score is above 0 and reaches the threshold. `ignore` are labels that count for none.

    The class of an answer is that of the highest score. Equal scores go to the class that comes first in
    `order`, by default the order of `classes`; without any scores the first label that counts decides. `other`
    is the class of an answer in which none counts, and `none`, if given, that of an answer without labels; None
    makes that "no label".
    """

    name: str
    classes: Mapping[str, Words]
    sections: Mapping[str, Mapping[str, Words]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    other: str | None = None
    none: str | None = None
    about: str = ""
    provider: str | None = None

    def __call__(self, answer: Answer) -> str | None:
        if not answer.labels and self.none is not None:
            return self.none
        won = self.winner(answer)
        return self.other if won is None else won[1]

    def winner(self, answer: Answer) -> tuple[int, str] | None:
        """The position of the label that decides and its class; None when no label counts."""
        best: tuple[float, int, int, str] | None = None
        scoreless = is_scoreless(answer)
        for position, label in enumerate(answer.labels):
            score = 1.0 if scoreless else label.score or 0.0
            entry = counted(self.find(label)[1], score)
            if entry is None or entry.owner is None:
                continue
            key = (-score, 0 if scoreless else entry.rank, position, entry.owner)
            if best is None or key < best:
                best = key
        return None if best is None else (best[2], best[3])

    def find(self, label: Label) -> tuple[str, Sequence[Entry]]:
        """How a label is known ("id", "name" or "parent"), and the entries that know it, first class first."""
        ids, names, any_case, parents = self._index
        if label.id is not None and (found := ids.get(label.id) or any_case.get(label.id.casefold())):
            return "id", found
        if found := names.get(label.name) or any_case.get(label.name.casefold()):
            return "name", found
        return "parent", sorted(
            entry for parent in label.parents for entry in parents.get(parent.casefold(), ())
        )

    def for_provider(self, provider: str) -> Self:
        """The map as it reads this provider: its section only, or all where the vocabulary is not known.

        `provider` is the name on the adapter's card. A word in the section is taken from every other class. Where a
        plugin brings a section for this built-in map, the map has it too, and so another digest: it reads other
        words than it does for anyone else.
        """
        declared = registry.find(provider.split("/")[0])
        if declared is None or not declared.vocabulary:
            return replace(self, provider=None)
        own = self._section_of(declared)
        sections = {**self.sections, declared.name: own} if own else self.sections
        return replace(self, provider=declared.name, sections=sections)

    def _section_of(self, declared: Provider) -> Mapping[str, Words]:
        """The section that a provider declares for this map, unless the map has one, or is no built-in map."""
        source = declared.label_maps.get(self.name)
        if source is None or declared.name in self.sections or self.name not in built_in():
            return {}
        if self.sha256 != type(self).load(self.name).sha256:
            return {}
        text = text_of(source)
        return section_of(text, source, provider=declared.name, classes=self.classes, ignore=self.ignore)

    def names_for(self, provider: str) -> list[str]:
        """The labels the classes are made of, as this provider writes them: a filter for it to apply itself.

        For a class without labels in the provider's section, its general ones.
        """
        section = self.sections.get(provider, {})
        words = [
            section.get(name, Words()).labels or general.labels for name, general in self.classes.items()
        ]
        return list(dict.fromkeys(word for labels in words for word in labels))

    @property
    def thresholds(self) -> dict[str, float]:
        """The classes that have a threshold, with it; those of sections and single words left out."""
        return {n: words.threshold for n, words in self.classes.items() if words.threshold is not None}

    @property
    def has_thresholds(self) -> bool:
        """Whether some word needs a score above a threshold, here or in a provider's section."""
        layers = [self.classes, *self.sections.values()]
        every = [words for layer in layers for words in layer.values()]
        return any(words.threshold is not None or words.thresholds for words in every)

    @property
    def sha256(self) -> str:
        """The digest of everything that decides how answers are read, those of all providers.

        It does not depend on how the file is laid out, nor on `name` and `about`.
        """
        content = {
            "classes": {name: words.canonical() for name, words in self.classes.items()},
            "sections": {
                provider: {name: words.canonical() for name, words in section.items()}
                for provider, section in self.sections.items()
            },
            "order": self.order or list(self.classes),
            "ignore": sorted(set(self.ignore)),
            "rest": [self.other, self.none],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """A built-in map by name, or one from a TOML file; see `labels.file.parse` for what stands in it.

        Raises ConfigurationError, in one line that names the file and the key.
        """
        return cls(**parse(*read(source)))

    @cached_property
    def _index(self) -> tuple[dict[str, list[Entry]], ...]:
        """Entries by id, by name as spelled, by name or id in any case, and by parent in any case."""
        index: tuple[dict[str, list[Entry]], ...] = ({}, {}, {}, {})
        ids, names, any_case, parents = index
        for kind, entry in self._entries():
            if kind == "ids":
                ids.setdefault(entry.word, []).append(entry)
            elif kind == "parents":
                parents.setdefault(entry.word.casefold(), []).append(entry)
            else:
                names.setdefault(entry.word, []).append(entry)
                any_case.setdefault(entry.word.casefold(), []).append(entry)
        for table in index:
            for entries in table.values():
                entries.sort()
        return index

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        yield from (("labels", Entry(-1, None, 0.0, word)) for word in self.ignore)
        rank = {name: place for place, name in enumerate(self.order or self.classes)}
        narrowed = self.sections.get(self.provider or "", {})
        sections = list(self.sections.values()) if self.provider is None else [narrowed]
        taken: dict[tuple[str, str], set[str]] = {}
        for name, own in narrowed.items():
            for kind, word in _all(own):
                taken.setdefault(_key(kind, word), set()).add(name)
        for name, general in self.classes.items():
            special = narrowed.get(name)
            for kind, word in _all(general):
                if name in taken.get(_key(kind, word), {name}):
                    yield kind, Entry(rank[name], name, _threshold(word, special, general), word)
            for section in sections:
                if words := section.get(name):
                    for kind, word in _all(words):
                        yield kind, Entry(rank[name], name, _threshold(word, words, general), word)


def counted(entries: Sequence[Entry], score: float) -> Entry | None:
    """The first of the entries that know a label whose threshold its score reaches. A score of 0 means "not this"."""
    return next((entry for entry in entries if score >= entry.threshold), None) if score > 0 else None


def _all(words: Words) -> Iterator[tuple[str, str]]:
    for kind in ("labels", "ids", "parents"):
        yield from ((kind, word) for word in getattr(words, kind))


def _key(kind: str, word: str) -> tuple[str, str]:
    return kind, word if kind == "ids" else word.casefold()


def _threshold(word: str, special: Words | None, general: Words) -> float:
    """The section's before the general, the single word's before the class's; 0 when none is given."""
    layers = (general,) if special is None else (special, general)
    for layer in layers:
        if word in layer.thresholds:
            return layer.thresholds[word]
    return next((layer.threshold for layer in layers if layer.threshold is not None), 0.0)
