"""A server of the session's own, a database of each test's own in it, and its clock: for a conftest or a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from postgres_server import PostgresServer, missing, server

from api_smoothing.engine.storage.postgres import schema
from api_smoothing.engine.storage.postgres.storage import connect
from api_smoothing.engine.storage.suite import Clock

_NUMBERS = itertools.count()


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server without fsync; skips where none can be started."""
    if why := missing():
        pytest.skip(f"no PostgreSQL: {why}")
    with server(fsync="off") as running:
        running.sql("CREATE DATABASE made")
        made = connect(running.url("made"))
        schema.create(made)
        made.close()
        yield running


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database with the schema."""
    name = f"test{next(_NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE made")
    yield name
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
