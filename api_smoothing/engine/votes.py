"""Votes for one image: read from the cache, asked for what is missing, counted until the certifier is done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from api_smoothing.adapters.base import Answer
from api_smoothing.certify.base import FAILED, Certifier
from api_smoothing.engine.cache import VoteCache
from api_smoothing.engine.pipeline import Pipeline
from api_smoothing.engine.purse import Purse
from api_smoothing.errors import DriftError

SPAN: Final = 4096  # queries looked up and reserved together: bounds memory, whatever n is

LabelReader = Callable[[Answer], Hashable | None]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was spent on one image so far."""

    sent: int = 0
    cached: int = 0
    out_of_budget: bool = False
    version: str | None = None
    counted: dict[Hashable | None, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return sum(self.counted.values())

    def leader(self) -> tuple[str | None, int]:
        """The most frequent class so far and its votes."""
        classes = {k: v for k, v in self.counted.items() if k is not None and k is not FAILED}
        if not classes:
            return None, 0
        name = max(classes, key=lambda k: classes[k])
        return str(name), classes[name]


class VoteSource:
    """Answers of one image's queries as votes, in the order of their indices.

    `stream` names everything that decides an answer; equal streams share answers through the cache.
    """

    def __init__(
        self, *, stream: str, pipeline: Pipeline, cache: VoteCache, purse: Purse, read: LabelReader
    ) -> None:
        self._stream = stream
        self._pipeline = pipeline
        self._cache = cache
        self._purse = purse
        self._read = read
        self.tally = Tally()

    def known(self, count: int) -> list[Hashable | None]:
        """The votes already in the cache among the first `count` queries; asks nothing."""
        answers = self._cache.read(self._stream, range(count))
        return [self._read(answers[i]) for i in sorted(answers)]

    def cached_ahead(self, affordable: int) -> int:
        """How many of the first queries could be answered with `affordable` new ones."""
        index = 0
        while True:
            span = range(index, index + SPAN)
            known = self._cache.read(self._stream, span)
            for index in span:
                affordable -= index not in known
                if affordable < 0:
                    return index
            index = span.stop

    def take(self, indices: range) -> Iterator[Sequence[Hashable | None]]:
        """Votes of `indices` in portions, in order; ends early when the budget does (see `tally`)."""
        for start in range(indices.start, indices.stop, SPAN):
            yield from self._take_span(range(start, min(start + SPAN, indices.stop)))
            if self.tally.out_of_budget:
                return

    def _take_span(self, span: range) -> Iterator[Sequence[Hashable | None]]:
        known = self._cache.read(self._stream, span)
        missing = [i for i in span if i not in known]
        granted = missing[: self._purse.reserve(len(missing))]
        self.tally.out_of_budget = len(granted) < len(missing)
        end = missing[len(granted)] if self.tally.out_of_budget else span.stop
        answers: dict[int, Answer | None] = {i: a for i, a in known.items() if i < end}
        self.tally.cached += len(answers)
        given = span.start
        for portion in chain([{}], self._pipeline.ask(granted)):
            self.tally.sent += len(portion)
            answers.update(portion)
            answers.update(self._cache.write(self._stream, _given(portion)) if portion else {})
            complete = given
            while complete < end and complete in answers:
                complete += 1
            if complete > given:
                yield [self._vote(answers.pop(i)) for i in range(given, complete)]
                given = complete

    def _vote(self, answer: Answer | None) -> Hashable | None:
        if answer is None:
            vote: Hashable | None = FAILED
        else:
            self._watch(answer.model_version)
            vote = self._read(answer)
        self.tally.counted[vote] = self.tally.counted.get(vote, 0) + 1
        return vote

    def _watch(self, version: str | None) -> None:
        if version is None or version == self.tally.version:
            return
        if self.tally.version is not None:
            raise DriftError(
                f"the provider's model changed from {self.tally.version} to {version} after {self.tally.n} votes, "
                f"which voids the certificate; run again with a new --seed to start over on the new model"
            )
        self.tally.version = version


def collect(certifier: Certifier, source: VoteSource, on_round: Callable[[Tally], None]) -> None:
    """Feed `certifier` from `source` until it needs nothing more or the budget is spent."""
    index = 0
    while (count := certifier.need()) > 0:
        for votes in source.take(range(index, index + count)):
            certifier.add(votes)
            index += len(votes)
            on_round(source.tally)
        if source.tally.out_of_budget:
            return


def _given(portion: Mapping[int, Answer | None]) -> dict[int, Answer]:
    return {i: answer for i, answer in portion.items() if answer is not None}
