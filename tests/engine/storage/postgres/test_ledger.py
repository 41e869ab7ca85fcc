"""The ledger in a database: a call made again changes nothing, and what is locked is taken in one order."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace

import pytest
from postgres_server import PostgresServer

from api_smoothing.engine.storage.postgres import ledger
from api_smoothing.engine.storage.postgres.ledger import _RESERVE, ServerLedger
from api_smoothing.engine.storage.postgres.storage import connect
from api_smoothing.results import Budget


def test_a_reservation_made_again_is_the_same(postgres: PostgresServer, database: str) -> None:
    """A reply that was lost costs nothing: the entry is there, and stands as it is."""
    with closing(connect(postgres.url(database))) as server:
        account = ServerLedger(server, Budget(queries=10), run="r", provider="p", micro_usd=7)
        values = ("r", "p", "p", 7, 10, None, None, [5], ["s"], [8], [0], [])
        assert server.call(_RESERVE, values) == server.call(_RESERVE, values) == [([8],)]
        assert account.spent() == (8, 56)
        assert account.today() == 56


def test_what_is_given_back_twice_is_given_back_once(postgres: PostgresServer, database: str) -> None:
    """Also to its day."""
    with closing(connect(postgres.url(database))) as server:
        account = ServerLedger(server, Budget(queries=10), run="r", provider="p", micro_usd=7)
        kept, given = account.reserve("s", range(2)), account.reserve("s", range(3))
        for _ in range(2):
            account.settle(given, sent=False)
        account.settle(kept, sent=True)
        assert (account.spent(), account.today()) == ((2, 14), 14)
        account.close()
        states = server.call("SELECT queries, state FROM api_smooth.entries ORDER BY queries")
        assert states == [(2, "sent"), (3, "unsent")]


def test_what_is_left_is_asked_for_where_it_matters(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never without a limit, seldom while there is plenty, each time when there is little; ours is always taken off."""
    now = [7.0]
    monkeypatch.setattr(ledger, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with closing(connect(postgres.url(database))) as server:
        free, rich, poor = (
            ServerLedger(server, budget, run=f"r{k}", provider="p", micro_usd=7)
            for k, budget in enumerate([Budget(), Budget(queries=5000), Budget(queries=900)])
        )
        calls = server.calls
        assert [free.affordable() for _ in range(9)] == [None] * 9
        assert server.calls == calls
        for account, most, asked in ((rich, 5000, 1), (poor, 900, 20)):
            seen, calls = [], server.calls
            for _ in range(20):
                seen.append(account.affordable())
                account.reserve("s", range(10))
            assert seen == [most - 10 * k for k in range(20)]
            assert server.calls - calls - 20 == asked
        other = ServerLedger(server, Budget(queries=5000), run="r1", provider="p", micro_usd=7)
        other.reserve("s", range(50))
        assert rich.affordable() == 4800
        now[0] += 0.6
        assert rich.affordable() == 4750
