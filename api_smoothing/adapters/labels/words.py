"""The words that mean a class, in general or as one provider says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What means a class: names of labels, in any case, ids, and names of parents. Scores are in [0, 1].

    A label with one of `parents` among its parents counts for the class. `threshold` is the least score that
    counts, `thresholds` that of single words. `labels` may hold ids as well.
    """

    labels: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def canonical(self) -> list[Any]:
        """All of it, as JSON values that do not depend on the order of writing."""
        lists = [sorted(set(words)) for words in (self.labels, self.ids, self.parents)]
        return [*lists, self.threshold, sorted(self.thresholds.items())]
