"""How long queries take: their number, and the seconds during which any were under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Counts queries, and the seconds during which any are under way. Thread-safe."""

    def __init__(self) -> None:
        self.queries, self.seconds = 0, 0.0
        self._lock, self._running, self._began = threading.Lock(), 0, 0.0

    def count(self, queries: int) -> None:
        """So many queries have come to an end."""
        with self._lock:
            self.queries += queries

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time of the block count, once however many threads are in one."""
        with self._lock:
            if not self._running:
                self._began = time.perf_counter()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self.seconds += time.perf_counter() - self._began
