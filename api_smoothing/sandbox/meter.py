"""What a sandbox server saw and would have billed: the counterpart to the client's own ledger."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the server saw it; `at` is seconds of `time.monotonic()` on arrival."""

    at: float
    operation: str
    images: int
    billed: int
    fault: str | None
    status: str


class Meter:
    """The request log of one server, and the bill: `micro_usd` for every billed image. Thread-safe."""

    def __init__(self, *, micro_usd: int = 0) -> None:
        self._price = micro_usd
        self._log: list[Request] = []
        self._lock = threading.Lock()

    def record(self, request: Request) -> None:
        """Add a request to the log and the bill."""
        with self._lock:
            self._log.append(request)

    def log(self) -> list[Request]:
        """All requests so far, in the order in which they were finished."""
        with self._lock:
            return list(self._log)

    @property
    def requests(self) -> int:
        """Requests that arrived, whatever became of them."""
        with self._lock:
            return len(self._log)

    @property
    def images(self) -> int:
        """Images in all requests that arrived."""
        return sum(request.images for request in self.log())

    @property
    def billed(self) -> int:
        """Images that were billed."""
        return sum(request.billed for request in self.log())

    @property
    def micro_usd(self) -> int:
        """The bill in millionths of a dollar."""
        return self._price * self.billed

    def busiest(self, seconds: float = 1.0, *, unit: str = "image") -> int:
        """The most images (or requests) that arrived in any window [t, t + `seconds`)."""
        events = sorted((r.at, r.images if unit == "image" else 1) for r in self.log())
        times = [at for at, _ in events]
        total = [0]
        for _, count in events:
            total.append(total[-1] + count)
        starts = range(len(times))
        return max((total[bisect_left(times, times[i] + seconds)] - total[i] for i in starts), default=0)
