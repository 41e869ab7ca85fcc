"""A server of the session's own, and a database of each test's own in it: to be imported by a conftest or a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer, missing, server

from api_smoothing.engine.storage.postgres import schema
from api_smoothing.engine.storage.postgres.storage import connect

_NUMBERS = itertools.count()


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
