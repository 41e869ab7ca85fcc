"""Ctrl-C at each single place of a call where Python looks for signals, and what others can still do then.

Those are the beginnings of functions, the ends of calls and the backward jumps: elsewhere, as between the end of a
`with` block and the release of its lock, no exception comes from a signal.
"""

from __future__ import annotations

import dis
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache
from itertools import count
from types import CodeType, FrameType
from typing import Any, Final

#: Files of Python's own in which locks, pipes and generators are handled by instructions.
_OURS: Final = ("contextlib.py", "threading.py", "multiprocessing/connection.py")


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


@cache
def _places(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions before which signals are looked for."""
    found, after = set[int](), False
    for one in dis.get_instructions(code):
        if after or one.opname in ("RESUME", "JUMP_BACKWARD"):
            found.add(one.offset)
        after = one.opname.startswith("CALL")
    return frozenset(found)


def interrupted_at(step: int, work: Callable[[], object], ours: str = "api_smoothing") -> bool:
    """Do `work` with a Ctrl-C at its place number `step`, in our code or around its locks; whether it got there."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if ours not in frame.f_code.co_filename and not frame.f_code.co_filename.endswith(_OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in _places(frame.f_code):
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
    """Interrupt the first of what is made at each single place; another thread must be able to do the second.

    The second may not raise either. `ours` is a part of the names of our files that are looked at. Returns how many
    places there are.
    """
    for step in count(1):
        work, then = make()
        reached = interrupted_at(step, work, ours)
        said = list[BaseException | None]()
        thread = threading.Thread(target=_heard, args=(then, said), daemon=True)
        thread.start()
        thread.join(60)
        assert said == [None], f"interrupted at place {step}: {said or 'it is locked'}"
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
