"""The server's clock, as far as it can be known here: replies tell its time at some moment between two of ours."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

_REMEMBERED_SECONDS: Final = 30.0  # clocks of two machines drift apart by less than 2 ms meanwhile


class ServerClock:
    """How far our steady clock is ahead of the server's: between bounds that each reply narrows. Thread-safe.

    Bounds that contradict one another mean that the server's clock was set: the latest count alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bounds: deque[tuple[float, float, float]] = deque()  # our time, least and most ahead

    def heard(self, theirs: float, sent: float, received: float) -> float:
        """Add a reply: the server's time `theirs` was between our times `sent` and `received`; returns `ahead`."""
        with self._lock:
            self._bounds.append((received, sent - theirs, received - theirs))
            while self._bounds[0][0] < received - _REMEMBERED_SECONDS:
                self._bounds.popleft()
            least = max(bound[1] for bound in self._bounds)
            most = min(bound[2] for bound in self._bounds)
            if least > most:
                _, least, most = self._bounds[-1]
                self._bounds = deque([self._bounds[-1]])
            return (least + most) / 2
