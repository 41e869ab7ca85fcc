"""Time that is counted once."""

from __future__ import annotations

import threading
import time

from api_smoothing.engine.sending import Stopwatch


def test_threads_at_once_count_once() -> None:
    """Two threads that ask during the same tenth of a second take that tenth, not two."""
    watch = Stopwatch()

    def ask() -> None:
        with watch.running():
            time.sleep(0.1)
            watch.count(5)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.queries == 20
    assert 0.1 <= watch.seconds < 0.35
