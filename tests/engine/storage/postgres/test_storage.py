"""Storage in PostgreSQL: the laws of every storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from postgres_server import PostgresServer

from api_smoothing.engine.storage.base import Storage
from api_smoothing.engine.storage.postgres.storage import PostgresStorage
from api_smoothing.engine.storage.suite import Clock, Heartbeat, StorageSuite


class DatabaseClock(Clock):
    """The clock of a database, set by hand: its functions read what is kept in a table."""

    def __init__(self, postgres: PostgresServer, database: str) -> None:
        self._hands = psycopg.connect(postgres.url(database), autocommit=True)
        for statement in (
            "CREATE TABLE hands (now double precision)",
            "INSERT INTO hands VALUES (1800000000)",
            "CREATE OR REPLACE FUNCTION api_smooth.clock() RETURNS double precision LANGUAGE sql VOLATILE "
            "AS 'SELECT now FROM public.hands'",
            "CREATE OR REPLACE FUNCTION api_smooth.heard_since() RETURNS double precision LANGUAGE sql VOLATILE "
            "AS 'SELECT 0::double precision'",
        ):
            self._hands.execute(statement)
        super().__init__()

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, value: float) -> None:
        self._now = value
        self._hands.execute("UPDATE hands SET now = %s", (value,))

    def close(self) -> None:
        self._hands.close()


class TestPostgres(StorageSuite):
    build = """
from api_smoothing.engine.storage.postgres.storage import PostgresStorage
storage = PostgresStorage(place)
"""

    @pytest.fixture
    def place(self, postgres: PostgresServer, database: str) -> str:
        return postgres.url(database)

    @pytest.fixture
    def clock(self, postgres: PostgresServer, database: str) -> Iterator[Clock]:
        with closing(DatabaseClock(postgres, database)) as hands:
            yield hands

    @pytest.fixture
    def opened(self, place: str, clock: Clock, heartbeat: Heartbeat) -> Callable[..., PostgresStorage]:
        def once_more(*, elsewhere: bool = False) -> PostgresStorage:
            return PostgresStorage(place, heartbeat=heartbeat, steady=clock, sleep=clock.sleep)

        return once_more


def test_it_is_a_storage(postgres: PostgresServer, database: str) -> None:
    """What claims the interface has all of it."""
    assert isinstance(PostgresStorage(postgres.url(database)), Storage)
