"""The ledger: every query that may cost is written down before it is sent, for all processes together.

One transaction checks the budget and takes the queries out of it. A process that dies leaves its reservations
standing as spent: nobody knows whether the provider has billed them. What all runs of an account spend in a day is
counted beside them, whether or not a run has a limit for the day; a query that never left is given back to the day on
which it was reserved.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from api_smoothing.engine.storage.budget import Reservation
from api_smoothing.engine.storage.database import Database
from api_smoothing.engine.storage.in_memory_budget import Limits
from api_smoothing.results import Budget

T = TypeVar("T")
_Files: TypeAlias = tuple[sqlite3.Connection, sqlite3.Connection]  # of the run, and of the days

_VERSION: Final = 2  # 1 had no days
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    entry INTEGER PRIMARY KEY, run TEXT NOT NULL, provider TEXT NOT NULL, stream TEXT NOT NULL,
    queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS carried (run TEXT NOT NULL, ledger REAL NOT NULL, PRIMARY KEY (run, ledger)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (
    account TEXT NOT NULL, day TEXT NOT NULL, micro_usd INTEGER NOT NULL, PRIMARY KEY (account, day)
) WITHOUT ROWID
"""


class Ledger:
    """A BudgetAccount on disk. Everyone who names the same `run` shares its budget, now and in later processes.

    The state of an entry is "open", "sent" or "unsent". One that was sent is noted as such with the next write: it
    is spent as it is. What the run has spent by the file `before`, if that is there, is charged here too, once: a
    ledger that moves in with the answers forgets nothing, and two homes that bring theirs are both heard.

    `account` is whose days these are, the provider's name when empty. They are kept in the file `days`, which may be
    another ledger's; in this one when None.
    """

    def __init__(
        self,
        place: Path | Database,
        budget: Budget,
        *,
        run: str,
        provider: str,
        micro_usd: int,
        account: str = "",
        before: Path | None = None,
        days: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limits = Limits(budget, micro_usd=micro_usd)
        self._run, self._provider, self._clock = run, provider, clock
        self._account = account or provider
        self._database = place if isinstance(place, Database) else ledger_file(place)
        self._days = self._database if days is None else ledger_file(days)
        # Whoever takes two files takes them in one order.
        self._days_first = isinstance(place, Path) and days is not None and days.resolve() < place.resolve()
        self._database.write(partial(self._enter, [] if before is None else _spent_in(before, run)))

    def _enter(self, carried: Sequence[tuple[float, int, int]], db: sqlite3.Connection) -> None:
        """Have the run in the file, with what is `carried` over: the name of a ledger, queries and micro-dollars."""
        db.execute("INSERT OR IGNORE INTO runs VALUES (?, 0, 0)", (self._run,))
        for ledger, queries, micro_usd in carried:
            if db.execute("INSERT OR IGNORE INTO carried VALUES (?, ?)", (self._run, ledger)).rowcount:
                db.execute(_SPEND, (queries, micro_usd, self._run))

    def affordable(self) -> int | None:
        queries, micro_usd = self.spent()
        return self._limits.left(queries, micro_usd, self.today())

    def spent(self) -> tuple[int, int]:
        [(queries, micro_usd)] = self._database.read(_SPENT, (self._run,))
        return int(queries), int(micro_usd)

    def today(self) -> int:
        return sum(int(usd) for (usd,) in self._days.read(_TODAY, (self._account, _day(self._clock()))))

    def reserve(self, stream: str, indices: Sequence[int], *, leave: int = 0) -> Reservation:
        now = self._clock()

        def take(files: _Files) -> tuple[int, int]:
            db, days = files
            (today,) = days.execute(_TODAY, (self._account, _day(now))).fetchone() or (0,)
            queries, micro_usd = db.execute(_SPENT, (self._run,)).fetchone()
            left = self._limits.left(queries, micro_usd, today)
            count = len(indices) if left is None else min(len(indices), max(0, left - leave))
            if not count:
                return 0, 0
            cost = count * self._limits.micro_usd
            db.execute(_SPEND, (count, cost, self._run))
            self._spend_on(days, now, cost)
            entry = db.execute(_ENTER, (self._run, self._provider, stream, count, cost, now)).lastrowid
            return count, entry or 0

        count, entry = self._in_both(take) if indices else (0, 0)
        return Reservation(granted=tuple(indices[:count]), unpaid=tuple(indices[count:]), entry=entry)

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        count, entry = len(reservation.granted), reservation.entry
        if not count:
            return
        if sent:
            self._database.note(lambda db: db.execute(_SETTLE, ("sent", entry)))
            return

        cost, one_file = count * self._limits.micro_usd, self._days is self._database

        def give_back(db: sqlite3.Connection) -> float:
            db.execute(_SETTLE, ("unsent", entry))
            db.execute(_SPEND, (-count, -cost, self._run))
            (at,) = db.execute(_AT, (entry,)).fetchone()
            if one_file:
                self._spend_on(db, at, -cost)
            return float(at)

        reserved = self._database.write(give_back)
        if not one_file:  # last, and once: who dies before it has spent what was not
            self._days.write(lambda days: self._spend_on(days, reserved, -cost))

    def _spend_on(self, days: sqlite3.Connection, at: float, micro_usd: int) -> None:
        if micro_usd:
            days.execute(_ON_A_DAY, (self._account, _day(at), micro_usd))

    def _in_both(self, work: Callable[[_Files], T]) -> T:
        """What `work` returns, done while nobody else writes to either file."""
        one, two = self._database, self._days
        if one is two:
            return one.write(lambda db: work((db, db)))
        if self._days_first:
            return two.write(lambda days: one.write(lambda db: work((db, days))))
        return one.write(lambda db: two.write(lambda days: work((db, days))))

    def cost_usd(self, queries: int) -> float:
        return self._limits.cost_usd(queries)

    def close(self) -> None:
        self._database.close()
        self._days.close()


def unnamed() -> str:
    """The name of a run that nobody else can name."""
    return f"unnamed-{secrets.token_hex(8)}"


def ledger_file(path: Path | None) -> Database:
    """The file of a ledger; None for one in memory."""
    return Database(path, _SCHEMA, version=_VERSION, extends=(1,))


def _day(at: float) -> str:
    """The calendar day in UTC, as 2026-01-31."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _spent_in(path: Path, run: str) -> list[tuple[float, int, int]]:
    """What `run` has spent by another ledger, after the time of its first entry, which names it wherever it lies."""
    if not path.is_file():
        return []
    with closing(ledger_file(path)) as earlier:
        return earlier.read(_FIRST, (run,))


_FIRST: Final = """
SELECT (SELECT COALESCE(MIN(at), 0) FROM entries), queries, micro_usd FROM runs WHERE run = ? AND queries > 0
"""
_SPENT: Final = "SELECT queries, micro_usd FROM runs WHERE run = ?"
_SPEND: Final = "UPDATE runs SET queries = queries + ?, micro_usd = micro_usd + ? WHERE run = ?"
_TODAY: Final = "SELECT micro_usd FROM days WHERE account = ? AND day = ?"
_ON_A_DAY: Final = """
INSERT INTO days VALUES (?, ?, ?) ON CONFLICT (account, day) DO UPDATE SET micro_usd = micro_usd + excluded.micro_usd
"""
_AT: Final = "SELECT at FROM entries WHERE entry = ?"
_SETTLE: Final = "UPDATE entries SET state = ? WHERE entry = ?"
_ENTER: Final = """
INSERT INTO entries (run, provider, stream, queries, micro_usd, state, at) VALUES (?, ?, ?, ?, ?, 'open', ?)
"""
