"""The rate limiter: what a provider accepts in a window of time, shared by all processes of this machine.

Each quota keeps the times of its last `count` grants. A new grant comes no earlier than one window after the
grant `count` places before it, so that no window ever holds more, whoever asked. Windows are kept 2 % longer than
the provider's: requests do not take equally long to arrive.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.database import Database

MARGIN: Final = 0.02
_LONGEST: Final = 512  # grants remembered for a quota
_RESOLUTION: Final = 0.002  # seconds; no thread wakes more exactly
_TOO_FAR: Final = 3600.0  # a grant farther in the future comes from a clock that was set back
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS quotas (quota TEXT PRIMARY KEY, grants BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pauses (key TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID
"""


class RateLimiter:
    """Makes threads wait for their turn. Quotas of the same `key` are one, in every process.

    `clock` is in seconds and common to all processes; `sleep` waits that long.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: str,
        quotas: Sequence[Quota],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._key, self._quotas = key, tuple(_fine(quota) for quota in quotas)
        self._clock, self._sleep = clock, sleep
        self._late = max(_RESOLUTION, min((q.seconds for q in quotas), default=1.0) * MARGIN / 2)
        self._database = Database(path, _SCHEMA, durable=False)

    def wait(self, images: int) -> None:
        """Return when a request with `images` images may leave.

        A turn that was missed, because the machine was busy or everyone has been told to pause, is given up
        for a new one: leaving late would crowd the next window.
        """
        while True:
            at = self._book(images)
            while (left := at - self._clock()) > 0:
                self._sleep(left)
            if self._clock() - at <= self._late and self._paused_until() <= at:
                return

    def pause(self, seconds: float) -> None:
        """Nobody on this quota sends before `seconds` from now."""
        until = self._clock() + seconds
        with self._database.write() as db:
            db.execute(
                "INSERT INTO pauses VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET until = max(until, excluded.until)",
                (self._key, until),
            )

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _book(self, images: int) -> float:
        """The time of the next turn, taken."""
        with self._database.write() as db:
            at = now = self._clock()
            until = self._paused_until()
            if now < until <= now + _TOO_FAR:
                at = until
            rings = []
            for quota in self._quotas:
                name = f"{self._key}/{quota.unit}/{quota.count}/{quota.seconds:g}"
                row = db.execute("SELECT grants FROM quotas WHERE quota = ?", (name,)).fetchone()
                ring = array("d", row[0] if row else bytes(8 * quota.count))
                if ring[-1] > now + _TOO_FAR:
                    ring = array("d", bytes(8 * quota.count))
                units = min(images if quota.unit == "image" else 1, quota.count)
                window = quota.seconds * (1.0 + MARGIN)
                spread = window / quota.count / 2  # an even flow instead of a burst a window
                at = max(at, ring[units - 1] + window, ring[-1] + spread)
                rings.append((name, ring, units))
            for name, ring, units in rings:
                grants = ring[units:] + array("d", [at] * units)
                db.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?)", (name, grants.tobytes()))
        return at

    def _paused_until(self) -> float:
        row = self._database.read().execute("SELECT until FROM pauses WHERE key = ?", (self._key,)).fetchone()
        return float(row[0]) if row else 0.0


def _fine(quota: Quota) -> Quota:
    """A large quota as one of a window so much shorter that its grants can be remembered; never a laxer one."""
    parts = -(-quota.count // _LONGEST)
    if parts == 1:
        return quota
    return replace(quota, count=quota.count // parts, seconds=quota.seconds / parts)
