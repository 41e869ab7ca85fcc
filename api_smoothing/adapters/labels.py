"""Label maps: how a provider's answer becomes a class, fixed before the first query.

Without a map the class is the provider's own top label. A map names a closed set of classes; each class lists
the label names and stable ids that mean it, and the score they need.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Self

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.errors import ConfigurationError


def top_label(answer: Answer) -> str | None:
    """The label with the highest score, or the first where there are no scores; None when there is no label.

    Providers break ties in undocumented ways, so equal scores are ordered by id, then name: a fixed rule
    that does not depend on the image.
    """
    if not answer.labels:
        return None
    if all(label.score is None for label in answer.labels):
        return answer.labels[0].name
    return min(answer.labels, key=lambda label: (-(label.score or 0.0), label.id or "", label.name)).name


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A closed set of classes over a provider's vocabulary.

    `classes` maps each class to the names and ids that mean it; names match without regard to case. Its order
    settles ties. A label below its class's `thresholds` entry (score in [0,1]) is not seen. `other` is the
    class of an answer in which nothing matches; None makes that "no label".
    """

    name: str
    classes: Mapping[str, tuple[str, ...]]
    thresholds: Mapping[str, float]
    other: str | None = None

    def __call__(self, answer: Answer) -> str | None:
        best: tuple[float, int, str] | None = None
        for label in answer.labels:
            for rank, name in self._meanings(label):
                score = 1.0 if label.score is None else label.score
                if score >= self.thresholds.get(name, 0.0) and (best is None or (-score, rank) < best[:2]):
                    best = (-score, rank, name)
        return self.other if best is None else best[2]

    @property
    def sha256(self) -> str:
        """The digest of everything that decides how an answer is read."""
        content = [list(self.classes.items()), sorted(self.thresholds.items()), self.other]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """A built-in map by name, or one from a TOML file.

        The file has `name`, optionally `other`, and a table `[classes.NAME]` a class with `labels` (a list of
        names or ids) and optionally `threshold`. Raises ConfigurationError when it does not.
        """
        path = Path(source)
        if path.suffix == ".toml":
            try:
                text = path.read_text("utf-8")
            except OSError as error:
                raise ConfigurationError(f"cannot read label map {path}: {error.strerror}") from None
        else:
            built_in = resources.files("api_smoothing.adapters") / "label_maps"
            entry = built_in / f"{source}.toml"
            if not entry.is_file():
                known = sorted(f.name.removesuffix(".toml") for f in built_in.iterdir())
                raise ConfigurationError(
                    f"unknown label map {str(source)!r}; use {', '.join(known)}, or the path of a .toml file"
                )
            text = entry.read_text("utf-8")
        return cls._parse(text, str(source))

    @classmethod
    def _parse(cls, text: str, where: str) -> Self:
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"label map {where} is not valid TOML: {error}") from None
        classes = content.get("classes")
        if not isinstance(classes, dict) or not classes:
            raise ConfigurationError(f"label map {where} names no class; add a table [classes.NAME]")
        for name, table in classes.items():
            _check_class(name, table, where)
        return cls(
            name=str(content.get("name", Path(where).stem)),
            classes={name: tuple(table["labels"]) for name, table in classes.items()},
            thresholds={n: float(t["threshold"]) for n, t in classes.items() if "threshold" in t},
            other=content.get("other"),
        )

    def _meanings(self, label: Label) -> list[tuple[int, str]]:
        found = self._index.get(label.name.casefold(), [])
        return found + self._index.get(label.id.casefold(), []) if label.id else found

    @cached_property
    def _index(self) -> dict[str, list[tuple[int, str]]]:
        index: dict[str, list[tuple[int, str]]] = {}
        for rank, (name, labels) in enumerate(self.classes.items()):
            for label in labels:
                index.setdefault(label.casefold(), []).append((rank, name))
        return index


def _check_class(name: str, table: Any, where: str) -> None:
    labels = table.get("labels") if isinstance(table, dict) else None
    if not isinstance(labels, list) or not labels or not all(isinstance(v, str) for v in labels):
        raise ConfigurationError(f'label map {where}: [classes.{name}] needs labels = ["…"]')
    threshold = table.get("threshold", 0.0)
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ConfigurationError(f"label map {where}: threshold of {name} must be a score in [0, 1]")
