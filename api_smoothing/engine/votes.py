"""Votes for one image: read from the cache, asked for what is missing, counted until the certifier is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Protocol

from api_smoothing.adapters.base import Answer
from api_smoothing.certify.base import FAILED
from api_smoothing.engine.sending.drift import Watch
from api_smoothing.engine.sending.outcome import Open, Outcome, Usage
from api_smoothing.engine.storage.base import Claim, VoteCache
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.errors import DriftError

SPAN: Final = 4096  # queries looked up together: bounds memory, whatever n is
_POLL: Final = 0.05  # seconds between looks for an answer another process is asking for

Vote = Any  # a class, None for "no label", FAILED; or for presence a collection of labels
LabelReader = Callable[[Answer], Vote]


class Asks(Protocol):
    """What answers queries; see `engine.pipeline`."""

    def ask(self, indices: Sequence[int]) -> Iterator[dict[int, Outcome]]: ...


class Counts(Protocol):
    """A certifier, as far as collecting goes."""

    def need(self) -> int: ...

    def add(self, answers: Sequence[Vote], /) -> None: ...


@dataclass(slots=True, kw_only=True)
class QueryCount:
    """What was spent on one image so far; `sent` counts every attempt."""

    sent: int = 0
    cached: int = 0
    out_of_budget: bool = False
    version: str | None = None
    last_error: str = ""
    counted: dict[Hashable | None, int] = field(default_factory=dict)
    n: int = 0

    def count(self, vote: Vote) -> None:
        """Add a vote, or a vote for each of several labels."""
        self.n += 1
        for label in vote if isinstance(vote, frozenset) else (vote,):
            self.counted[label] = self.counted.get(label, 0) + 1

    def leader(self) -> tuple[str | None, int]:
        """The most frequent class so far and its votes."""
        classes = {k: v for k, v in self.counted.items() if k is not None and k is not FAILED}
        if not classes:
            return None, 0
        name = max(classes, key=lambda k: classes[k])
        return str(name), classes[name]


class StreamAnswers:
    """One stream's part of the cache. `shared` with processes that may be faster, or asking just now."""

    def __init__(self, cache: VoteCache, stream: str, *, shared: bool) -> None:
        self._cache, self._stream, self._shared = cache, stream, shared

    def claim(self, indices: Sequence[int]) -> Claim:
        return self._cache.claim(self._stream, indices) if self._shared else Claim(granted=tuple(indices))

    def keep(self, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        return self._cache.write(self._stream, answers) if answers else {}

    def release(self, indices: Sequence[int]) -> None:
        if self._shared and indices:
            self._cache.release(self._stream, indices)


class VoteSource:
    """Answers of one image's queries as votes, in the order of their indices.

    `stream` names everything that decides an answer; equal streams share answers through the cache. Of the budget
    enough is left for the canaries of `watch`: votes that cannot be confirmed are not bought.
    """

    def __init__(
        self,
        *,
        stream: str,
        pipeline: Asks,
        usage: Usage,
        cache: VoteCache,
        account: BudgetAccount,
        read: LabelReader,
        watch: Watch | None = None,
    ) -> None:
        self._stream = stream
        self._pipeline, self._usage = pipeline, usage
        self._cache = cache
        self._account = account
        self._read, self._watcher = read, watch
        self.tally = QueryCount()

    def known(self, count: int) -> dict[int, Vote]:
        """The votes already in the cache among the first `count` queries, by query, in order; asks nothing."""
        answers = self._cache.read(self._stream, range(count))
        return {i: self._read(answers[i]) for i in sorted(answers)}

    def cached_ahead(self, affordable: int) -> int:
        """How many of the first queries could be answered with `affordable` new ones."""
        index = 0
        while True:
            span = range(index, index + SPAN)
            known = self._cache.read(self._stream, span)
            if not known:  # what is cached was asked in order, so that nothing lies beyond
                return index + affordable
            for index in span:
                affordable -= index not in known
                if affordable < 0:
                    return index
            index = span.stop

    def finish(self) -> None:
        """To be called when no more votes are wanted. Raises DriftError when the model changed meanwhile."""
        self.tally.sent = self._usage.sent
        if self._usage.halted.is_set():  # the votes are void, and nothing is claimed that needs confirming
            return
        if self._cache.facts(f"{self._stream}/drift") is not None:
            raise DriftError(
                "another run saw the provider's model change, which voids these answers; run again to start over"
            )
        if self._watcher is not None and self.tally.n:
            try:
                self._watcher.finish(self.tally.version, self.tally.n)
            except DriftError:
                self._forget()
                raise
        self.tally.sent = self._usage.sent

    def take(self, indices: range) -> Generator[Sequence[Vote]]:
        """Votes of `indices` in portions, in order; ends early when the budget does (see `tally`)."""
        for start in range(indices.start, indices.stop, SPAN):
            yield from self._take_span(range(start, min(start + SPAN, indices.stop)))
            if self.tally.out_of_budget:
                return

    def _take_span(self, span: range) -> Generator[Sequence[Vote]]:
        known = self._cache.read(self._stream, span)
        outcomes: dict[int, Answer | None] = dict(known)
        missing = [i for i in span if i not in known]
        affordable = self._account.affordable()
        spare = 0 if self._watcher is None else self._watcher.unpaid
        todo = missing if affordable is None else missing[: max(0, affordable - spare)]
        self.tally.out_of_budget = len(todo) < len(missing)
        given = span.start
        while True:
            busy: list[int] = []
            for portion in chain([{}], self._pipeline.ask(todo)):
                self.tally.sent, self.tally.last_error = self._usage.sent, self._usage.last_error
                for index, outcome in portion.items():
                    if outcome is Open.BUSY:
                        busy.append(index)
                    elif outcome is Open.UNPAID:
                        self.tally.out_of_budget = True
                    elif not isinstance(outcome, Open):
                        outcomes[index] = outcome
                start = given
                while given < span.stop and given in outcomes:
                    given += 1
                if given > start:
                    self.tally.cached += sum(i in known for i in range(start, given))
                    yield [self._vote(outcomes.pop(i)) for i in range(start, given)]
            if not busy:
                return
            found: dict[int, Answer] = {}
            while len(found) < len(busy):
                held = self._cache.busy(self._stream, sorted(busy))
                found = self._cache.read(self._stream, sorted(busy))
                if not held:
                    break
                time.sleep(_POLL)
            known |= found
            outcomes |= found
            todo = [i for i in sorted(busy) if i not in found]

    def _vote(self, answer: Answer | None) -> Vote:
        if answer is None:
            vote: Vote = FAILED
        else:
            self._watch(answer.model_version)
            vote = self._read(answer)
        self.tally.count(vote)
        return vote

    def _watch(self, version: str | None) -> None:
        if self.tally.n == self.tally.counted.get(FAILED, 0):
            self.tally.version = version
        if version != self.tally.version:
            self._forget()
            raise DriftError(
                f"the provider's model changed from {self.tally.version} to {version} after {self.tally.n} votes, "
                f"which voids the certificate; run again to start over on the new model"
            )

    def _forget(self) -> None:
        """Have the next run start over: these answers are of more than one model."""
        self._cache.describe(f"{self._stream}/drift", {"answers": self.tally.n})


class Source(Protocol):
    """Votes of one image, in order, and what they cost."""

    @property
    def tally(self) -> QueryCount: ...

    def take(self, indices: range) -> Generator[Sequence[Vote]]: ...

    def finish(self) -> None: ...


def collect(certifier: Counts, source: Source, on_round: Callable[[QueryCount], None]) -> None:
    """Feed `certifier` from `source` until it needs nothing more or the budget is spent."""
    index = 0
    while (count := certifier.need()) > 0:
        with closing(source.take(range(index, index + count))) as portions:
            for votes in portions:
                certifier.add(votes)
                index += len(votes)
                on_round(source.tally)
                if FAILED in votes and not certifier.need():  # too many have: the rest is not asked
                    break
        if source.tally.out_of_budget:
            break
    source.finish()
