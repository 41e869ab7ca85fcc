"""Paid answers, one by one as they come in, and the claims on those that are being asked for.

Whoever shares the answers shares the claims, so that no two processes pay for one answer. A claim ends in the
transaction that keeps its answer. Those of a process that died lapse, so that a rerun can ask: at once where it can
be looked up, and without a heartbeat where it cannot, as in another container.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from api_smoothing.adapters.base import Answer
from api_smoothing.engine.storage.base import Claim
from api_smoothing.engine.storage.database import UNWRITTEN, Database
from api_smoothing.engine.storage.seal import KEY_FILE, folder_seal
from api_smoothing.engine.storage.sealed_text import SealedText
from api_smoothing.engine.storage.spill import Row, forget_spilt, spill, spilt
from api_smoothing.engine.storage.whereabouts import (
    BEAT_SECONDS,
    LAPSE_SECONDS,
    Surroundings,
    Whereabouts,
    alive,
)
from api_smoothing.errors import ConfigurationError, DiskError

#: Seconds after which a claim lapses that an earlier version made, where its process cannot be looked up.
CLAIM_SECONDS: Final = 3600.0

_VERSION: Final = 3  # 2 adds holders and failures: the claims of version 1 have no holder's row; 3 adds seals
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
    stream TEXT NOT NULL, query INTEGER NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    stream TEXT NOT NULL, query INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    stream TEXT NOT NULL, query INTEGER NOT NULL, holder TEXT NOT NULL, pid INTEGER NOT NULL, birth TEXT NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holders (
    holder TEXT PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, space TEXT NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origin (unsealed INTEGER NOT NULL);
INSERT INTO origin SELECT EXISTS (SELECT 1 FROM answers) WHERE NOT EXISTS (SELECT 1 FROM origin)
"""
_HOLDERS: Final[set[str]] = set()  # the open objects of this process


