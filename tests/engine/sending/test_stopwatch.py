"""Time that is counted once."""

from __future__ import annotations

import threading

import pytest

from api_smoothing.engine.sending import Stopwatch, stopwatch


def test_threads_at_once_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads that ask during the same tenth of a second take that tenth, not four; what is between counts not."""
    watch, now = Stopwatch(), [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    together = threading.Barrier(5)

    def ask() -> None:
        with watch.running():
            together.wait(60)
            together.wait(60)  # a tenth later
            watch.count(5)

    for _ in range(2):
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        together.wait(60)
        now[0] += 0.1
        together.wait(60)
        for thread in threads:
            thread.join()
        now[0] += 7.0
    assert watch.queries == 40
    assert watch.seconds == pytest.approx(0.2)
