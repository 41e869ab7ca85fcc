"""Faults on demand: which of them befalls the next request, by plan or by seeded chance."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

#: Every fault a server can show, and what it looks like on the wire.
KINDS: Final = {
    "throttle": "too many requests, without saying when to come back",
    "throttle-retry-after": "too many requests, come back after a second",
    "throttle-coded": "too many requests as the provider's own error code (AWS 400, Clarifai status, Azure text)",
    "500": "internal error",
    "502": "bad gateway, an HTML body",
    "503": "unavailable",
    "504": "gateway timeout, an empty body",
    "reset": "the connection is closed without an answer, after the request was read",
    "timeout": "no answer for as long as the client waits",
    "drip": "the answer arrives one byte at a time and never ends within the timeout",
    "empty": "success with an empty body",
    "missing-key": "success without the field that holds the labels",
    "truncated": "success with half of the body",
    "html": "success with a captive portal's page",
    "wrong-count": "success with one answer too few (providers with batches; otherwise as missing-key)",
    "bad-image": "one image of the request is refused inside an answer that succeeds, or the request is refused",
    "expired-key": "the key is no longer valid",
    "quota": "the month's quota is used up",
    "version": "from now on the model has another version (the answer itself succeeds)",
    "billed-400": "the request is refused as invalid, and billed",
}


class Faults:
    """Decides which fault befalls each request. Thread-safe, repeatable from its seed.

    A share `rate` of the requests fails, each with one of `kinds` drawn evenly. `inject` queues faults that
    come first, whatever the rate.
    """

    def __init__(self, *, rate: float = 0.0, kinds: Sequence[str] = (), seed: int = 0) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"unknown fault {unknown[0]!r}; use {', '.join(KINDS)}")
        if rate and not kinds:
            raise ValueError("a rate of faults needs kinds")
        self._rate, self._kinds = rate, tuple(kinds)
        self._draw = random.Random(seed)
        self._queue: deque[str] = deque()
        self._lock = threading.Lock()

    def inject(self, kind: str, times: int = 1) -> None:
        """Let the next `times` requests meet `kind`."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; use {', '.join(KINDS)}")
        with self._lock:
            self._queue.extend([kind] * times)

    def next(self) -> str | None:
        """The fault of the request at hand, or None."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            if self._rate and self._draw.random() < self._rate:
                return self._draw.choice(self._kinds)
            return None
