"""Answers, claims, final failures and marks of all machines.

Whoever shares the database asks nothing that another one has asked. A claim lives by its holder's heartbeat, at the
server's clock: processes of another machine cannot be looked up. Answers that cannot be written, as the database is
away for too long, are kept in a file of this machine and taken over when it opens the database next.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from api_smoothing.adapters.base import Answer
from api_smoothing.engine.storage.base import Claim
from api_smoothing.engine.storage.postgres.errors import StoreError
from api_smoothing.engine.storage.postgres.server import Server
from api_smoothing.engine.storage.postgres.together import Together
from api_smoothing.engine.storage.sealed_text import SealedText
from api_smoothing.engine.storage.spill import Row, forget_spilt, spill, spilt
from api_smoothing.engine.storage.whereabouts import BEAT_SECONDS, LAPSE_SECONDS, in_background
from api_smoothing.errors import ConfigurationError, DiskError

Heartbeat = Callable[[Callable[[], bool]], object]


class _Wanted(NamedTuple):
    """Queries of a stream that a thread wants to claim, by a ticket that nobody else has."""

    stream: str
    indices: tuple[int, ...]
    ticket: str


class ServerAnswers:
    """A VoteCache in the database. What is claimed, and kept, by several threads at once is so in one call.

    `kept` is the name of the database on this machine, for answers that it did not take.
    """

    def __init__(
        self,
        server: Server,
        text: SealedText,
        kept: Path,
        *,
        heartbeat: Heartbeat = in_background,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._text, self._kept = server, text, kept
        self._heartbeat, self._clock = heartbeat, clock
        self._pid = 0
        self._renewed = -math.inf  # when this holder's heart was last heard
        self._take_name()
        self._take_over()

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        return {i: self._opened(stream, i, text) for i, text in self._among(_ANSWERS, stream, indices)}

    def failures(self, stream: str, indices: Sequence[int]) -> dict[int, str]:
        return {i: json.loads(text) for i, text in self._among(_FAILURES, stream, indices)}

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        if not answers:
            return {}
        self._take_name()
        older = self._keep([(stream, i, self._text.of(stream, i, answer)) for i, answer in answers.items()])
        self._ended(stream, answers)
        return {**answers, **{i: self._opened(stream, i, text) for i, text in older.items()}}

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        if not indices:
            return Claim(granted=())
        self._take_name()
        wanted = _Wanted(stream, tuple(indices), secrets.token_hex(8))
        claim = self._claim(wanted)
        with self._pulse:
            self._asking.update({(stream, i): wanted.ticket for i in claim.granted})
        self._start_beating()
        return claim

    def release(self, stream: str, indices: Sequence[int]) -> None:
        with self._pulse:
            held = [(i, self._asking.pop((stream, i))) for i in indices if (stream, i) in self._asking]
        if held:
            numbers, tickets = zip(*held, strict=True)
            self._server.call(_RELEASE, ([stream] * len(held), [*numbers], [*tickets]))

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        [(busy,)] = self._server.call(_BUSY, (stream, [*indices], LAPSE_SECONDS))
        return bool(busy)

    def fail(self, stream: str, reasons: Mapping[int, str]) -> None:
        if not reasons:
            return
        self._take_name()
        texts = [json.dumps(reason) for reason in reasons.values()]
        self._server.call(_FAIL, ([stream] * len(reasons), [*reasons], texts, self._holder))
        self._ended(stream, reasons)

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        self._server.call(_DESCRIBE, (stream, json.dumps(facts, default=float)))

    def facts(self, stream: str) -> dict[str, Any] | None:
        found = self._server.call("SELECT facts FROM api_smooth.facts WHERE stream = %s", (stream,))
        return json.loads(found[0][0]) if found else None

    def close(self) -> None:
        """End the claims; the connections are the storage's."""
        if self._pid != os.getpid():
            return
        with self._pulse:
            self._asking.clear()
        if self._renewed > -math.inf:
            self._renewed = -math.inf
            with contextlib.suppress(DiskError, ConfigurationError):  # they lapse
                self._server.call(_LEAVE, (self._holder,), patient=False)

    def _claimed(self, wanted: Sequence[_Wanted]) -> list[Claim]:
        """What became of the queries of several threads."""
        rows = [(one.stream, i, one.ticket) for one in wanted for i in one.indices]
        streams, indices, tickets = (list(column) for column in zip(*rows, strict=True))
        now = self._clock()
        beats = not 0.0 <= now - self._renewed < BEAT_SECONDS / 2
        found = self._server.call(_CLAIM, (streams, indices, tickets, self._holder, LAPSE_SECONDS, beats))
        if beats:
            self._renewed = now
        came: dict[str, list[tuple[int, str, str | None]]] = defaultdict(list)
        for place, state, content in found:
            _, index, ticket = rows[place - 1]
            came[ticket].append((index, state, content))
        return [self._told(one, sorted(came[one.ticket])) for one in wanted]

    def _told(self, wanted: _Wanted, came: Sequence[tuple[int, str, str | None]]) -> Claim:
        return Claim(
            granted=tuple(i for i, state, _ in came if state == "granted"),
            busy=tuple(i for i, state, _ in came if state == "busy"),
            known={i: self._opened(wanted.stream, i, text) for i, state, text in came if state == "known"},
            failed={
                i: json.loads(text) for i, state, text in came if state == "granted" and text is not None
            },
        )

    def _written(self, batches: Sequence[Sequence[Row]]) -> list[dict[int, str]]:
        """Keep the answers of several threads; for each the older ones that stand, by index."""
        rows = [row for batch in batches for row in batch]
        owners = [k for k, batch in enumerate(batches) for _ in batch]
        streams, indices, texts = (list(column) for column in zip(*rows, strict=True))
        older: list[dict[int, str]] = [{} for _ in batches]
        try:
            found = self._server.call(_KEEP, (streams, indices, texts, self._holder))
        except StoreError as error:
            raise self._kept_elsewhere(rows, error) from None
        for place, text in found:
            older[owners[place - 1]][rows[place - 1][1]] = text
        return older

    def _kept_elsewhere(self, rows: Sequence[Row], error: StoreError) -> StoreError:
        """The error for answers that could not be written: they were paid, and are kept where they can be."""
        place = spill(self._kept, rows)
        if place is None:
            return StoreError(
                f"{error}; {len(rows)} answers that were paid could be kept nowhere, and are lost"
            )
        return StoreError(
            f"{error}; answers that were paid are kept in {place}, from where they are taken over"
        )

    def _take_over(self) -> None:
        """What could not be written before; where it still cannot, it stays where it is."""
        if rows := spilt(self._kept):
            streams, indices, texts = (list(column) for column in zip(*rows, strict=True))
            with contextlib.suppress(StoreError):
                self._server.call(_KEEP, (streams, indices, texts, self._holder))
                forget_spilt(self._kept)

    def _opened(self, stream: str, index: int, kept: Any) -> Answer:
        try:
            return self._text.read(stream, index, kept)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"the answer to query {index} of stream {stream} in {self._server.address.shown} was changed by "
                f"something else; nothing was asked in its place: `api-smooth cache repair` forgets it"
            ) from None

    def _among(self, query: str, stream: str, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        if not indices:
            return []
        rows = self._server.call(query, (stream, indices[0], indices[-1]))
        wanted = indices if isinstance(indices, range) else set(indices)
        return [row for row in rows if row[0] in wanted]

    def _take_name(self) -> None:
        """A name for this object's claims; after a fork parent and child must not have the same."""
        if self._pid == os.getpid():
            return
        self._pid, self._holder = os.getpid(), secrets.token_hex(8)
        self._pulse, self._beating = threading.Lock(), False
        self._renewed = -math.inf
        self._asking: dict[tuple[str, int], str] = {}  # tickets
        self._claim: Together[_Wanted, Claim] = Together(self._claimed)
        self._keep: Together[Sequence[Row], dict[int, str]] = Together(self._written)

    def _ended(self, stream: str, indices: Mapping[int, object]) -> None:
        with self._pulse:
            for i in indices:
                self._asking.pop((stream, i), None)

    def _start_beating(self) -> None:
        with self._pulse:
            if self._beating or not self._asking:
                return
            self._beating = True
        self._heartbeat(self._beat)

    def _beat(self) -> bool:
        """Say that this holder lives; False when it has nothing to hold any more."""
        with self._pulse:
            if not self._asking:
                self._beating = False
                return False
        with contextlib.suppress(DiskError, ConfigurationError):  # for a moment: the next one may get through
            self._server.call(_BEAT, (self._holder, LAPSE_SECONDS), patient=False)
        return True


_ANSWERS: Final = "SELECT query, answer FROM api_smooth.answers WHERE stream = %s AND query BETWEEN %s AND %s"
_FAILURES: Final = (
    "SELECT query, reason FROM api_smooth.failures WHERE stream = %s AND query BETWEEN %s AND %s"
)
_CLAIM: Final = "SELECT * FROM api_smooth.claim(%s::text[], %s::bigint[], %s::text[], %s, %s, %s)"
_KEEP: Final = "SELECT * FROM api_smooth.keep(%s::text[], %s::bigint[], %s::text[], %s)"
_RELEASE: Final = "SELECT api_smooth.release(%s::text[], %s::bigint[], %s::text[])"
_FAIL: Final = "SELECT api_smooth.fail(%s::text[], %s::bigint[], %s::text[], %s)"
_BEAT: Final = "SELECT api_smooth.beat(%s, %s)"
_BUSY: Final = """
SELECT EXISTS (
    SELECT 1 FROM api_smooth.claims WHERE stream = %s AND query = ANY (%s::bigint[]) AND api_smooth.lives(holder, %s)
)
"""
_DESCRIBE: Final = "INSERT INTO api_smooth.facts VALUES (%s, %s) ON CONFLICT (stream) DO NOTHING"
_LEAVE: Final = "SELECT api_smooth.leave(%s)"
