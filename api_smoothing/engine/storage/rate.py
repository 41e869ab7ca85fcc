"""The rate limiter: what a provider accepts in a window of time, shared by all who open one of its files.

Each quota keeps the times of its last grants. A new grant comes no earlier than one window after the grant `count`
places before it, so that no window ever holds more, whoever asked. Windows are kept 2 % longer than the provider's:
requests do not take equally long to arrive.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.database import Database
from api_smoothing.engine.storage.whereabouts import boot as _boot

T = TypeVar("T")
_Files: TypeAlias = tuple[sqlite3.Connection, ...]

MARGIN: Final = 0.02
_VERSION: Final = 1
_LONGEST: Final = 512  # grants remembered for a quota
_RESOLUTION: Final = 0.002  # seconds; no thread wakes more exactly
_EARLIEST: Final = 0.1
_LONGEST_PAUSE: Final = 3600.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS quotas (quota TEXT PRIMARY KEY, boot TEXT NOT NULL, grants BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pauses (key TEXT PRIMARY KEY, boot TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID
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
        self._key, self._quotas = key, tuple(_fine(quota) for quota in quotas)
        self._clock, self._sleep, self._boot = clock, sleep, _boot()
        self._late = max(_RESOLUTION, min((q.seconds for q in quotas), default=1.0) * MARGIN / 2)
        self._databases = [place if isinstance(place, Database) else rate_file(place) for place in places]

    def wait(self, images: int, stop: threading.Event | None = None) -> None:
        """Return when a request with `images` images may leave, or as soon as `stop` is set.

        A turn that was missed, because the machine was busy or everyone has been told to pause, is given up
        for a new one: leaving late would crowd the next window. For the next turn it is woken earlier by as much.
        """
        stop = stop or threading.Event()
        sleep, early = self._sleep or stop.wait, 0.0
        while not stop.is_set():
            at, slept = self._book(images), False
            while (left := at - self._clock()) > 0 and not stop.is_set():
                slept = True
                sleep(max(0.0, left - early))
            now = self._clock()
            if now - at <= self._late and not (slept and self._paused_until(now) > at):
                return
            early = min(_EARLIEST, max(early, now - at))

    def spare(self, images: int) -> None:
        """Leave a turn unused, for a request that may have arrived much later than it left."""
        self._book(images)

    def pause(self, seconds: float) -> None:
        """Nobody on this quota sends before `seconds` (an hour at most) from now."""

        def prolong(files: _Files) -> None:
            now = self._clock()
            until = max(now + min(seconds, _LONGEST_PAUSE), self._paused_until(now))
            for db in files:
                db.execute(_PAUSE, (self._key, self._boot, until))

        self._in_all(prolong)

    def close(self) -> None:
        """Release the files."""
        for database in self._databases:
            database.close()

    def _book(self, images: int) -> float:
        """The time of the next turn, taken."""
        return self._in_all(partial(self._take_turn, images))

    def _in_all(self, work: Callable[[_Files], T], held: _Files = ()) -> T:
        """What `work` returns, done while nobody else writes to any of the files."""
        if len(held) == len(self._databases):
            return work(held)
        following = self._databases[len(held)]
        return following.write(lambda db: self._in_all(work, (*held, db)), durable=False)

    def _take_turn(self, images: int, files: _Files) -> float:
        now = self._clock()
        at = max(now, self._paused_until(now))
        booked = []
        for quota in self._quotas:
            name = f"{self._key}/{quota.unit}"
            wanted = images if quota.unit == "image" else 1
            units = min(wanted, quota.count)
            window = quota.seconds * (1.0 + MARGIN)
            spread = window / quota.count / 2  # an even flow instead of a burst a window
            past = [self._grants(db, name) for db in files]
            for grants in past:
                if len(grants) >= quota.count - units + 1:
                    at = max(at, grants[units - 1 - quota.count] + window)
                if grants:
                    at = max(at, grants[-1] + spread)
            more = -(-wanted // quota.count) - 1  # windows that a batch larger than the quota fills
            booked.append((name, past, units, more * window))
        for name, past, units, beyond in booked:
            for db, grants in zip(files, past, strict=True):
                grants.extend([at + beyond] * units)
                db.execute(_GRANT, (name, self._boot, grants[-_LONGEST:].tobytes()))
        return at

    def _grants(self, db: sqlite3.Connection, name: str) -> array[float]:
        """The times of the last grants, ascending; none after a restart of the machine."""
        row = db.execute(_GRANTS, (name, self._boot)).fetchone()
        return array("d", row[0] if row else b"")

    def _paused_until(self, now: float) -> float:
        rows = [
            row for database in self._databases for row in database.read(_PAUSED, (self._key, self._boot))
        ]
        return max((until for (until,) in rows if until <= now + _LONGEST_PAUSE), default=0.0)


def rate_file(path: Path | None) -> Database:
    """The file of a limiter; None for one in memory."""
    return Database(path, _SCHEMA, version=_VERSION)


_PAUSED: Final = "SELECT until FROM pauses WHERE key = ? AND boot = ?"
_PAUSE: Final = "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?)"
_GRANTS: Final = "SELECT grants FROM quotas WHERE quota = ? AND boot = ?"
_GRANT: Final = "INSERT OR REPLACE INTO quotas VALUES (?, ?, ?)"


def _fine(quota: Quota) -> Quota:
    """A large quota as one of a window so much shorter that its grants can be remembered; never a laxer one."""
    parts = -(-quota.count // _LONGEST)
    if parts == 1:
        return quota
    return replace(quota, count=quota.count // parts, seconds=quota.seconds / parts)
