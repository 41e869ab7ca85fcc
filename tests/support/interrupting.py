"""Ctrl-C before each single instruction of a call, and what others can still do then."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any, Final

#: Files of Python's own in which locks, pipes and generators are handled by instructions.
_OURS: Final = ("contextlib.py", "threading.py", "multiprocessing/connection.py")


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupted_at(step: int, work: Callable[[], object], ours: str = "api_smoothing") -> bool:
    """Do `work` with a Ctrl-C before its instruction `step`, in our code or around its locks; whether it got there."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if ours not in frame.f_code.co_filename and not frame.f_code.co_filename.endswith(_OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                ctrl_c()
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return left <= 0


def never_left_locked(
    make: Callable[[], tuple[Callable[[], object], Callable[[], object]]], ours: str = "api_smoothing"
) -> int:
    """Interrupt the first of what is made before each single instruction; another thread must be able to do the second.

    The second may not raise either. `ours` is a part of the names of our files that are looked at. Returns how many
    instructions there are.
    """
    for step in count(1):
        work, then = make()
        reached = interrupted_at(step, work, ours)
        said = list[BaseException | None]()
        thread = threading.Thread(target=_heard, args=(then, said), daemon=True)
        thread.start()
        thread.join(10)
        assert said == [None], f"interrupted before instruction {step}: {said or 'it is locked'}"
        if not reached:
            return step
    raise AssertionError


def _heard(then: Callable[[], object], said: list[BaseException | None]) -> None:
    try:
        then()
    except BaseException as error:
        said.append(error)
    else:
        said.append(None)