class PaidAnswers:
    """A file of answers by stream and query index; the first answer stays. Each write waits for the disk.

    While this object holds claims its heartbeat renews them. Answers are sealed, and one that does not bear its seal
    is refused with ConfigurationError, never asked again: it is forgotten by `repair` alone. Where a file has answers
    from before there were seals, those without one count as they are.
    """

    def __init__(self, path: Path, surroundings: Surroundings | None = None) -> None:
        self._surroundings = surroundings or Surroundings()
        self._pid = 0
        self._renewed = -math.inf  # when this holder last said where it is
        self._take_name()
        self._path = path
        self._database = Database(path, _SCHEMA, version=_VERSION, extends=(1, 2))
        self._refuse_a_lost_key()
        self._text = SealedText(folder_seal(path.parent))
        self._take_over()
        [(self.unsealed,)] = self._database.read("SELECT unsealed FROM origin")

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        """The answers known among `indices` (ascending)."""
        return {
            index: self._opened(stream, index, text) for index, text in self._among(_ANSWERS, stream, indices)
        }

    def repair(self) -> int:
        """Forget the answers that do not bear their seal or cannot be read; returns how many there were."""

        def forget(db: sqlite3.Connection) -> int:
            spoilt = []
            for stream, index, text in db.execute("SELECT stream, query, answer FROM answers"):
                try:
                    self._opened(stream, index, text)
                except ConfigurationError:
                    spoilt.append((stream, index))
            db.executemany("DELETE FROM answers WHERE stream = ? AND query = ?", spoilt)
            return len(spoilt)

        return self._database.write(forget)

    def _refuse_a_lost_key(self) -> None:
        key = self._path.with_name(KEY_FILE)
        if not os.path.lexists(key) and self._database.read(_SEALED):
            raise ConfigurationError(
                f"{key} is missing, without which the answers in {self._path} cannot be told from edited ones: put a "
                f"copy of it back, or move the folder away"
            )

    def _opened(self, stream: str, index: int, kept: Any) -> Answer:
        """The answer in `kept`: its seal and its text. Raises ConfigurationError for any other."""
        try:
            return self._text.read(stream, index, kept, unsealed=bool(self.unsealed))
        except (TypeError, ValueError):
            raise tampered(f"the answer to query {index} of stream {stream} in {self._path}") from None

    def failures(self, stream: str, indices: Sequence[int]) -> dict[int, str]:
        """Why those of `indices` (ascending) failed that finally did."""
        return dict(self._among(_FAILURES, stream, indices))

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep `answers` and end the claims on them; returns those that stand."""
        self._take_name()
        rows = [(stream, index, self._text.of(stream, index, answer)) for index, answer in answers.items()]

        def keep(db: sqlite3.Connection) -> dict[int, Answer]:
            standing = dict(answers)
            for row in rows:
                if not db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row).rowcount:
                    standing |= self.read(stream, [row[1]])
                db.execute(_FORGIVE, row[:2])
                db.execute(_RELEASE, (*row[:2], self._holder))
            return standing

        try:
            standing = self._database.write(keep)
        except UNWRITTEN as error:
            raise self._kept_elsewhere(rows, error) from None
        self._asking.difference_update((stream, index) for index in answers)
        return standing

    def _kept_elsewhere(self, rows: Sequence[Row], error: Exception) -> DiskError:
        """The error for answers that could not be written: they were paid, and are kept where they can be."""
        place = spill(self._path, rows)
        if place is None:
            fate = f"{len(rows)} answers that were paid could be kept nowhere, and are lost"
        else:
            fate = f"answers that were paid are kept in {place}, from where they are taken over"
        return DiskError(f"cannot write to {self._path}: {error}; {fate}; free some space")

    def _take_over(self) -> None:
        """What could not be written before."""
        rows = spilt(self._path)
        if not rows:
            return

        def keep(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)

        with contextlib.suppress(*UNWRITTEN):  # it stays where it is
            self._database.write(keep)
            forget_spilt(self._path)

    def fail(self, stream: str, reasons: Mapping[int, str]) -> None:
        """Keep final failures and end the claims on them; one that has an answer has not failed."""
        self._take_name()

        def keep(db: sqlite3.Connection) -> None:
            for index, reason in reasons.items():
                db.execute(_FAIL, (stream, index, reason, stream, index))
                db.execute(_RELEASE, (stream, index, self._holder))

        self._database.write(keep)
        self._asking.difference_update((stream, index) for index in reasons)

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        """Claim those of `indices` (ascending) that are not answered, and that nobody else is asking."""
        self._take_name()
        now = self._surroundings.clock()
        fresh = 0.0 <= now - self._renewed < BEAT_SECONDS / 2
        mine = (self._holder, self._pid, self._here.birth, now + CLAIM_SECONDS)

        def take(db: sqlite3.Connection) -> Claim:
            known = self.read(stream, indices)
            busy = self._held(stream, indices) - known.keys()
            granted = tuple(i for i in indices if i not in known and i not in busy)
            if granted and not fresh:
                self._register(db)
            for i in granted:
                db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)", (stream, i, *mine))
            self._asking.update((stream, i) for i in granted)
            return Claim(
                granted=granted,
                busy=tuple(i for i in indices if i in busy),
                known=known,
                failed=self.failures(stream, granted),
            )

        claim = self._database.write(take, durable=False)  # who claims is dead after a loss of power
        if claim.granted and not fresh:
            self._renewed = now
        self._start_beating()
        return claim

    def release(self, stream: str, indices: Sequence[int]) -> None:
        """End claims without an answer."""
        self._asking.difference_update((stream, i) for i in indices)  # at once: a full disk must not block

        def end(db: sqlite3.Connection) -> None:
            for i in indices:
                if (stream, i) not in self._asking:  # as another thread may again by now
                    db.execute(_RELEASE, (stream, i, self._holder))

        self._database.write(end, durable=False)

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        """Whether someone is asking any of `indices` (ascending) just now."""
        return not self._held(stream, indices).isdisjoint(indices)

    def counts(self) -> dict[str, int]:
        """How many answers each stream has."""
        return dict(self._database.read("SELECT stream, COUNT(*) FROM answers GROUP BY stream"))

    def clear(self) -> int:
        """Forget every answer and failure, and free the disk; returns how many there were."""

        def forget(db: sqlite3.Connection) -> int:
            db.execute("UPDATE origin SET unsealed = 0")
            return db.execute("DELETE FROM answers").rowcount + db.execute("DELETE FROM failures").rowcount

        removed = self._database.write(forget)
        self._database.shrink()
        return removed

    def size_bytes(self) -> int:
        """What the file takes on disk."""
        [(pages, size)] = self._database.read("SELECT * FROM pragma_page_count, pragma_page_size")
        return int(pages * size)

    def close(self) -> None:
        """End the claims and release the file."""
        if self._pid == os.getpid():
            self._asking.clear()
            self._renewed = -math.inf
            _HOLDERS.discard(self._holder)
            if self._registered:
                with contextlib.suppress(*UNWRITTEN):  # they lapse
                    self._database.write(self._leave, durable=False)
        self._database.close()

    def _leave(self, db: sqlite3.Connection) -> None:
        for table in ("claims", "holders"):
            db.execute(f"DELETE FROM {table} WHERE holder = ?", (self._holder,))  # noqa: S608

    def _among(self, query: str, stream: str, indices: Sequence[int]) -> list[tuple[int, str]]:
        """The rows of `indices` (ascending)."""
        rows = self._database.read(query, (stream, indices[0], indices[-1])) if indices else []
        wanted = indices if isinstance(indices, range) else set(indices)
        return [row for row in rows if row[0] in wanted]

    def _take_name(self) -> None:
        """A name for this object's claims; after a fork parent and child must not have the same."""
        if self._pid != os.getpid():
            self._pid, self._holder = os.getpid(), secrets.token_hex(8)
            self._here: Whereabouts = self._surroundings.here()
            self._asking: set[tuple[str, int]] = set()
            self._pulse, self._beating, self._registered = threading.Lock(), False, False
            self._renewed = -math.inf
        _HOLDERS.add(self._holder)

    def _register(self, db: sqlite3.Connection) -> None:
        """Say where this holder is; those that left without a word and have nothing any more are forgotten."""
        if not self._registered:
            db.execute(_TIDY, (self._surroundings.clock() - CLAIM_SECONDS,))
            self._registered = True
        here = self._here
        db.execute(_REGISTER, (self._holder, here.host, here.boot, here.space, self._until()))

    def _until(self) -> float:
        """When this holder will be given up, where it cannot be seen and its heart does not beat again."""
        return self._surroundings.clock() + LAPSE_SECONDS

    def _start_beating(self) -> None:
        with self._pulse:
            if self._beating or not self._asking:
                return
            self._beating = True
        self._surroundings.heartbeat(self._beat)

    def _beat(self) -> bool:
        """Say that this holder lives; False when it has nothing to hold any more."""
        with self._pulse:
            if not self._asking:
                self._beating = False
                return False
        with contextlib.suppress(*UNWRITTEN):  # a full disk, for a moment: the next one may get through
            self._database.write(lambda db: db.execute(_RENEW, (self._until(), self._holder)), durable=False)
        return True

    def _held(self, stream: str, indices: Sequence[int]) -> set[int]:
        """The queries in the range of `indices` that a living claim is on, this object's own threads included."""
        held: set[int] = set()
        living: dict[tuple[Any, ...], bool] = {}
        for query, holder, *facts in self._database.read(_CLAIMS, (stream, indices[0], indices[-1])):
            if holder == self._holder:
                if (stream, query) in self._asking:
                    held.add(query)
                continue
            key = (holder, *facts[:2])
            if key not in living:
                living[key] = self._lives(holder, *facts)
            if living[key]:
                held.add(query)
        return held

    def _lives(
        self,
        holder: str,
        pid: int,
        birth: str,
        until: float,
        host: str | None,
        boot: str,
        space: str,
        beat_until: float,
    ) -> bool:
        """Whether a holder other than this one lives; one of an earlier version has no `host`."""
        now = self._surroundings.clock()
        if host is None:
            recent = until > now
        else:
            # Beyond an hour from now it is of a clock that has been set back.
            recent = now < beat_until <= now + CLAIM_SECONDS
            if not self._here.sees(host, boot, space):
                return recent
        return holder in _HOLDERS if pid == self._pid else alive(pid, birth, recent)


