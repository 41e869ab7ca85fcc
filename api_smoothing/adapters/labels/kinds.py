"""Which of a provider's words are no class of an image, and which are general: data in the provider's folder.

A *meta* concept says what is not in the image, as Clarifai's "no person" does: it is never the class. A *general* tag
stands above more specific ones, as "Animal" does above "Cat": it may be the class, and is then called what it is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import is_scoreless, key_of, top_label
from api_smoothing.adapters.provider import text_of

#: The score from which an answer is taken to report a label: the usual threshold of a presence certificate.
REPORTED: Final = 0.5


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
