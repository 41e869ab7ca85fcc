"""What becomes of a query on its way, and what a sender shares with others: answers, usage, gate."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from api_smoothing.adapters.base import Answer
from api_smoothing.engine.storage.base import Claim


class Open(Enum):
    """A query without an outcome: another process is asking it, or the budget has no room for it."""

    BUSY = "busy"
    UNPAID = "unpaid"


#: An answer, None for a query that finally failed, or why there is neither.
Outcome: TypeAlias = Answer | Open | None


class AnswerStore(Protocol):
    """Where the answers of one stream are kept; the first answer to a query stays."""

    def claim(self, indices: Sequence[int]) -> Claim:
        """Look for answers that have come meanwhile, and keep others from asking the rest."""
        ...

    def keep(self, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep answers and end their claims; returns those that stand."""
        ...

    def fail(self, reasons: Mapping[int, str]) -> None:
        """Remember final failures and why, by index, and end their claims."""
        ...

    def failed(self, indices: Sequence[int]) -> Collection[int]:
        """Those of `indices` (ascending) that somebody else has asked meanwhile, and that finally failed."""
        ...

    def release(self, indices: Sequence[int]) -> None:
        """End claims that came to no answer."""
        ...


@dataclass(slots=True)
class Usage:
    """What one stream has cost so far: images sent, failed attempts included, and how long a request takes."""

    sent: int = 0
    seconds: float = 1.0
    last_error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, images: int, seconds: float) -> None:
        """Add a request."""
        with self.lock:
            self.sent += images
            self.seconds += 0.2 * (seconds - self.seconds)


class FirstRequestGate:
    """Lets one request through at a time until one has not failed for good: a wrong key costs one, not sixteen."""

    def __init__(self) -> None:
        self._open = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def passing(self) -> Iterator[bool]:
        """The time of one request, which opens the gate unless it raises; whether it is the first to do so."""
        with contextlib.nullcontext() if self._open else self._lock:
            first = not self._open
            yield first
            self._open = True
