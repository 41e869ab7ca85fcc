"""A provider's rate limit, as the sandbox keeps it."""

from __future__ import annotations

import threading
from collections import deque


class SlidingWindow:
    """A rate limit that slides: over a second, or over the time in which a rate allows a whole number. Thread-safe."""

    def __init__(self) -> None:
        self._admitted: deque[tuple[float, int]] = deque()
        self._units = 0
        self._lock = threading.Lock()

    def admits(self, at: float, units: int, rate: float | None) -> bool:
        """Whether `units` more at the time `at` keep within `rate` a second; counts them if so."""
        if rate is None:
            return True
        count = max(1, int(rate))
        with self._lock:
            while self._admitted and self._admitted[0][0] <= at - count / rate:
                self._units -= self._admitted.popleft()[1]
            if self._units + units > count:
                return False
            self._admitted.append((at, units))
            self._units += units
            return True
