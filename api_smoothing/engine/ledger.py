"""The ledger: every query that may cost is written down before it is sent, for all processes together.

One transaction checks the budget, takes the queries out of it and claims them, so that no two processes pay for
one answer. A process that dies leaves its reservations standing as spent: nobody knows whether the provider has
billed them. Its claims lapse, so that a rerun can ask.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from api_smoothing.engine.account import Reservation
from api_smoothing.engine.database import Database
from api_smoothing.engine.purse import Limits
from api_smoothing.results import Budget

#: Seconds after which a claim lapses where it cannot be seen whether its process lives.
CLAIM_SECONDS: Final = 3600.0

_VERSION: Final = 1
_HOLDERS: Final[set[str]] = set()  # the open ledgers of this process

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    entry INTEGER PRIMARY KEY, run TEXT NOT NULL, provider TEXT NOT NULL, stream TEXT NOT NULL,
    queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS claims (
    stream TEXT NOT NULL, query INTEGER NOT NULL, holder TEXT NOT NULL, pid INTEGER NOT NULL, birth TEXT NOT NULL,
    entry INTEGER NOT NULL, until REAL NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_by_entry ON claims (entry)
"""


class Ledger:
    """An Account on disk. Everyone who names the same `run` shares its budget, now and in later processes.

    `claiming` keeps others from asking the same query of the same stream at the same time; it needs a cache
    that all of them read.
    """

    def __init__(
        self, path: Path, budget: Budget, *, run: str, provider: str, micro_usd: int, claiming: bool
    ) -> None:
        self._limits = Limits(budget, micro_usd=micro_usd)
        self._run, self._provider, self._claiming = run, provider, claiming
        self._pid = 0
        self._take_name()
        self._database = Database(path, _SCHEMA, version=_VERSION, durable=True)
        with self._database.write() as db:
            db.execute("INSERT OR IGNORE INTO runs VALUES (?, 0, 0)", (run,))

    def _take_name(self) -> None:
        """A name for this object's claims; after a fork parent and child must not have the same."""
        if self._pid != os.getpid():
            self._pid, self._holder = os.getpid(), secrets.token_hex(8)
            self._birth = _birth(self._pid) or ""
            self._under_way: set[int] = set()
            _HOLDERS.add(self._holder)

    def affordable(self) -> int | None:
        return self._limits.left(*self.spent())

    def spent(self) -> tuple[int, int]:
        """Queries and micro-dollars the run has spent, reservations included."""
        [(queries, micro_usd)] = self._database.read(
            "SELECT queries, micro_usd FROM runs WHERE run = ?", (self._run,)
        )
        return int(queries), int(micro_usd)

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        return self._claiming and bool(self._busy(stream, indices, time.time()))

    def reserve(self, stream: str, indices: Sequence[int]) -> Reservation:
        now, price, pid = time.time(), self._limits.micro_usd, os.getpid()
        self._take_name()
        birth = self._birth
        with self._database.write() as db:
            queries, micro = db.execute(
                "SELECT queries, micro_usd FROM runs WHERE run = ?", (self._run,)
            ).fetchone()
            busy = self._busy(stream, indices, now) if self._claiming else set()
            free = [i for i in indices if i not in busy]
            left = self._limits.left(queries, micro)
            taken = free if left is None else free[:left]
            entry = 0
            if taken:
                cost = len(taken) * price
                db.execute(
                    "UPDATE runs SET queries = queries + ?, micro_usd = micro_usd + ? WHERE run = ?",
                    (len(taken), cost, self._run),
                )
                entry = int(
                    db.execute(
                        "INSERT INTO entries (run, provider, stream, queries, micro_usd, state, at) "
                        "VALUES (?, ?, ?, ?, ?, 'open', ?)",
                        (self._run, self._provider, stream, len(taken), cost, now),
                    ).lastrowid
                    or 0
                )
            if self._claiming:
                db.executemany(
                    "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(stream, i, self._holder, pid, birth, entry, now + CLAIM_SECONDS) for i in taken],
                )
            if taken:
                self._under_way.add(entry)
        return Reservation(
            granted=tuple(taken),
            busy=tuple(i for i in indices if i in busy),
            unpaid=tuple(free[len(taken) :]),
            entry=entry,
        )

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        count = len(reservation.granted)
        if not count:
            return
        self._under_way.discard(reservation.entry)  # before the file is written: a full disk must not block
        with self._database.write() as db:
            db.execute(
                "UPDATE entries SET state = ? WHERE entry = ?",
                ("sent" if sent else "unsent", reservation.entry),
            )
            if not sent:
                db.execute(
                    "UPDATE runs SET queries = queries - ?, micro_usd = micro_usd - ? WHERE run = ?",
                    (count, count * self._limits.micro_usd, self._run),
                )
            if self._claiming:
                db.execute("DELETE FROM claims WHERE entry = ?", (reservation.entry,))

    def cost_usd(self, queries: int) -> float:
        return self._limits.cost_usd(queries)

    def close(self) -> None:
        _HOLDERS.discard(self._holder)
        self._database.close()

    def _busy(self, stream: str, indices: Sequence[int], now: float) -> set[int]:
        """The queries among `indices` that a living claim is on, this object's own threads included."""
        found = self._database.read(
            "SELECT query, holder, pid, birth, entry, until FROM claims WHERE stream = ? AND query BETWEEN ? AND ?",
            (stream, min(indices), max(indices)),
        )
        alive = {(pid, birth): _alive(pid, birth, until > now) for _, _, pid, birth, _, until in found}
        wanted = set(indices)
        return {
            query
            for query, holder, pid, birth, entry, _ in found
            if query in wanted
            and alive[pid, birth]
            and (
                entry in self._under_way
                if holder == self._holder
                else pid != os.getpid() or holder in _HOLDERS
            )
        }


def _alive(pid: int, birth: str, recent: bool) -> bool:
    """Whether the process that was born so still runs; where that cannot be seen, whether its claim is `recent`."""
    if birth:
        return _birth(pid) == birth
    if sys.platform == "win32" or not recent:  # on Windows asking would end the process
        return recent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _birth(pid: int) -> str | None:
    """When a process started, in the kernel's words, which tells it from a later one of its number; None for a
    dead one, a zombie, or a system that does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
