"""One image driven to its end: what its votes need is asked, and counted, until the certifier is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, Protocol

from api_smoothing.certify.base import FAILED
from api_smoothing.engine.sending import Outcome
from api_smoothing.engine.votes import QueryCount, Vote, Votes

_POLL: Final = 0.05  # seconds between looks for an answer another process is asking for

#: Asks queries and yields their outcomes in portions, as they come; see `sending.pipeline`.
Asks = Callable[[Sequence[int]], Iterator[Mapping[int, Outcome]]]


class Counts(Protocol):
    """A certifier, as far as collecting goes."""

    def need(self) -> int: ...

    def add(self, answers: Sequence[Vote], /) -> None: ...


def collect(certifier: Counts, votes: Votes, ask: Asks, on_round: Callable[[QueryCount], None]) -> None:
    """Feed `certifier` with `votes`, asking by `ask`, until it needs nothing more or the budget is spent."""
    while (count := certifier.need()) > 0:
        votes.expect(count)
        if not _deliver(certifier, votes, ask, on_round) or votes.count.out_of_budget:
            break
    votes.finish()


def take_all(votes: Votes, ask: Asks, count: int) -> list[Vote]:
    """The next `count` votes, fewer where the budget ends before them; to be followed by `finish`."""
    taken = _Everything()
    votes.expect(count)
    _deliver(taken, votes, ask, lambda count: None)
    return taken.votes


class _Everything:
    """A certifier that is never done, and keeps what it gets."""

    def __init__(self) -> None:
        self.votes: list[Vote] = []

    def need(self) -> int:
        return 1

    def add(self, answers: Sequence[Vote], /) -> None:
        self.votes += answers


def _deliver(certifier: Counts, votes: Votes, ask: Asks, on_round: Callable[[QueryCount], None]) -> bool:
    """Count what is expected; False when so many failed that the rest is not asked."""
    while not votes.settled:
        todo = votes.need()
        with closing(_asked(ask, todo)) as portions:
            for outcomes in portions:
                votes.give(outcomes)
                if not (new := votes.take()):
                    continue
                certifier.add(new)
                on_round(votes.count)
                if FAILED in new and not certifier.need():
                    return False
        if not todo and not votes.settled:
            time.sleep(_POLL)
    return True


def _asked(ask: Asks, todo: Sequence[int]) -> Generator[Mapping[int, Outcome]]:
    """The outcomes of `todo`, after an empty portion: what the cache had needs no asking."""
    yield {}
    if todo:
        yield from ask(todo)
