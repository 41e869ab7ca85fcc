"""The rate limiter: what a provider accepts in a window of time, shared by all who open one of its files.

Each quota keeps the times of its last turns. A new one comes no earlier than one window after that `count` places
before it, so that no window ever holds more, whoever asked. Windows are kept 2 % longer than the provider's: requests
do not take equally long to arrive. Where a provider takes less than its quota says, the turns come at the pace that
its throttles teach (`pace`).

Nobody has a turn much before it has come. Until then one stands in line, and says when one will look again: whoever
does not, because its process has died or was suspended, or whose own rate is so low that it would let a turn pass that
others can use, is passed by. A line of the dead holds nobody for longer than they would have slept. A turn is taken
shortly before it comes, so that what waking and writing take is not added to every window.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.database import UNWRITTEN, Database
from api_smoothing.engine.storage.flow import MARGIN, Flow, Lane, fine
from api_smoothing.engine.storage.pace import Pace, at_pace, slowed
from api_smoothing.engine.storage.whereabouts import boot as _boot

T = TypeVar("T")
_Files: TypeAlias = tuple[sqlite3.Connection, ...]

#: Seconds of waiting after which whoever listens is told.
LONG_WAIT: Final = 5.0
_VERSION: Final = 1  # earlier ones know neither line nor pace, and share the turns all the same
_RESOLUTION: Final = 0.002  # seconds; no thread wakes more exactly
_DUST: Final = 1e-6  # seconds, of rounding
_AHEAD: Final = 0.05  # seconds before its coming that a turn may be taken
_LOOK: Final = 5.0  # seconds after which one looks at the line again, however long it is
_GRACE: Final = 0.25  # seconds by which one may wake late and keep one's place
_LONGEST_PAUSE: Final = 3600.0
_SETTLES: Final = 1.0  # seconds after a pause in which requests of before may still be refused
_LONGEST_SETTLING: Final = 60.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS quotas (quota TEXT PRIMARY KEY, boot TEXT NOT NULL, grants BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pauses (key TEXT PRIMARY KEY, boot TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS line (
    place INTEGER PRIMARY KEY AUTOINCREMENT, ticket TEXT NOT NULL UNIQUE, key TEXT NOT NULL, boot TEXT NOT NULL,
    images INTEGER NOT NULL, looks REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS paces (
    quota TEXT PRIMARY KEY, ceiling REAL NOT NULL, cut REAL NOT NULL, answered INTEGER NOT NULL, boot TEXT NOT NULL,
    settled REAL NOT NULL
) WITHOUT ROWID
"""


