"""Signals that stop the main thread take effect where nothing is half done.

Ctrl-C is an exception between any two instructions: also between taking a lock and being ready to give it back, where
the other threads would wait for that lock for ever. Python's own locks are safe in a `with`; what is written in Python
around them, conditions, semaphores, executors and generators that hold one, is not.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any, Final

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

#: What `signal` is made of, without its look-up of names, which takes ten times as long: each query has such blocks.
_bare: Final = import_module("_signal")

Handler = Callable[[int, "FrameType | None"], Any]


def in_main_thread() -> bool:
    """Whether signals are handled by this thread."""
    return threading.get_ident() == threading.main_thread().ident


def listening() -> dict[int, Handler]:
    """The handlers of the signals to which somebody listens."""
    return {number: found for number in SIGNALS if callable(found := _bare.getsignal(number))}


class _Uninterrupted:
    """`with uninterrupted:` A signal waits for the end of the block; a second one does not. Blocks may be nested.

    Costs nothing outside the main thread, where no signal is handled.
    """

    def __init__(self) -> None:
        self._depth, self._waiting = 0, list[int]()
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> None:
        if in_main_thread():
            if not self._depth:
                for number, handler in listening().items():
                    if handler != self._note:  # as it is where an earlier end was itself interrupted
                        self._before[number] = handler
                        _bare.signal(number, self._note)
            self._depth += 1  # from here on nothing is raised

    def __exit__(self, *_: object) -> None:
        if in_main_thread():
            self._depth = max(0, self._depth - 1)
            if not self._depth:
                before = self._before
                for number, handler in before.items():
                    _bare.signal(number, handler)
                waiting, self._waiting, self._before = self._waiting, [], {}
                if waiting:
                    before[waiting[0]](waiting[0], None)

    def heed(self) -> None:
        """Have the signal that waits taken up by who would have got it."""
        if self._waiting:
            number, self._waiting = self._waiting[0], []
            self._before[number](number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._depth and not self._waiting:
            self._waiting = [number]
        else:
            self._waiting = []
            self._before[number](number, frame)

    def open(self) -> int:
        """Let signals through, if one block alone keeps them back; returns what `shut` is to be given."""
        if not in_main_thread() or self._depth != 1:
            return 0
        self._depth = 0
        return 1

    def shut(self, opened: int) -> None:
        """Keep signals back again."""
        self._depth += opened


uninterrupted: Final = _Uninterrupted()


class interruptible:
    """`with interruptible():` in an uninterrupted block: a wait that a signal may end. A no-op in nested ones."""

    def __enter__(self) -> None:
        self._opened = uninterrupted.open()
        if self._opened:
            try:
                uninterrupted.heed()
            except BaseException:
                uninterrupted.shut(self._opened)
                raise

    def __exit__(self, *_: object) -> None:
        uninterrupted.shut(self._opened)
