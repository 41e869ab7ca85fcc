"""A server that goes away, comes back, or never lets anybody in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from at_image import AtImage
from postgres_server import PostgresServer, missing, server

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.engine.storage.postgres import schema
from api_smoothing.engine.storage.postgres.errors import StoreError
from api_smoothing.engine.storage.postgres.storage import PostgresStorage, connect
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgresServer]:
    """A server of this module's own, which is stopped and started."""
    if why := missing():
        pytest.skip(f"no PostgreSQL: {why}")
    with server() as running:
        there = connect(running.url())
        schema.create(there)
        there.close()
        yield running


def test_calls_wait_for_a_server_that_comes_back(fragile: PostgresServer) -> None:
    """All threads' calls go on where they were, and what was committed is there."""
    storage = PostgresStorage(fragile.url(), wait=30.0)
    account = storage.budget(Budget(queries=1000), run="back", provider="p", micro_usd=1)
    account.reserve("s", range(5))
    fragile.stop()
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(account.reserve, "s", range(2)) for _ in range(6)]
        time.sleep(0.5)
        assert not any(one.done() for one in waiting)
        fragile.start()
        assert sum(len(one.result(30).granted) for one in waiting) == 12
    assert account.spent() == (17, 17)
    storage.close()


def test_a_connection_that_was_interrupted_amid_a_query_is_not_used_again(fragile: PostgresServer) -> None:
    """The next call would be told that another command is in progress."""
    there = connect(fragile.url())

    def interrupted() -> None:
        with there._connection() as connection:
            connection.pgconn.send_query(b"SELECT pg_sleep(100)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    began = time.monotonic()
    assert there.call("SELECT 1") == [(1,)]
    assert time.monotonic() - began < 60
    there.close()


def test_after_the_wait_a_call_fails_in_one_line_and_the_next_at_once(
    fragile: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the server is back, when everything goes on."""
    storage = PostgresStorage(fragile.url(), wait=1.0)
    fragile.stop()
    try:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"does not answer for \d+ s") as caught:
            storage.looks().of("s")
        assert time.monotonic() - began > 0.9
        assert caught.value.exit_code == 4
        assert "\n" not in str(caught.value)
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits once more"))
            with pytest.raises(StoreError):
                storage.looks().of("s")
    finally:
        fragile.start()
    assert storage.looks().of("s") == ()
    storage.close()


@pytest.mark.parametrize("patience", [30.0, 0.5])
def test_nothing_is_sent_while_the_database_is_away(fragile: PostgresServer, patience: float) -> None:
    """What is under way comes in; the rest waits, or ends the run, and a rerun asks for what is missing, once."""
    image = np.full((32, 32, 3), 90 + int(patience), np.uint8)
    brain, reached, go_on = scripted_brain({"cat": 0.7, "dog": 0.3}), threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert go_on.wait(100)

    with Sandbox("http", classifier=AtImage(brain, 30, hold)) as sandbox:

        def ask() -> int:
            store = PostgresStorage(fragile.url(), wait=patience)
            try:
                with SmoothedAPI(
                    "http", denoiser=None, labels="cifar10", seed=3, rate=10_000, concurrency=2, store=store,
                    budget=Budget(queries=1000, run=f"away {patience}"), **sandbox.options(),
                ) as api:  # fmt: skip
                    return api.predict(image, n=120).n
            finally:
                store.close()

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ask)
            assert reached.wait(100)
            fragile.stop()
            go_on.set()
            if patience > 1:
                time.sleep(1.4)  # in which it would go on, if it did
            else:
                with pytest.raises(StoreError, match="does not answer"):
                    running.result(100)
            assert 30 <= sandbox.meter.images < 30 + 2 * 16, "two requests were under way"
            fragile.start()
            assert (running.result(100) if patience > 1 else ask()) == 120
        assert sandbox.meter.images == 120


def test_a_wrong_password_is_a_setting(fragile: PostgresServer) -> None:
    """One line, without the password, and no waiting."""
    fragile.sql("CREATE ROLE locked LOGIN PASSWORD 'right'", "SET password_encryption = 'scram-sha-256'")
    rules = fragile.folder / "data" / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    fragile.sql("SELECT pg_reload_conf()")
    for password in ("wrong-one", ""):
        url = f"postgresql://locked:{password}@127.0.0.1:{fragile.port}/postgres"
        until = time.monotonic() + 10
        while True:  # until the new rules are in force
            try:
                with pytest.raises(ConfigurationError, match="the password is wrong or missing") as caught:
                    connect(url).close()
                break
            except BaseException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        assert caught.value.exit_code == 2
        assert "wrong-one" not in str(caught.value)


def test_a_fork_has_connections_of_its_own(fragile: PostgresServer) -> None:
    """Parent and child call at the same time, and each gets its own replies."""
    import os

    there = connect(fragile.url())
    there.call("SELECT 1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str([there.call("SELECT 7") for _ in range(50)] == [[(7,)]] * 50).encode())
        os._exit(0)
    assert [there.call("SELECT 8") for _ in range(50)] == [[(8,)]] * 50
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"True"
    there.close()


def test_threads_hold_a_few_connections(fragile: PostgresServer) -> None:
    """However many threads call, a process has no more than eight."""
    there = connect(fragile.url())
    barrier = threading.Barrier(24)

    def work(_: int) -> None:
        barrier.wait()
        there.call("SELECT pg_sleep(0.05)")

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(24)))
    [(connections,)] = there.call(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'api-smooth'"
    )
    assert connections <= 8
    there.close()
