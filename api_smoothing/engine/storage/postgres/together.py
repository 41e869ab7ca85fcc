"""Calls that several threads make at the same time, made as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from api_smoothing.interrupts import interruptible, uninterrupted

W = TypeVar("W")
R = TypeVar("R")


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Call(Generic[W, R]):
    """What a thread wants, and what came of it."""

    def __init__(self, wanted: W) -> None:
        self.wanted = wanted
        self.result: R | None = None
        self.error: BaseException | None = None
        self.leads = self.done = False
        self.wake = _locked()  # released, once, when it leads or is done


class Together(Generic[W, R]):
    """`work` for single things: what is wanted while `at_once` calls are under way goes with the next one.

    `work` takes a list and returns as long a list of results. What it raises, all in the list are told.
    """

    def __init__(self, work: Callable[[Sequence[W]], Sequence[R]], *, at_once: int = 2) -> None:
        self._work, self._free = work, at_once
        self._lock = threading.Lock()
        self._waiting: list[_Call[W, R]] = []

    def __call__(self, wanted: W) -> R:
        """What `work` returns for `wanted`."""
        mine = _Call[W, R](wanted)
        with uninterrupted:
            with self._lock:
                mine.leads = self._free > 0
                if mine.leads:
                    self._free -= 1
                else:
                    self._waiting.append(mine)
            batch = [mine]
            try:
                with interruptible():
                    if not mine.leads:
                        mine.wake.acquire()
                if mine.leads:
                    with self._lock:
                        batch += self._waiting
                        self._waiting = []
                    with interruptible():
                        self._do(batch)
            finally:
                self._pass_on(mine, batch)
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]

    def _do(self, batch: Sequence[_Call[W, R]]) -> None:
        try:
            results = self._work([one.wanted for one in batch])
        except Exception as error:
            for one in batch:
                one.error = error
        else:
            for one, result in zip(batch, results, strict=True):
                one.result = result
        for one in batch:
            one.done = True

    def _pass_on(self, mine: _Call[W, R], batch: Sequence[_Call[W, R]]) -> None:
        """Wake those whose call was made, and have the next one lead; also where this one was interrupted."""
        with self._lock:
            if not mine.leads:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                return
            self._waiting[:0] = [one for one in batch if not one.done and one is not mine]
            if self._waiting:
                following = self._waiting.pop(0)
                following.leads = True
                following.wake.release()
            else:
                self._free += 1
        for one in batch:
            if one.done and one is not mine:
                one.wake.release()
