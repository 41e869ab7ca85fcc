"""Being told to stop amid a step: it is finished and kept first; told twice, it is not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from api_smoothing.interrupts import Handler, in_main_thread, listening


class Stop:
    """`asked`: a signal came, which `heed` passes on to who would have got it, and which raises there."""

    def __init__(self) -> None:
        self.before: dict[int, Handler] = {}
        self._number: int | None = None

    @property
    def asked(self) -> bool:
        """Whether it is time to stop."""
        return self._number is not None

    def heed(self) -> None:
        """Stop, if it was asked for."""
        if self._number is not None:
            self.before[self._number](self._number, None)

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal: the first waits, any further one does not."""
        if self.asked:
            self.before[number](number, frame)
        self._number = number


@contextmanager
def stop_between_steps() -> Iterator[Stop]:
    """Signals to which somebody listens wait, in the block, until `heed`. Elsewhere than in the main thread none do."""
    stop = Stop()
    if in_main_thread():
        stop.before = listening()
    for number in stop.before:
        signal.signal(number, stop.note)
    try:
        yield stop
    finally:
        for number, handler in stop.before.items():
            signal.signal(number, handler)
