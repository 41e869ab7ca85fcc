"""Votes for one image, as a state machine: which queries it needs, what came of them, the votes in order.

It never asks and never waits, so that one loop can drive many images: see `engine.scheduler`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from api_smoothing.adapters.base import Answer
from api_smoothing.adapters.labels.label_map import Reports, TopLabel
from api_smoothing.certify.base import FAILED, Possible
from api_smoothing.engine.sending import Open, Outcome, Usage, Watch
from api_smoothing.engine.storage import BudgetAccount, Claim, VoteCache
from api_smoothing.errors import BudgetError, DriftError
from api_smoothing.events import CountedAnswer

SPAN: Final = 4096  # queries looked up together: bounds memory, whatever n is
CHUNK: Final = 256  # answers of a model in this process that are written down together

Vote = Any  # a class, None for "no label", FAILED; or for presence a collection of labels
LabelReader = Callable[[Answer], Vote]
Told = Callable[[Sequence[CountedAnswer]], object]


@dataclass(slots=True, kw_only=True)
class QueryCount:
    """What was spent on one image so far; `sent` counts every attempt. `reports` is what answers say besides the vote,
    where that is their best label. Votes are `unconfirmed` where the budget had no room for the last canary: they prove
    nothing until a run with a larger one has asked it.
    """

    sent: int = 0
    cached: int = 0
    out_of_budget: bool = False
    unconfirmed: bool = False
    version: str | None = None
    last_error: str = ""
    counted: dict[Hashable | None, int] = field(default_factory=dict)
    n: int = 0
    reports: Reports | None = None

    def count(self, vote: Vote) -> None:
        """Add a vote, or a vote for each of several labels."""
        self.n += 1
        for label in vote if isinstance(vote, frozenset) else (vote,):
            if isinstance(label, Possible):
                continue
            self.counted[label] = self.counted.get(label, 0) + 1

    def leader(self) -> tuple[str | None, int]:
        """The most frequent class so far and its votes."""
        classes = {k: v for k, v in self.counted.items() if k is not None and k is not FAILED}
        if not classes:
            return None, 0
        name = max(classes, key=lambda k: classes[k])
        return str(name), classes[name]


class StreamAnswers:
    """One stream's part of the cache. `shared` with processes that may be faster, or asking just now.

    With `retry` remembered failures are not read, and end when there is an answer. Answers that are not shared cost
    nothing but time: they are written down together, as `CHUNK` or at `flush`.
    """

    def __init__(self, cache: VoteCache, stream: str, *, shared: bool, retry: bool = False) -> None:
        self._cache, self._stream, self._shared, self._retry = cache, stream, shared, retry
        self._unwritten: dict[int, Answer] = {}

    def claim(self, indices: Sequence[int]) -> Claim:
        if not self._shared:
            return Claim(granted=tuple(indices))
        claim = self._cache.claim(self._stream, indices)
        return replace(claim, failed={}) if self._retry and claim.failed else claim

    def keep(self, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        if self._shared:
            return self._cache.write(self._stream, answers) if answers else {}
        self._unwritten |= answers
        if len(self._unwritten) >= CHUNK:
            self.flush()
        return dict(answers)

    def flush(self) -> None:
        unwritten, self._unwritten = self._unwritten, {}
        if unwritten:
            self._cache.write(self._stream, unwritten)

    def fail(self, reasons: Mapping[int, str]) -> None:
        if reasons:
            self._cache.fail(self._stream, reasons)

    def release(self, indices: Sequence[int]) -> None:
        if self._shared and indices:
            self._cache.release(self._stream, indices)


class Votes(Protocol):
    """The votes of one image. Whoever drives it asks what `need` says, and `give`s what came of it.

    ```
    votes.expect(certifier.need())
    while not votes.settled:
        outcomes = …ask(votes.need())…   # nothing to ask while others ask: come back later
        votes.give(outcomes)
        certifier.add(votes.take())
    ```

    An index that `need` has named is under way until `give` brings its outcome. Outcomes may come in any order and
    from any thread's work, but the object itself is used by one thread at a time.
    """

    @property
    def count(self) -> QueryCount:
        """What was spent and counted so far."""
        ...

    @property
    def settled(self) -> bool:
        """Whether every vote that is expected and can be paid has been taken."""
        ...

    def known(self, count: int) -> dict[int, Vote]:
        """The votes already kept among the first `count`, by their number, in order; asks nothing."""
        ...

    def within(self, affordable: int) -> int:
        """How many of the first votes could be had with `affordable` new queries."""
        ...

    def expect(self, votes: int) -> None:
        """Want that many votes more."""
        ...

    def need(self) -> Sequence[int]:
        """The queries to ask now (ascending), each named once; none while all are under way, here or elsewhere."""
        ...

    def ahead(self, count: int, *, most: int | None = None) -> Sequence[int]:
        """Up to `count` queries that would be needed next, for whole votes, of the first `most` votes.

        They are to be asked like those that are needed; their answers are kept, and count once they are expected.
        """
        ...

    def give(self, outcomes: Mapping[int, Outcome]) -> None:
        """What came of queries: an answer, a failure (None), or `Open`: nothing, and they will be needed again."""
        ...

    def take(self) -> Sequence[Vote]:
        """The next votes in order, as far as they are there. Raises DriftError when the model changed."""
        ...

    def finish(self) -> None:
        """To be called when no more votes are wanted; may ask the canary. Raises DriftError."""
        ...


class VoteSource:
    """Votes of one image, one for each answer, in the order of their indices.

    `stream` names everything that decides an answer; equal streams share answers through the cache. Of the budget
    enough is left for the canaries of `watch`: votes that cannot be confirmed are not bought. When `stop` is set,
    nothing is claimed that would need confirming. A query that finally failed before counts as it did then, unless
    `retry`: what is asked until it succeeds is no fair draw. `told` hears of every answer that is taken.
    """

    def __init__(
        self,
        *,
        stream: str,
        usage: Usage,
        cache: VoteCache,
        account: BudgetAccount,
        read: LabelReader,
        stop: threading.Event | None = None,
        watch: Watch | None = None,
        retry: bool = False,
        told: Told | None = None,
    ) -> None:
        self._stream, self._retry, self._told = stream, retry, told
        self._usage, self._cache, self._account = usage, cache, account
        self._read, self._watcher = read, watch
        self._stop = threading.Event() if stop is None else stop
        self.count = QueryCount(reports=Reports(read.kinds) if isinstance(read, TopLabel) else None)
        self._taken = 0  # votes handed on, which is the index of the next one
        self._wanted = 0  # votes expected in all
        self._looked = 0  # queries below were looked up in the cache
        self._new: range | None = range(0)  # of which nothing was kept; None where something was
        self._outcomes: dict[int, Answer | None] = {}  # not yet taken
        self._kept: set[int] = set()  # of those, the ones that were not asked for here
        self._missing: list[int] = []  # to be asked
        self._elsewhere: list[int] = []  # being asked by another process
        self._under_way = 0
        self._early: set[int] = set()  # asked before they were expected
        self._spare = 0  # of those, answered and not yet taken

    @property
    def settled(self) -> bool:
        if self._taken >= self._wanted:
            return True
        return self.count.out_of_budget and not (self._under_way or self._missing or self._elsewhere)

    def known(self, count: int) -> dict[int, Vote]:
        found = self._recall(range(count))
        return {i: FAILED if (answer := found[i]) is None else self._read(answer) for i in sorted(found)}

    def within(self, affordable: int) -> int:
        index = 0
        while True:
            span = range(index, index + SPAN)
            known = self._recall(span)
            if not known:  # what is cached was asked in order, so that nothing lies beyond
                return index + affordable
            for index in span:
                affordable -= index not in known
                if affordable < 0:
                    return index
            index = span.stop

    def expect(self, votes: int) -> None:
        self._wanted += votes

    def need(self) -> Sequence[int]:
        if not self._missing and not self._under_way:
            self._look_ahead()
            self._look_again()
        todo, self._missing = self._missing, []
        self._under_way += len(todo)
        return todo

    def ahead(self, count: int, *, most: int | None = None) -> Sequence[int]:
        if self._looked < self._wanted or self._missing or self.count.out_of_budget:
            return ()
        stop = self._looked + count
        span = range(self._looked, stop if most is None else min(stop, most))
        self._looked = max(self._looked, span.stop)
        todo = self._recalled(span)
        self._early.update(todo)
        self._under_way += len(todo)
        return todo

    def give(self, outcomes: Mapping[int, Outcome]) -> None:
        self._under_way -= len(outcomes)
        self._kept |= self._usage.found & outcomes.keys()
        for index, outcome in outcomes.items():
            self._spare += index in self._early
            if outcome is Open.BUSY:
                self._elsewhere.append(index)
            elif outcome is Open.UNPAID:
                self.count.out_of_budget = True
            elif not isinstance(outcome, Open):
                self._outcomes[index] = outcome
        self._note_usage()

    def take(self) -> Sequence[Vote]:
        votes, taken = [], list[CountedAnswer]()
        while self._taken < self._wanted and self._taken in self._outcomes:
            index = self._taken
            self._taken += 1
            kept = index in self._kept
            self.count.cached += kept
            self._kept.discard(index)
            if index in self._early:
                self._early.discard(index)
                self._spare -= 1
            answer = self._outcomes.pop(index)
            votes.append(self._vote(answer))
            if self._told is not None:
                taken.append(_as_counted(index, answer, votes[-1], kept=kept))
        if self._told is not None and taken:
            self._told(taken)
        self._note_usage()
        return votes

    def finish(self) -> None:
        self._note_usage()
        if self._stop.is_set():  # the votes are void, and nothing is claimed that needs confirming
            return
        if self._cache.facts(f"{self._stream}/drift") is not None:
            raise DriftError(
                "another run saw the provider's model change, which voids these answers; run again to start over"
            )
        if self._watcher is not None and self.count.n:
            try:
                self._watcher.finish(self.count.version, self.count.n)
            except BudgetError:
                self.count.out_of_budget = self.count.unconfirmed = True
            except DriftError:
                self._forget()
                raise
        self._note_usage()

    def _look_ahead(self) -> None:
        """Look up the next queries that are wanted, SPAN at most; miss what is not there and can be paid."""
        if self._taken < self._looked or self._looked >= self._wanted or self.count.out_of_budget:
            return
        span = range(self._looked, min(self._looked + SPAN, self._wanted))
        self._looked = span.stop
        missing = self._recalled(span)
        affordable = self._account.affordable()
        spare = 0 if self._watcher is None else self._watcher.unpaid
        self._missing = missing if affordable is None else missing[: max(0, affordable - spare)]
        self.count.out_of_budget = len(self._missing) < len(missing)

    def _recalled(self, span: range) -> list[int]:
        """Take over what is kept of `span`; the rest, which is to be asked."""
        known = {} if self._is_new(span) else self._recall(span)
        self._outcomes |= known
        self._kept.update(known)
        return [i for i in span if i not in known]

    def _is_new(self, span: range) -> bool:
        """Whether nothing is kept from `span` on. What others have kept since then comes with the claim."""
        if self._new is not None and span.stop > self._new.stop:
            ahead = range(span.start, max(span.stop, span.start + SPAN))
            kept = self._cache.read(self._stream, ahead) or self._cache.failures(self._stream, ahead)
            self._new = None if kept else ahead
        return self._new is not None

    def _look_again(self) -> None:
        """Take over what another process has got meanwhile; miss what it has given up."""
        if not self._elsewhere:
            return
        waiting = sorted(self._elsewhere)
        held = self._cache.busy(self._stream, waiting)  # asked first: an answer comes before its claim ends
        found = self._recall(waiting)
        self._outcomes |= found
        self._kept.update(found)
        left = [i for i in waiting if i not in found]
        self._elsewhere = left if held else []
        self._missing += [] if held else left

    def _recall(self, indices: Sequence[int]) -> dict[int, Answer | None]:
        """What is kept of `indices` (ascending): answers, and None for a query that finally failed."""
        found: dict[int, Answer | None] = dict(self._cache.read(self._stream, indices))
        if self._retry or len(found) == len(indices):
            return found
        failed = self._cache.failures(self._stream, indices)
        self.count.last_error = self.count.last_error or next(iter(failed.values()), "")
        return dict.fromkeys(failed) | found

    def _note_usage(self) -> None:
        self.count.sent = self._usage.sent - self._spare  # which are by-products, and free
        self.count.last_error = self._usage.last_error or self.count.last_error

    def _vote(self, answer: Answer | None) -> Vote:
        if answer is None:
            vote: Vote = FAILED
        else:
            self._watch(answer.model_version)
            vote = self._read(answer)
            if self.count.reports is not None:
                self.count.reports.add(answer)
        self.count.count(vote)
        return vote

    def _watch(self, version: str | None) -> None:
        if self.count.n == self.count.counted.get(FAILED, 0):
            self.count.version = version
        if version != self.count.version:
            self._forget()
            raise DriftError(
                f"the provider's model changed from {self.count.version} to {version} after {self.count.n} votes, "
                f"which voids the certificate; run again to start over on the new model, or, where versions take turns "
                f"behind one address, ask for one of them (of http, version_at= names the part that stays)"
            )

    def _forget(self) -> None:
        """Have the next run start over: these answers are of more than one model."""
        self._cache.describe(f"{self._stream}/drift", {"answers": self.count.n})


def _as_counted(number: int, answer: Answer | None, vote: Vote, *, kept: bool) -> CountedAnswer:
    failed = vote is FAILED
    return CountedAnswer(
        number=number,
        vote=None if failed or vote is None else str(vote),
        failed=failed,
        kept=kept,
        sha256="" if answer is None else digest_of(answer),
        request_id=None if answer is None else answer.request_id,
    )


def digest_of(answer: Answer) -> str:
    """The sha256, in hex, of all that an answer says, as JSON."""
    labels = [[label.name, label.score, label.id, label.parents] for label in answer.labels]
    return hashlib.sha256(json.dumps([answer.model_version, labels]).encode()).hexdigest()
