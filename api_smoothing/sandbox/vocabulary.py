"""What each provider would say about an image, given class scores over the ten CIFAR-10 classes.

The vocabularies have the traits that make real answers hard to read. Rekognition reports a label and all its
ancestors with exactly the same confidence, in alphabetical order. Cloud Vision puts generic entities above the
specific one and names them by stable ids. Azure mixes lower-case objects with attributes such as "outdoor".
Clarifai has ids of its own and abstract concepts. The `http` provider says the ten class names plainly.

A provider's words are a TOML file in its folder, which its declaration names:

    words = [{ name = "Kitten", about = "cat", weight = 0.7, parents = ["Cat"], id = "…" }, …]
    groups = { pets = "cat dog" }    names for several classes, to stand in `about`
    of_several = "sum"               or "likeliest": the score of a word about several classes
    made_up_ids = false              whether words without an id get one of Clarifai's form
    lower_case_before = false        whether any version but the current one speaks in lower case
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.base import Label
from api_smoothing.adapters.provider import text_of

_LEAST: Final = 0.01  # what is less likely than this is not mentioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A label, the classes it is `about`, and its score relative to theirs."""

    name: str
    about: tuple[str, ...]
    weight: float = 1.0
    parents: tuple[str, ...] = ()
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """All words of a provider, and its traits."""

    words: tuple[Word, ...]
    of_several: str = "sum"
    lower_case_before: bool = False

    def labels_of(self, scores: Mapping[str, float], version: str | None = None) -> list[Label]:
        """The labels of one answer, best first. `version` is None for the current model.

        Any other one lowers all scores by 10 to 20 %.
        """
        shift = 1.0 if version is None else _shift(version)
        lower = self.lower_case_before and version is not None
        labels = []
        for word in self.words:
            about = [scores.get(name, 0.0) for name in word.about]
            likely = max(about) if self.of_several == "likeliest" else min(1.0, fsum(about))
            if likely >= _LEAST:
                labels.append(
                    Label(
                        name=word.name.lower() if lower else word.name,
                        id=word.id,
                        parents=word.parents,
                        score=likely * word.weight * shift,
                    )
                )
        return sorted(labels, key=lambda label: (-(label.score or 0.0), label.name))


def labels_of(provider: str, scores: Mapping[str, float], version: str | None = None) -> list[Label]:
    """All labels of one answer, best first; the same for the same arguments, always.

    `provider` is one whose sandbox has a vocabulary. `scores` maps the CIFAR-10 class names to [0, 1], missing ones
    being 0. The strongest label that names a class is that class's score times a constant of the provider, so the
    classes keep their order. Any `version` other than None and the current one lowers all scores by 10 to 20 %, and
    makes Cloud Vision speak in lower case, as it once did: ids stay. Raises ValueError for any other provider.
    """
    declared = registry.find(provider)
    sandbox = None if declared is None else declared.sandbox
    if sandbox is None or sandbox.vocabulary is None:
        raise ValueError(f"no sandbox of {provider!r} has a vocabulary")
    changed = None if version == sandbox.version else version
    return read_vocabulary(sandbox.vocabulary).labels_of(scores, changed)


@functools.cache
def read_vocabulary(resource: str) -> Vocabulary:
    """The vocabulary in a TOML file, "PACKAGE:FILE"."""
    content = tomllib.loads(text_of(resource))
    groups: dict[str, str] = content.get("groups", {})
    made_up = content.get("made_up_ids", False)
    return Vocabulary(
        words=tuple(_word(entry, groups, made_up=made_up) for entry in content["words"]),
        of_several=content.get("of_several", "sum"),
        lower_case_before=content.get("lower_case_before", False),
    )


def _word(entry: Mapping[str, Any], groups: Mapping[str, str], *, made_up: bool) -> Word:
    about = [name for part in entry["about"].split() for name in groups.get(part, part).split()]
    return Word(
        name=entry["name"],
        about=tuple(about),
        weight=entry.get("weight", 1.0),
        parents=tuple(entry.get("parents", ())),
        id=entry.get("id") or (_made_up_id(entry["name"]) if made_up else None),
    )


def _shift(version: str) -> float:
    return 0.9 - 0.1 * hashlib.sha256(version.encode()).digest()[0] / 256


def _made_up_id(name: str) -> str:
    """An id of Clarifai's form for a concept whose real one no public source gives."""
    return f"ai_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
