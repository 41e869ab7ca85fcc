"""What a session is handed to remember by: one interface, in memory, in a folder, or in a database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from api_smoothing.adapters.base import Answer, Quota
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.results import Budget
from api_smoothing.secret import Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What became of queries somebody wants to ask: `granted` are theirs to ask, `busy` are being asked by someone
    else just now, `known` have been answered. Of those granted `failed` have finally failed before, for a reason.
    """

    granted: tuple[int, ...]
    busy: tuple[int, ...] = ()
    known: Mapping[int, Answer] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)


class VoteCache(Protocol):
    """Answers by stream and query index, the claims on those under way, and marks on streams. Thread-safe.

    A claim is this object's until it is answered, failed or released, or the object is closed; those of a holder
    that died end by themselves. Forgetting the answers forgets the marks: they are about them.
    """

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        """The answers known among `indices` (ascending)."""
        ...

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep `answers`; returns those that stand, which are older ones where an index was already known."""
        ...

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        """Look for answers to `indices` (ascending), and keep others from asking the rest meanwhile; tell which of
        those granted have finally failed. All at one moment.
        """
        ...

    def release(self, stream: str, indices: Sequence[int]) -> None:
        """End claims that came to no answer; `write` and `fail` end those that did."""
        ...

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        """Whether someone else is asking any of `indices` (ascending) just now."""
        ...

    def fail(self, stream: str, reasons: Mapping[int, str]) -> None:
        """Remember, by index, that a query finally failed and why, and end the claims.

        The first reason stays. An answer, kept before or after, takes the failure's place.
        """
        ...

    def failures(self, stream: str, indices: Sequence[int]) -> dict[int, str]:
        """The reasons of those of `indices` (ascending) that finally failed."""
        ...

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        """Keep what a stream was asked with, or a mark such as drift; the first description stays."""
        ...

    def facts(self, stream: str) -> dict[str, Any] | None:
        """What `describe` kept."""
        ...

    def close(self) -> None:
        """End the claims and release files; what is kept stays."""
        ...


class Limiter(Protocol):
    """Where requests wait for their turn, or until `stop` is set. Thread-safe; see `storage.rate`.

    One that gives turns beforehand tells by how many seconds, as `ahead`: so many more requests wait with a turn.
    """

    def listen(self, tell: Callable[[float], object]) -> None:
        """Have `tell` called, from a thread that waits, with the seconds it will wait where they are many."""
        ...

    def wait(self, images: int, stop: threading.Event | None = None) -> None:
        """Return when a request with `images` images may leave, or as soon as `stop` is set: then nothing is taken."""
        ...

    def spare(self, images: int) -> None:
        """Have a request that left some time ago count as one of now, too."""
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody on this quota send before `seconds` from now."""
        ...

    def throttled(self, retry_after: float = 1.0) -> None:
        """The provider refused a request as too fast: everyone pauses so many seconds, and is slower from then on."""
        ...

    def answered(self, requests: int = 1) -> None:
        """So many requests were answered, which in time raises a rate that throttles have lowered."""
        ...

    def close(self) -> None:
        """Release files."""
        ...


class Looks(Protocol):
    """The questions that were asked of each stream: every one after the first is another look at the same votes."""

    def record(self, stream: str, question: str) -> tuple[str, ...]:
        """Charge a look, unless the same question was asked before; returns all questions so far, in order.

        It is kept when this returns, so that a look is charged before its first vote is shown.
        """
        ...

    def of(self, stream: str) -> tuple[str, ...]:
        """The questions so far, in order."""
        ...

    def close(self) -> None:
        """Release files."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """How much is kept."""

    answers: int = 0
    streams: int = 0
    size_bytes: int = 0


@runtime_checkable
class Storage(Protocol):
    """All that outlives a query. A session is handed one and builds nothing of it. Thread-safe.

    Whoever opens the same storage, in whatever process, shares it: budgets by the name of their run, the dollars of a
    day and the rate by the key of their account, answers by stream and index, claims, and looks. What a method returns
    is closed by whoever asked for it. `StorageSuite` has the laws.

    What comes next has its place:

    - learned priors (vote shares seen at a provider): a table beside the looks, with a method of its own here;
    - budgets of a server's clients: runs of `budget`, named by the client; quotas of several accounts: keys of
      `limiter`;
    - reservations of batch jobs: entries of the ledger that a later process settles, found by their number
      (`Reservation.entry`), with claims that live as long as the job and not as its process;
    - an epoch, after which earlier answers no longer count: an argument of `answers`, part of a stream's name.
    """

    def answers(self, *, paid: bool, keep: bool = True) -> VoteCache:
        """Answers, in a form for those that are `paid` one by one or for those of a model in this process.

        Without `keep` they are the returned object's own and end with it: for whatever cannot be named for good.
        """
        ...

    def budget(
        self, budget: Budget, *, run: str | None, provider: str, micro_usd: int, account: str = ""
    ) -> BudgetAccount:
        """The budget of a run, whose queries cost `micro_usd` millionths of a dollar each.

        What a run has spent is remembered under its name. None is the returned object's own budget. What all runs of
        `account` (the provider, when empty) spend in a day is counted for every one of them.
        """
        ...

    def limiter(self, key: str, quotas: Sequence[Quota]) -> Limiter | None:
        """The turns of the account `key`, one for all; None where there is no quota to keep."""
        ...

    def looks(self, *, keep: bool = True) -> Looks:
        """The looks; without `keep` the returned object's own. `clear` does not forget them."""
        ...

    def seed(self, value: int | None) -> Seed:
        """The secret seed of this storage for None, or the public seed `value`."""
        ...

    def contents(self) -> Contents:
        """How many answers are kept."""
        ...

    def clear(self) -> int:
        """Forget every answer and final failure; returns how many entries. Budgets, looks and the seed stay."""
        ...

    def close(self) -> None:
        """Release what this object itself holds open."""
        ...


@runtime_checkable
class Shareable(Protocol):
    """A storage that other processes can open by themselves, beside the methods of Storage."""

    @property
    def keeps(self) -> bool:
        """Whether others find the answers that it is given."""
        ...

    def opener(self) -> Callable[[], Storage]:
        """Opens the same in another process, to which it can be sent."""
        ...

    def place(self) -> tuple[object, ...]:
        """What must be the same wherever the opener is called: machine and folders; empty of a database."""
        ...
