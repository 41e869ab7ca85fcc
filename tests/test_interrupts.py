"""Signals wait for the end of what must not be left half done, wherever they come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial

import pytest
from counting_service import CountingService, sender_of
from interrupting import ctrl_c, never_left_locked

from api_smoothing.engine.sending import Query
from api_smoothing.engine.sending.job import Job
from api_smoothing.engine.storage.database import Database
from api_smoothing.engine.storage.postgres.together import Together
from api_smoothing.interrupts import interruptible, uninterrupted

pytestmark = pytest.mark.usefixtures("as_from_a_terminal")


def interrupted(block: Callable[[list[str]], None]) -> list[str]:
    """What a block noted down that ended in KeyboardInterrupt."""
    noted: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        block(noted)
    return noted


def test_a_signal_waits_for_the_end_of_the_block_and_a_second_one_does_not() -> None:
    """Nested blocks are one."""

    def nested(noted: list[str]) -> None:
        with uninterrupted:
            with uninterrupted:
                ctrl_c()
                noted.append("inner")
            noted.append("outer")
        noted.append("after")

    def impatient(noted: list[str]) -> None:
        with uninterrupted:
            ctrl_c()
            noted.append("after the first")
            ctrl_c()
            noted.append("after the second")

    assert interrupted(nested) == ["inner", "outer"]
    assert interrupted(impatient) == ["after the first"]
    with uninterrupted:  # nothing is left over
        pass


def test_what_the_block_raises_is_the_context_of_the_interrupt() -> None:
    """Neither hides the other."""

    def block() -> None:
        with uninterrupted:
            ctrl_c()
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        block()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_wait_in_the_block_can_be_interrupted() -> None:
    """Unless a block around it must not be."""

    def waiting(noted: list[str]) -> None:
        with uninterrupted:
            try:
                with interruptible():
                    ctrl_c()
                    noted.append("waited on")
            finally:
                noted.append("tidied")

    def told_before(noted: list[str]) -> None:
        with uninterrupted:
            ctrl_c()
            with interruptible():
                noted.append("waited, though told to stop")

    def nested(noted: list[str]) -> None:
        with uninterrupted:
            with uninterrupted, interruptible():
                ctrl_c()
                noted.append("inner")
            noted.append("outer")

    assert interrupted(waiting) == ["tidied"]
    assert interrupted(told_before) == []
    assert interrupted(nested) == ["inner", "outer"]


def test_a_handler_of_the_user_gets_its_signal() -> None:
    """After the block, once, with its number; where nobody listens, nothing is installed."""
    got: list[int] = []
    before = [signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))]
    try:
        with uninterrupted:
            signal.raise_signal(signal.SIGTERM)
            assert not got
        assert got == [signal.SIGTERM]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with uninterrupted:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "a handler that was taken away came back"
    finally:
        signal.signal(signal.SIGTERM, before[0])


def test_other_threads_do_not_keep_signals_back() -> None:
    """They get none."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with uninterrupted:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()
    leave.set()
    thread.join()


@pytest.mark.parametrize("kind", ["write", "read", "note"])
def test_a_database_is_never_left_locked(kind: str) -> None:
    """Ctrl-C at any place of a call, and the other threads write on."""

    def make() -> tuple[Callable[[], object], Callable[[], object]]:
        database = Database(None, "CREATE TABLE IF NOT EXISTS t (x)", version=1)
        add = partial(database.write, lambda db: db.execute("INSERT INTO t VALUES (0)"))
        add()
        work: dict[str, Callable[[], object]] = {
            "write": add,
            "read": partial(database.read, "SELECT * FROM t"),
            "note": partial(database.note, lambda db: db.execute("INSERT INTO t VALUES (1)")),
        }
        return work[kind], add

    assert never_left_locked(make) > 10


def test_calls_made_together_are_never_left_waiting() -> None:
    """Ctrl-C at any place of the one that leads, and the next one leads."""

    def make() -> tuple[Callable[[], object], Callable[[], object]]:
        together = Together[int, int](lambda many: [2 * one for one in many], at_once=1)
        return partial(together, 1), partial(together, 2)

    assert never_left_locked(make) > 10


def test_the_end_of_a_stream_leaves_no_wait_locked() -> None:
    """Ctrl-C before any instruction, and the requests that wait for their turn hear of the next end."""

    def make() -> tuple[Callable[[], object], Callable[[], object]]:
        one = sender_of(CountingService())
        job = Job([Query(one.stream, 0)], [])
        one.sender._jobs.add(job)

        def wait() -> None:
            one.halt()
            assert job.stop.wait(60)

        return partial(one.sender.end, one.stream), wait

    assert never_left_locked(make) > 10
