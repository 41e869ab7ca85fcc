"""Storage in a PostgreSQL database: one budget, one quota and one set of answers for many machines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.base import Contents, VoteCache
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import unnamed
from api_smoothing.engine.storage.looks import KeptLooks, looks_file
from api_smoothing.engine.storage.postgres import schema
from api_smoothing.engine.storage.postgres.address import WAIT_SECONDS
from api_smoothing.engine.storage.postgres.answers import Heartbeat, ServerAnswers
from api_smoothing.engine.storage.postgres.ledger import ServerLedger
from api_smoothing.engine.storage.postgres.limiter import ServerLimiter
from api_smoothing.engine.storage.postgres.looks import ServerLooks
from api_smoothing.engine.storage.postgres.server import Server
from api_smoothing.engine.storage.seal import Seal
from api_smoothing.engine.storage.sealed_text import SealedText
from api_smoothing.engine.storage.whereabouts import in_background
from api_smoothing.errors import MissingExtraError
from api_smoothing.results import Budget
from api_smoothing.secret import Seed, fingerprint, resolve_seed

if TYPE_CHECKING:
    from api_smoothing.engine.storage.base import Looks

_PAGE: Final = 5_000  # answers that `repair` looks at together


class PostgresStorage:
    """The storage in the database at `url`, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?…` as libpq reads it.

    Its tables are made once by `api-smooth store init`. A server that goes away is waited for, `wait` seconds at most.
    `heartbeat` keeps claims alive; `steady` and `sleep` are the limiter's clock and wait. The time of day is the
    server's.

    Raises ConfigurationError where the URL, the rights or the version of the tables do not fit, StoreError (exit
    code 4) where the server does not answer, and MissingExtraError without psycopg; one line each, without a secret.
    """

    def __init__(
        self,
        url: str,
        *,
        wait: float = WAIT_SECONDS,
        heartbeat: Heartbeat = in_background,
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.server = connect(url, wait=wait)
        self._opener = partial(PostgresStorage, url, wait=wait)
        schema.check(self.server)
        self._heartbeat, self._steady, self._sleep = heartbeat, steady, sleep
        self._text = SealedText(Seal(self._secret("seal")))

    def answers(self, *, paid: bool, keep: bool = True) -> VoteCache:
        if not keep:
            from api_smoothing.engine.storage.answers import MemoryCache

            return MemoryCache()
        return ServerAnswers(
            self.server, self._text, _place_of(self.server), heartbeat=self._heartbeat, clock=self._steady
        )

    def budget(
        self, budget: Budget, *, run: str | None, provider: str, micro_usd: int, account: str = ""
    ) -> BudgetAccount:
        if run is None and not micro_usd:
            return InMemoryBudget(budget, micro_usd=micro_usd)
        return ServerLedger(
            self.server,
            budget,
            run=run or unnamed(),
            provider=provider,
            micro_usd=micro_usd,
            account=account,
        )

    def limiter(self, key: str, quotas: Sequence[Quota]) -> ServerLimiter | None:
        if not quotas:
            return None
        return ServerLimiter(
            self.server,
            key=key,
            quotas=quotas,
            clock=self._steady,
            sleep=self._sleep,
        )

    def looks(self, *, keep: bool = True) -> Looks:
        return ServerLooks(self.server) if keep else KeptLooks(looks_file(None))

    def seed(self, value: int | None) -> Seed:
        if value is not None:
            return resolve_seed(value)
        key = self._secret("seed")
        return Seed(key=key, label=f"secret:{fingerprint(key)}")

    def contents(self) -> Contents:
        [(answers, streams, size)] = self.server.call(_CONTENTS)
        return Contents(answers=answers, streams=streams, size_bytes=size)

    def clear(self) -> int:
        [(removed,)] = self.server.call(_CLEAR)
        return int(removed)

    def repair(self) -> tuple[int, list[Path]]:
        """Forget answers that are not as they were kept; returns how many, and no files."""
        spoilt, last = list[tuple[str, int]](), ("", -1)
        while rows := self.server.call(_PAGE_OF, (*last, _PAGE)):
            for stream, index, text in rows:
                try:
                    self._text.read(stream, index, text)
                except (TypeError, ValueError):
                    spoilt.append((stream, index))
            last = (rows[-1][0], rows[-1][1])
        if spoilt:
            streams, indices = (list(column) for column in zip(*spoilt, strict=True))
            self.server.call(_FORGET, (streams, indices))
        return len(spoilt), []

    @property
    def keeps(self) -> bool:
        """Answers are kept for whoever reaches the database."""
        return True

    def opener(self) -> Callable[[], PostgresStorage]:
        """Opens the same for another process, of whatever machine."""
        return self._opener

    def place(self) -> tuple[object, ...]:
        """Nothing: the database is the same wherever it is reached from."""
        return ()

    def close(self) -> None:
        self.server.close()

    def _secret(self, name: str) -> bytes:
        [(key,)] = self.server.call("SELECT key FROM api_smooth.secrets WHERE name = %s", (name,))
        return bytes(key)


def connect(url: str, *, wait: float = WAIT_SECONDS) -> Server:
    """The server at `url`, reached once. Raises as `PostgresStorage`."""
    try:
        import psycopg
    except ImportError:
        raise MissingExtraError(
            "a store in PostgreSQL needs psycopg; run: pip install 'api-smooth[postgres]'"
        ) from None
    del psycopg
    server = Server(url, wait=wait)
    server.reach()
    return server


def _place_of(server: Server) -> Path:
    """Names the database on this machine, whoever asks as which user."""
    where = [str(server.address.parameters.get(name, "")) for name in ("host", "hostaddr", "port", "dbname")]
    return Path("/postgresql") / hashlib.sha256(repr(where).encode()).hexdigest()


_CONTENTS: Final = """
SELECT (SELECT count(*) FROM api_smooth.answers),
    (SELECT count(*) FROM api_smooth.facts WHERE stream NOT LIKE '%/%'),
    (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_catalog.pg_class c
     WHERE relnamespace = 'api_smooth'::regnamespace AND relname IN ('answers', 'failures', 'facts'))
"""
_CLEAR: Final = """
WITH a AS (DELETE FROM api_smooth.answers RETURNING 1), f AS (DELETE FROM api_smooth.failures RETURNING 1),
    m AS (DELETE FROM api_smooth.facts RETURNING 1)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM f) + (SELECT count(*) FROM m)
"""
_PAGE_OF: Final = """
SELECT stream, query, answer FROM api_smooth.answers WHERE (stream, query) > (%s, %s) ORDER BY stream, query LIMIT %s
"""
_FORGET: Final = """
DELETE FROM api_smooth.answers a USING unnest(%s::text[], %s::bigint[]) AS w (stream, query)
WHERE a.stream = w.stream AND a.query = w.query
"""
