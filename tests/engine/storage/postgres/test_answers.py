"""Answers in a database: claims made again, a server that was down, answers it did not take, and edited ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from postgres_fixtures import DatabaseClock
from postgres_server import PostgresServer

from api_smoothing.engine.storage.postgres.answers import _CLAIM
from api_smoothing.engine.storage.postgres.errors import StoreError
from api_smoothing.engine.storage.postgres.storage import PostgresStorage
from api_smoothing.engine.storage.suite import Heartbeat, named
from api_smoothing.engine.storage.whereabouts import LAPSE_SECONDS
from api_smoothing.errors import ConfigurationError


@pytest.fixture
def storage(postgres: PostgresServer, database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres.url(database), wait=0.0)) as opened:
        yield opened


def test_a_claim_made_again_is_granted_again(storage: PostgresStorage) -> None:
    """A reply that was lost leaves no query that nobody asks; another call, of the same holder too, finds it busy."""
    values = (["s", "s"], [1, 2], ["t", "t"], "me", LAPSE_SECONDS, True)
    first = storage.server.call(_CLAIM, values)
    assert sorted(first) == [(1, "granted", None), (2, "granted", None)]
    assert sorted(storage.server.call(_CLAIM, values)) == sorted(first)
    other = (["s"], [1], ["u"], "me", LAPSE_SECONDS, False)
    assert storage.server.call(_CLAIM, other) == [(1, "busy", None)]


def test_a_server_that_was_down_gives_nobody_up_at_once(postgres: PostgresServer, database: str) -> None:
    """Nobody's heart was heard meanwhile: answers that were paid before it went are still to come."""
    with closing(DatabaseClock(postgres, database)) as clock:
        url, heart = postgres.url(database), Heartbeat()
        with (
            closing(PostgresStorage(url, heartbeat=heart, steady=clock)) as one,
            closing(PostgresStorage(url)) as two,
        ):
            theirs, ours = one.answers(paid=True), two.answers(paid=True)
            theirs.claim("s", [0])
            clock.sleep(10 * LAPSE_SECONDS)  # away
            postgres.sql(
                "CREATE OR REPLACE FUNCTION api_smooth.heard_since() RETURNS double precision LANGUAGE sql VOLATILE "
                f"AS 'SELECT {clock.now!r}::double precision'",
                database=database,
            )
            assert ours.claim("s", [0]).busy == (0,)
            clock.sleep(LAPSE_SECONDS + 1)
            assert ours.claim("s", [0]).granted == (0,)


def test_answers_a_full_disk_refuses_are_kept_here_and_taken_over(
    storage: PostgresStorage,
    postgres: PostgresServer,
    database: str,
    tmp_path: Path,
) -> None:
    """The error is one line and says where they are; the next to open the database brings them in."""
    cache = storage.answers(paid=True)
    cache.claim("s", [0])
    full = (
        "BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END"
    )
    postgres.sql(
        f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS '{full.replace(chr(39), 2 * chr(39))}'",
        "CREATE TRIGGER full_disk BEFORE INSERT ON api_smooth.answers EXECUTE FUNCTION full_disk()",
        database=database,
    )
    with pytest.raises(StoreError, match=r"No space left.*are kept in") as caught:
        cache.write("s", {0: named("paid")})
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    postgres.sql("DROP TRIGGER full_disk ON api_smooth.answers", database=database)
    assert storage.answers(paid=True).read("s", [0]) == {0: named("paid")}
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_an_edited_answer_is_refused_and_forgotten_by_repair(
    storage: PostgresStorage, postgres: PostgresServer, database: str
) -> None:
    """What somebody writes into the table is never a vote."""
    cache = storage.answers(paid=True)
    cache.write("s", {0: named("cat"), 1: named("cat")})
    postgres.sql(
        "UPDATE api_smooth.answers SET answer = replace(answer, 'cat', 'dog') WHERE query = 0",
        database=database,
    )
    for read in (lambda: cache.read("s", [0]), lambda: cache.claim("s", [0])):
        with pytest.raises(ConfigurationError, match="changed"):
            read()
    assert storage.repair() == (1, [])
    assert cache.read("s", range(2)) == {1: named("cat")}
