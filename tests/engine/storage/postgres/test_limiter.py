"""Turns from a database: the arithmetic of flow.py and pace.py, and what one process makes of them."""

from __future__ import annotations

import random
import threading
import time
from array import array
from contextlib import closing

import pytest
from postgres_fixtures import DatabaseClock
from postgres_server import PostgresServer

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.flow import Flow, Lane
from api_smoothing.engine.storage.pace import Pace, at_pace, slowed
from api_smoothing.engine.storage.postgres.limiter import _TURNS, AHEAD, ServerLimiter
from api_smoothing.engine.storage.postgres.storage import connect


@pytest.mark.parametrize("seed", range(4))
def test_turns_are_those_of_flow(postgres: PostgresServer, database: str, seed: int) -> None:
    """Requests of all sizes under two quotas come when `Flow` says, to the microsecond."""
    draw = random.Random(seed)
    quotas = [
        Quota(unit="image", count=draw.choice([1, 7, 60]), seconds=1.0),
        Quota(unit="request", count=5, seconds=0.7),
    ]
    flow = Flow({q.unit: Lane(q, array("d")) for q in quotas})
    given = ("a", [q.unit for q in quotas], [q.count for q in quotas], [q.seconds for q in quotas])
    with (
        closing(connect(postgres.url(database))) as server,
        closing(DatabaseClock(postgres, database)) as clock,
    ):
        for _ in range(60):
            clock.sleep(draw.choice([0.0, 0.01, 0.3, 2.0]))
            images = [draw.choice([1, 3, 20]) for _ in range(draw.randint(1, 4))]
            [(now, taken, turns)] = server.call(_TURNS, (*given, images, 0.0, AHEAD, 0, [], []))
            assert now == clock.now
            ahead = flow.copy()
            expected = []
            for count in images:
                expected.append(ahead.next(count, now))
                ahead.take(count, expected[-1])
            assert turns == pytest.approx(expected, abs=1e-6)
            within = [at <= now + AHEAD for at in expected]
            assert taken == (within.index(False) if False in within else len(within))
            for count, at in zip(images[:taken], turns, strict=False):
                flow.take(count, at)


def test_throttles_slow_as_pace_says(postgres: PostgresServer, database: str) -> None:
    """The rate after throttles and answers, and what is left of a quota, are those of pace.py."""
    quota, pace = Quota(unit="image", count=100), None
    draw = random.Random(0)
    with (
        closing(connect(postgres.url(database))) as server,
        closing(DatabaseClock(postgres, database)) as clock,
        closing(ServerLimiter(server, key="a", quotas=[quota], clock=clock, sleep=clock.sleep)) as limiter,
    ):
        for _ in range(8):
            clock.sleep(30)
            limiter.throttled(1.0)
            pace = slowed(pace, quota)
            answered = draw.choice([3, 40, 900])
            limiter.answered(answered)
            limiter.wait(1)
            pace = Pace(ceiling=pace.ceiling, cut=pace.cut, answered=answered)
            [found] = server.call(
                "SELECT ceiling, cut, answered, api_smooth.rate(ceiling, cut, answered) FROM api_smooth.paces"
            )
            assert found == pytest.approx((pace.ceiling, pace.cut, answered, pace.rate))
            clock.sleep(30)
            limiter.wait(1)
            began = clock.now
            limiter.wait(1)
            lowered = at_pace(quota, pace)
            assert clock.now - began == pytest.approx(
                Lane(lowered).window / lowered.count / (1 if lowered.count == 1 else 2), abs=0.003
            )


def test_a_turn_is_when_a_request_leaves(postgres: PostgresServer, database: str) -> None:
    """`wait` returns when the turn comes; a request that left late all the same counts once more."""
    quota = Quota(unit="image", count=10)
    with (
        closing(connect(postgres.url(database))) as server,
        closing(DatabaseClock(postgres, database)) as clock,
    ):
        limiter = ServerLimiter(server, key="a", quotas=[quota], clock=clock, sleep=clock.sleep)

        def taken() -> list[float]:
            [(past,)] = server.call("SELECT past FROM api_smooth.quotas")
            return list(past)

        for count in (1, 2, 3):
            limiter.wait(1)
            assert taken()[-1] == pytest.approx(clock.now, abs=0.005)
            assert len(taken()) == count
        limiter.spare(1)  # the first of all, which had connections to make
        assert len(taken()) == 4


def test_a_line_is_asked_for_together(postgres: PostgresServer, database: str) -> None:
    """Many threads of one process take their turns with far fewer calls than turns."""
    quota, times, lock = Quota(unit="image", count=320, seconds=8.0), list[float](), threading.Lock()
    with closing(connect(postgres.url(database))) as server:
        limiter = ServerLimiter(server, key="a", quotas=[quota])

        def work() -> None:
            for _ in range(10):
                limiter.wait(1)
                with lock:
                    times.append(time.monotonic())

        before, threads = server.calls, [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [(past,)] = server.call("SELECT past FROM api_smooth.quotas")
    assert len(times) == 120
    times.sort()
    assert times[-1] - times[0] > 119 * 8.0 / 320 / 2
    assert len(past) >= 120
    assert server.calls - before < 60


def test_a_stop_before_it_leaves_gives_a_turn_back(postgres: PostgresServer, database: str) -> None:
    """A turn that was given ahead to a request which is stopped before it leaves is nobody's, and is returned."""
    quota, stop = Quota(unit="image", count=10), threading.Event()
    with (
        closing(connect(postgres.url(database))) as server,
        closing(DatabaseClock(postgres, database)) as clock,
    ):
        limiter = ServerLimiter(
            server, key="a", quotas=[quota], clock=clock, sleep=lambda seconds: stop.set()
        )
        limiter.wait(1)
        limiter.wait(1, stop)
        assert stop.is_set()
        assert server.call("SELECT cardinality(past) FROM api_smooth.quotas") == [(1,)]
