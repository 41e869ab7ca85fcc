"""What becomes of a query on its way, and what a sender shares with others: answers, usage, gate."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol, TypeAlias

from api_smoothing.adapters.base import Answer, Verdict
from api_smoothing.engine.storage import Claim
from api_smoothing.errors import ConfigurationError

#: So many requests that are refused for the same reason, before anything was answered, say it all.
PLAIN: Final = 3
#: So many where an error that may pass has let many through at once: the first of them may have bad luck.
IN_A_CROWD: Final = 4 * PLAIN
_YEAR: Final = 366 * 86_400.0  # seconds
_PARTICULARS: Final = re.compile(r"""'[^']*'|"[^"]*"|“[^”]*”|\S*\d\S*""")


class Open(Enum):
    """A query without an outcome: another process is asking it, the budget has no room for it, or it is not wanted."""

    BUSY = "busy"
    UNPAID = "unpaid"
    ENDED = "ended"


#: An answer, None for a query that finally failed, or why there is neither.
Outcome: TypeAlias = Answer | Open | None


def in_words(seconds: float) -> str:
    """How long a provider asks to wait; of a time beyond reason, which may be infinite, no more than that."""
    if seconds > _YEAR:
        return "more than a year"
    return f"{seconds:.0f} s" if seconds >= 10.0 else f"{seconds:.2g} s"


class AnswerStore(Protocol):
    """Where the answers of one stream are kept; the first answer to a query stays."""

    def claim(self, indices: Sequence[int]) -> Claim:
        """Look for answers and final failures that have come meanwhile, and keep others from asking the rest."""
        ...

    def keep(self, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep answers and end their claims; returns those that stand."""
        ...

    def fail(self, reasons: Mapping[int, str]) -> None:
        """Remember final failures and why, by index, and end their claims."""
        ...

    def release(self, indices: Sequence[int]) -> None:
        """End claims that came to no answer."""
        ...

    def flush(self) -> None:
        """Write down what is kept in memory so far."""
        ...


class Latency:
    """How long a request takes, in seconds, the latest ones weighing most. Thread-safe."""

    def __init__(self) -> None:
        self.seconds = 1.0
        self._lock = threading.Lock()

    def took(self, seconds: float) -> None:
        """Add a request."""
        with self._lock:
            self.seconds += 0.2 * (seconds - self.seconds)


class FirstRequestGate:
    """What all senders of a run have learnt of the service: whether it answers at all.

    Until it does, requests pass one at a time: a wrong key costs one, not sixteen, and a service that refuses
    everything costs PLAIN. An error that may pass opens the gate as well, as it tells nothing.
    """

    def __init__(self) -> None:
        self.answering = False
        self.ended: str | None = None
        self._open = self._passed = False
        self._refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._inside = threading.local()

    @contextlib.contextmanager
    def passing(self) -> Iterator[bool]:
        """The time of one request, and of what is learnt from it; whether none before did not fail for good.

        Raises ConfigurationError within a request of the same thread, which would wait for itself.
        """
        if getattr(self._inside, "busy", False):
            raise ConfigurationError("the provider asks itself: its function uses the object it was given to")
        with contextlib.ExitStack() as held:
            if not self._open:
                held.enter_context(self._lock)
                if self._open:  # since the request that was waited for
                    held.close()
            self._inside.busy = True
            try:
                yield not self._passed
            finally:
                self._inside.busy = False
            self._passed = True

    def open(self, *, answering: bool) -> None:
        """Let all requests through; `answering` says that one was answered."""
        self.answering = self.answering or answering
        self._open = True

    def refuse(self, verdict: Verdict) -> None:
        """Count a request that came to no answer, and end the run when it is plain that none will."""
        if self.answering:
            return
        reason = reason_of(verdict)
        self._refused[reason] += 1
        count = self._refused[reason]
        if count >= (IN_A_CROWD if self._open else PLAIN):
            reported = verdict.message or "it gave no reason"
            self.ended = (
                f"{reported}; {count} queries came to this, and none to an answer, so that no more are sent"
            )


def reason_of(verdict: Verdict) -> str:
    """What two verdicts for the same reason have in common: their kind and words, without quotations and numbers."""
    return verdict.kind + _PARTICULARS.sub("…", verdict.message)
