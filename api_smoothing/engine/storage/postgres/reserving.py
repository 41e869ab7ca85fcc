"""What passes between a turn and its request: reservations, whose way to the database must cost no quota."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

#: Seconds at least between a turn and its request where reservations are slow: the sender tells the limiter of those
#: that took longer than `sender.LATE`, and the limiter then holds what would leave too early.
_TOLD: Final = 0.011
_REMEMBERED: Final = 64
_LONGEST: Final = 0.15  # seconds


class Reserving:
    """How long it takes from a turn until everything is reserved, in seconds, of late. Thread-safe."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)
        self._mine = threading.local()

    @property
    def allowance(self) -> float:
        """Time enough for nearly all: one in sixteen takes longer."""
        return self._of(15 / 16)

    @property
    def usual(self) -> float:
        """Time enough for half of them."""
        return self._of(1 / 2)

    def handed(self, now: float) -> None:
        """Note that this thread was given a turn, and goes on to reserve."""
        self._mine.since = now

    def done(self, began: float, now: float) -> None:
        """A reservation of this thread that `began` then is made `now`, perhaps not the last for its turn."""
        since = getattr(self._mine, "since", None)
        self._latest.append(now - (began if since is None else since))
        if since is not None and self.allowance >= _TOLD and now - since < _TOLD:
            time.sleep(_TOLD - (now - since))

    def left(self) -> None:
        """Note that this thread's request leaves."""
        self._mine.since = None

    def _of(self, share: float) -> float:
        latest = sorted(self._latest.copy())
        return min(_LONGEST, latest[int(share * (len(latest) - 1))]) if latest else 0.0