_ANSWERS: Final = "SELECT query, answer FROM answers WHERE stream = ? AND query BETWEEN ? AND ?"
_SEALED: Final = "SELECT 1 FROM answers WHERE answer NOT LIKE '[%' LIMIT 1"
_FAILURES: Final = "SELECT query, reason FROM failures WHERE stream = ? AND query BETWEEN ? AND ?"
_CLAIMS: Final = """
SELECT query, claims.holder, pid, birth, claims.until, host, boot, space, holders.until
FROM claims LEFT JOIN holders ON claims.holder = holders.holder WHERE stream = ? AND query BETWEEN ? AND ?
"""
_REGISTER: Final = "INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?, ?)"
_RENEW: Final = "UPDATE holders SET until = ? WHERE holder = ?"
_TIDY: Final = "DELETE FROM holders WHERE until < ? AND holder NOT IN (SELECT holder FROM claims)"
_RELEASE: Final = "DELETE FROM claims WHERE stream = ? AND query = ? AND holder = ?"
_FORGIVE: Final = "DELETE FROM failures WHERE stream = ? AND query = ?"
_FAIL: Final = """
INSERT OR IGNORE INTO failures SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM answers WHERE stream = ? AND query = ?)
"""


def tampered(what: str) -> ConfigurationError:
    """The error for an entry that is not as this program kept it."""
    return ConfigurationError(
        f"{what} was changed by something else or this program did not write it; nothing was asked in its place: put "
        f"a copy of the file back, or forget it with `api-smooth cache repair`"
    )
