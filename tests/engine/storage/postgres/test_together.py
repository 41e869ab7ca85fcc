"""Calls of several threads made as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from api_smoothing.engine.storage.postgres.together import Together


def test_what_waits_goes_together_and_each_gets_its_own() -> None:
    """While as many calls as allowed are under way the others collect, and then make one call."""
    batches: list[int] = []
    under_way, most, go_on = [0], [0], threading.Event()
    lock = threading.Lock()

    def work(wanted: Sequence[int]) -> list[int]:
        with lock:
            batches.append(len(wanted))
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        assert go_on.wait(60)
        with lock:
            under_way[0] -= 1
        return [10 * one for one in wanted]

    together = Together(work, at_once=2)
    with ThreadPoolExecutor(20) as pool:
        found = [pool.submit(together, k) for k in range(20)]
        while len(together._waiting) < 18:
            time.sleep(0.001)
        go_on.set()
        assert [one.result() for one in found] == [10 * k for k in range(20)]
    assert most[0] == 2
    assert len(batches) < 20
    assert sum(batches) == 20
    assert together(7) == 70  # its turns were given back


def test_an_error_is_told_to_all_who_share_the_call() -> None:
    """And nobody after them."""
    failing = [True]

    def work(wanted: Sequence[int]) -> Sequence[int]:
        if failing[0]:
            raise ValueError("no")
        return wanted

    together = Together(work, at_once=1)
    with pytest.raises(ValueError, match="no"):
        together(1)
    failing[0] = False
    assert together(2) == 2