class RateLimiter:
    """Makes threads wait for their turn. Quotas of the same `key` are one, in every process.

    A turn is taken in every one of `places` at once: whoever shares any of them, shares the quota. Those who share
    several must name them in one order.

    `clock` is in seconds, common to all processes, and does not jump when the time of day is set; it may start
    anew with the machine. `sleep` waits that long, in place of the event that ends a wait.
    """

    def __init__(
        self,
        *places: Path | Database,
        key: str,
        quotas: Sequence[Quota],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._key, self._quotas = key, tuple(fine(quota) for quota in quotas)
        self._clock, self._sleep, self._boot = clock, sleep, _boot()
        self._late = max(_RESOLUTION, min((q.seconds for q in quotas), default=1.0) * MARGIN / 2)
        self._databases = [place if isinstance(place, Database) else rate_file(place) for place in places]
        self._lock = threading.Lock()
        self._answered = 0  # requests, since the pace was last looked at
        self._tell: Callable[[float], object] | None = None
        self._told = -_LONGEST_PAUSE

    def listen(self, tell: Callable[[float], object]) -> None:
        """Have `tell` called with the seconds to wait, from a thread that waits, where they are many; once a minute."""
        self._tell = tell

    def wait(self, images: int, stop: threading.Event | None = None) -> None:
        """Return when a request with `images` images may leave, or as soon as `stop` is set: then nothing is taken.

        A turn that was missed after all, because the machine was busy, is given up for a new one: leaving late would
        crowd the next window.
        """
        stop = stop or threading.Event()
        sleep, ticket, in_line = self._sleep or stop.wait, secrets.token_hex(8), False
        try:
            while not stop.is_set():
                now, at = self._in_all(partial(self._look, ticket, images))
                if in_line := at > now + _AHEAD:
                    self._say(at - now)
                    sleep(min(at - now - _AHEAD / 2, _LOOK))
                else:
                    while (left := at - self._clock()) > _DUST and not stop.is_set():
                        sleep(left)
                    missed = -left > self._late
                    if missed or stop.is_set():  # nothing has left
                        self._in_all(partial(self._give_back, images, at))
                    if not missed:
                        return
        finally:
            if in_line:
                with contextlib.suppress(*UNWRITTEN):  # whoever does not look is passed by
                    self._in_all(partial(self._leave, ticket))

    def spare(self, images: int) -> None:
        """Have a request that left some time ago count as one of now, too: nobody knows when it arrived."""

        def count_again(files: _Files) -> None:
            for db in files:
                flow = self._flow(db)
                flow.pass_by(images, self._clock())
                self._write(flow, db)

        self._in_all(count_again)

    def pause(self, seconds: float) -> None:
        """Nobody on this quota sends before `seconds` (an hour at most) from now."""
        self._in_all(partial(self._hold, seconds))

    def throttled(self, retry_after: float = 1.0) -> None:
        """The provider refused a request as too fast: everyone waits `retry_after` seconds, and is slower from then on.

        What is refused soon after that had left before, or counts against what had, and slows nobody again.
        """

        def slow(files: _Files) -> None:
            now = self._clock()
            self._hold(retry_after, files)
            for quota in self._quotas:
                settled = now + retry_after + min(_LONGEST_SETTLING, max(_SETTLES, quota.seconds))
                for db in files:
                    name = f"{self._key}/{quota.unit}"
                    row = db.execute(_PACE, (name,)).fetchone()
                    if row is not None and row[3] == self._boot and now < row[4] <= now + _LONGEST_PAUSE * 2:
                        continue
                    pace = slowed(None if row is None else _pace(row), quota)
                    db.execute(_SLOW, (name, pace.ceiling, pace.cut, pace.answered, self._boot, settled))

        self._in_all(slow)

    def answered(self, requests: int = 1) -> None:
        """So many requests were answered: after many, a pace that throttles have lowered is raised, up to the quota."""
        with self._lock:
            self._answered += requests

    def close(self) -> None:
        """Release the files."""
        for database in self._databases:
            database.close()

    def _say(self, seconds: float) -> None:
        if self._tell is None or seconds < LONG_WAIT:
            return
        with self._lock:
            now, before = self._clock(), self._told
            if recent := before <= now < before + 60.0:
                return
            self._told = now
        if not recent:
            self._tell(seconds)

    def _in_all(self, work: Callable[[_Files], T], held: _Files = ()) -> T:
        """What `work` returns, done while nobody else writes to any of the files."""
        if len(held) == len(self._databases):
            return work(held)
        following = self._databases[len(held)]
        return following.write(lambda db: self._in_all(work, (*held, db)), durable=False)

    def _look(self, ticket: str, images: int, files: _Files) -> tuple[float, float]:
        """The time, and that of the turn: taken if it has come, else one stands in line for it."""
        self._learn(files)
        now = self._clock()
        flows = [self._flow(db) for db in files]
        pairs = zip(files, flows, strict=True)
        at = max(self._earliest(ticket, images, now, db, flow) for db, flow in pairs)
        if at <= now + _AHEAD:
            self._take(images, at, flows, files)
            self._leave(ticket, files)
            return now, at
        for db in files:
            looks = min(at - _AHEAD / 2, now + _LOOK)
            if not db.execute(_STAY, (looks, ticket)).rowcount:
                db.execute(_TIDY, (now - _LOOK - 60.0, self._boot))
                db.execute(_JOIN, (ticket, self._key, self._boot, images, looks))
        return now, at

    def _earliest(self, ticket: str, images: int, now: float, db: sqlite3.Connection, flow: Flow) -> float:
        """When the turn of `ticket` comes in `flow`, after those before it in line."""
        start = max(now, self._paused_until(now, db))
        line = db.execute(_LINE, (self._key, self._boot, ticket)).fetchall()
        flow = flow.copy() if line else flow
        for wanted, looks in line:
            if now - _GRACE <= looks <= now + _LOOK + _GRACE:
                due = flow.next(wanted, start)
                if looks <= due + _GRACE:
                    flow.take(wanted, due)
        return flow.next(images, start)

    def _take(self, images: int, at: float, flows: Sequence[Flow], files: _Files) -> None:
        for db, flow in zip(files, flows, strict=True):
            flow.take(images, at)
            self._write(flow, db)

    def _give_back(self, images: int, at: float, files: _Files) -> None:
        for db in files:
            flow = self._flow(db)
            flow.give_back(images, at)
            self._write(flow, db)

    def _leave(self, ticket: str, files: _Files) -> None:
        for db in files:
            db.execute(_LEAVE, (ticket,))

    def _hold(self, seconds: float, files: _Files) -> None:
        now = self._clock()
        for db in files:
            until = max(now + min(seconds, _LONGEST_PAUSE), self._paused_until(now, db))
            db.execute(_PAUSE, (self._key, self._boot, until))

    def _paused_until(self, now: float, db: sqlite3.Connection) -> float:
        row = db.execute(_PAUSED, (self._key, self._boot)).fetchone()
        # Beyond the longest pause from now it is of a clock that has been set back.
        return row[0] if row is not None and row[0] <= now + _LONGEST_PAUSE else 0.0

    def _learn(self, files: _Files) -> None:
        with self._lock:
            answered, self._answered = self._answered, 0
        if answered:
            for db in files:
                for quota in self._quotas:
                    db.execute(_CONFIRM, (answered, f"{self._key}/{quota.unit}"))

    def _flow(self, db: sqlite3.Connection) -> Flow:
        """The turns taken until now, by the quotas of the present pace; none from before the machine's last start."""
        lanes = {}
        for quota in self._quotas:
            name = f"{self._key}/{quota.unit}"
            row = db.execute(_GRANTS, (name, self._boot)).fetchone()
            learned = db.execute(_PACE, (name,)).fetchone()
            lowered = quota if learned is None else at_pace(quota, _pace(learned))
            lanes[name] = Lane(lowered, array("d", row[0] if row else b""))
        return Flow(lanes)

    def _write(self, flow: Flow, db: sqlite3.Connection) -> None:
        for name, lane in flow.lanes.items():
            db.execute(_GRANT, (name, self._boot, lane.past.tobytes()))


def rate_file(path: Path | None) -> Database:
    """The file of a limiter; None for one in memory."""
    return Database(path, _SCHEMA, version=_VERSION)


_PAUSED: Final = "SELECT until FROM pauses WHERE key = ? AND boot = ?"
_PAUSE: Final = "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?)"
_GRANTS: Final = "SELECT grants FROM quotas WHERE quota = ? AND boot = ?"
_GRANT: Final = "INSERT OR REPLACE INTO quotas VALUES (?, ?, ?)"
_LINE: Final = """
SELECT images, looks FROM line WHERE key = ? AND boot = ?
AND place < COALESCE((SELECT place FROM line WHERE ticket = ?), 9223372036854775807) ORDER BY place
"""
_JOIN: Final = "INSERT INTO line (ticket, key, boot, images, looks) VALUES (?, ?, ?, ?, ?)"
_STAY: Final = "UPDATE line SET looks = ? WHERE ticket = ?"
_LEAVE: Final = "DELETE FROM line WHERE ticket = ?"
_TIDY: Final = "DELETE FROM line WHERE looks < ? OR boot != ?"
_PACE: Final = "SELECT ceiling, cut, answered, boot, settled FROM paces WHERE quota = ?"
_SLOW: Final = "INSERT OR REPLACE INTO paces VALUES (?, ?, ?, ?, ?, ?)"
_CONFIRM: Final = "UPDATE paces SET answered = answered + ? WHERE quota = ?"


def _pace(row: tuple[float, float, int, str, float]) -> Pace:
    return Pace(ceiling=row[0], cut=row[1], answered=row[2])
