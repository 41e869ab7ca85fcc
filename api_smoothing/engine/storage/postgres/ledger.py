"""The ledger of all machines: every query that may cost is written down, and waited for, before it is sent.

Reservations of several threads are one call, which locks the run, checks its limits and those of the account's day, and
takes out what fits. Each has a number of its own, so that a call whose reply was lost can be made again and changes
nothing. A process that dies leaves its reservations standing as spent.

What is left is asked for with every few answers, to see whether another image can be begun, and only a reservation
decides what may be sent. So while it is plenty it is asked for twice a second, and what was reserved here is taken off.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from api_smoothing.engine.storage.budget import Reservation
from api_smoothing.engine.storage.in_memory_budget import Limits
from api_smoothing.engine.storage.postgres.server import Server
from api_smoothing.engine.storage.postgres.together import Together
from api_smoothing.errors import ConfigurationError, DiskError
from api_smoothing.results import Budget

_PLENTY: Final = 1_000  # queries that are left: fewer are counted each time
_RECENT: Final = 0.5  # seconds


class _Wanted(NamedTuple):
    """A reservation that a thread wants, under a number that nobody else has."""

    entry: int
    stream: str
    queries: int
    leave: int


class ServerLedger:
    """A BudgetAccount in a database. Everyone who names the same `run` shares its budget, on whatever machine.

    `account` is whose days these are, the provider's name when empty; a day is the server's, in UTC.
    """

    def __init__(
        self,
        server: Server,
        budget: Budget,
        *,
        run: str,
        provider: str,
        micro_usd: int,
        account: str = "",
    ) -> None:
        self._server, self._limits = server, Limits(budget, micro_usd=micro_usd)
        self._run, self._provider, self._account = run, provider, account or provider
        self._lock = threading.Lock()
        self._sent: list[int] = []  # entries that were, to be noted with the next call
        self._granted = 0  # queries, by this object
        self._seen = (0, 0, -math.inf)  # what was left, what was granted by then, and when
        self._take: Together[_Wanted, int] = Together(self._taken)
        self._server.call(_ENTER, (run,))

    def affordable(self) -> int | None:
        if self._limits.left(0, 0) is None:
            return None
        with self._lock:
            left, before, at = self._seen
            left -= self._granted - before
            if left >= _PLENTY and time.monotonic() < at + _RECENT:
                return left
            granted, now = self._granted, time.monotonic()
        [(queries, micro_usd, today)] = self._server.call(_STANDING, (self._account, self._run))
        found = self._limits.left(queries, micro_usd, today)
        assert found is not None
        with self._lock:
            self._seen = found, granted, now
        return found

    def spent(self) -> tuple[int, int]:
        [(queries, micro_usd, _)] = self._server.call(_STANDING, (self._account, self._run))
        return queries, micro_usd

    def today(self) -> int:
        [(_, _, today)] = self._server.call(_STANDING, (self._account, self._run))
        return int(today)

    def reserve(self, stream: str, indices: Sequence[int], *, leave: int = 0) -> Reservation:
        if not indices:
            return Reservation(granted=())
        entry = secrets.randbits(63)
        count = self._take(_Wanted(entry, stream, len(indices), leave))
        with self._lock:
            self._granted += count
        return Reservation(granted=tuple(indices[:count]), unpaid=tuple(indices[count:]), entry=entry)

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        if not reservation.granted:
            return
        if sent:
            with self._lock:
                self._sent.append(reservation.entry)
        else:
            self._server.call("SELECT api_smooth.give_back(%s)", (reservation.entry,))

    def cost_usd(self, queries: int) -> float:
        return self._limits.cost_usd(queries)

    def close(self) -> None:
        """Note what was sent; the connections are the storage's."""
        with self._lock:
            sent, self._sent = self._sent, []
        if sent:
            with contextlib.suppress(DiskError, ConfigurationError):  # it is spent as it is
                self._server.call(_NOTE, (sent,), patient=False)

    def _taken(self, wanted: Sequence[_Wanted]) -> list[int]:
        """How many queries each is granted."""
        with self._lock:
            sent, self._sent = self._sent, []
        limits = self._limits
        entries, streams, counts, leaves = (list(column) for column in zip(*wanted, strict=True))
        values = (self._run, self._provider, self._account, limits.micro_usd, *limits.most)
        [(granted,)] = self._server.call(_RESERVE, (*values, entries, streams, counts, leaves, sent))
        return [int(count) for count in granted]


_ENTER: Final = "INSERT INTO api_smooth.runs VALUES (%s, 0, 0) ON CONFLICT (run) DO NOTHING"
_STANDING: Final = """
SELECT queries, micro_usd, COALESCE((
    SELECT micro_usd FROM api_smooth.days WHERE account = %s AND day = api_smooth.day(api_smooth.clock())
), 0) FROM api_smooth.runs WHERE run = %s
"""
_RESERVE: Final = """
SELECT api_smooth.reserve(
    %s, %s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s::integer[], %s::integer[], %s::bigint[]
)
"""
_NOTE: Final = (
    "UPDATE api_smooth.entries SET state = 'sent' WHERE entry = ANY (%s::bigint[]) AND state = 'open'"
)
