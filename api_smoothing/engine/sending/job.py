"""The queries of one provider batch while they are tried, and the parts a refused batch falls into."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from api_smoothing.adapters.base import EncodedImage, Verdict
from api_smoothing.engine.sending.outcome import Outcome
from api_smoothing.engine.sending.stream import Query, Stream

if TYPE_CHECKING:
    from torch import Tensor

PROBES: Final = 3  # images of a refused batch that are asked by themselves, before it is halved

Images: TypeAlias = "Sequence[EncodedImage] | Tensor"


@dataclass(eq=False, slots=True)
class Job:
    """The queries of one `send`, how often each came to no answer, and how long the provider asked to wait.

    `broken` counts all answers to a query that can be no vote, `same` those for one reason. `stop` ends its waits;
    `leaving` is called by each request whose turn has come.
    """

    queries: list[Query]
    images: Images
    leaving: Callable[[], object] = lambda: None
    outcomes: dict[Query, Outcome] = field(default_factory=dict)
    again: list[Query] = field(default_factory=list)
    versions: dict[Stream, str] = field(default_factory=dict)
    refused: Counter[Query] = field(default_factory=Counter)
    broken: Counter[Query] = field(default_factory=Counter)
    same: Counter[tuple[Query, str]] = field(default_factory=Counter)
    reached: set[Query] = field(default_factory=set)  # the provider: their failing may depend on the image
    reasons: dict[Query, str] = field(default_factory=dict)  # for the last failure of each
    wait: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def wanted(self) -> bool:
        """Whether any of its streams goes on."""
        return any(not query.stream.ended.is_set() for query in self.queries)

    def part(self, queries: Sequence[Query]) -> Images:
        """The images of these queries; of a tensor a copy, as whoever is asked may write into it."""
        if list(queries) == self.queries:
            return self.images if isinstance(self.images, Sequence) else self.images.clone()
        place = {query: row for row, query in enumerate(self.queries)}
        rows = [place[query] for query in queries]
        images = self.images
        return [images[row] for row in rows] if isinstance(images, Sequence) else images[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Queries for one request. Those left of a refused batch wait for what its `probes` come to, after the `verdict`.

    In a `mixed` batch others succeed: it is halved to find those that do not.
    """

    queries: Sequence[Query]
    mixed: bool = False
    probes: Sequence[Query] = ()
    verdict: Verdict | None = None

    def split(self, asked: Sequence[Query], verdict: Verdict) -> list[Part]:
        """What to send in place of a batch that was refused, last first."""
        if self.mixed:
            half = len(asked) // 2
            return [Part(queries=part, mixed=True) for part in (asked[half:], asked[:half])]
        probes, rest = _probes(asked)
        left = [Part(queries=rest, mixed=True, probes=probes, verdict=verdict)] if rest else []
        return [*left, *(Part(queries=[query]) for query in reversed(probes))]


def _probes(asked: Sequence[Query]) -> tuple[list[Query], list[Query]]:
    """The first PROBES of `asked`, of different images where there are several, and the rest."""
    first: dict[Stream, Query] = {}
    for query in asked:
        first.setdefault(query.stream, query)
    order = [*first.values(), *(query for query in asked if query not in set(first.values()))]
    probes = order[:PROBES]
    return probes, [query for query in asked if query not in set(probes)]
