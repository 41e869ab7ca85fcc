"""Storage in PostgreSQL: the laws of every storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from postgres_fixtures import DatabaseClock
from postgres_server import PostgresServer

from api_smoothing.engine.storage.base import Storage
from api_smoothing.engine.storage.postgres.storage import PostgresStorage
from api_smoothing.engine.storage.suite import Clock, Heartbeat, StorageSuite


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
