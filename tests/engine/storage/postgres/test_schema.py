"""The tables: made once, of one version, and what a role needs to run with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer

from api_smoothing.engine.storage.postgres import schema
from api_smoothing.engine.storage.postgres.storage import PostgresStorage, connect
from api_smoothing.engine.storage.suite import named
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Budget


@pytest.fixture
def role(postgres: PostgresServer, database: str) -> Iterator[str]:
    """A role that owns nothing."""
    postgres.sql("CREATE ROLE runner LOGIN", f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC")
    yield "runner"
    postgres.sql("DROP OWNED BY runner", database=database)
    postgres.sql("DROP ROLE runner")


def test_a_granted_role_runs_and_creates_nothing(postgres: PostgresServer, database: str, role: str) -> None:
    """All that a run does it may do; tables, versions and secrets are not its to change."""
    owner = connect(postgres.url(database))
    assert schema.create(owner, grant=role) is False
    storage = PostgresStorage(postgres.url(database, role))
    cache, looks = storage.answers(paid=True), storage.looks()
    account = storage.budget(Budget(queries=3, usd_per_day=1), run="r", provider="p", micro_usd=1)
    cache.claim("s", [0, 1])
    account.settle(account.reserve("s", [0]), sent=False)
    cache.write("s", {0: named("cat")})
    cache.fail("s", {1: "refused"})
    cache.describe("s/drift", {"answers": 3})
    looks.record("s", "n=1")
    cache.close()
    assert storage.clear() > 0
    for statement in (
        "CREATE TABLE api_smooth.mine (x integer)",
        "UPDATE api_smooth.version SET version = 9",
        "UPDATE api_smooth.secrets SET key = 'known'",
        "DELETE FROM api_smooth.looks",
    ):
        with pytest.raises(ConfigurationError, match="too few rights"):
            storage.server.call(statement)
    storage.close()
    owner.close()


def test_a_role_that_may_only_read_is_refused(postgres: PostgresServer, database: str, role: str) -> None:
    """Before anything is asked, in one line that says who can help."""
    postgres.sql(
        "GRANT USAGE ON SCHEMA api_smooth TO runner",
        "GRANT SELECT ON ALL TABLES IN SCHEMA api_smooth TO runner",
        database=database,
    )
    with pytest.raises(ConfigurationError, match=r"may not write to answers.*--grant"):
        PostgresStorage(postgres.url(database, role))
    with pytest.raises(ConfigurationError, match="store init"):
        schema.create(connect(postgres.url("template1", role)))


@pytest.mark.parametrize(("version", "word"), [(0, "store init"), (99, "update api-smooth")])
def test_another_version_is_refused(postgres: PostgresServer, database: str, version: int, word: str) -> None:
    """An older one is for its owner to bring up, a newer one for this machine; neither is touched."""
    postgres.sql(f"UPDATE api_smooth.version SET version = {version}", database=database)
    with pytest.raises(ConfigurationError, match=word):
        PostgresStorage(postgres.url(database))


def test_an_empty_database_is_refused_and_made_whole_or_not_at_all(
    postgres: PostgresServer, database: str
) -> None:
    """Nothing is created on the way; what fails in the middle leaves nothing."""
    postgres.sql("DROP SCHEMA api_smooth CASCADE", database=database)
    with pytest.raises(ConfigurationError, match="store init"):
        PostgresStorage(postgres.url(database))
    server = connect(postgres.url(database))
    with pytest.raises(ConfigurationError):
        schema.create(server, grant="nobody-of-this-name")
    assert schema.version(server) is None
    assert schema.create(server) is True
    assert schema.version(server) == schema.VERSION
    server.close()
