"""How a database is opened: psycopg, and what needs it, is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_smoothing.engine.storage.postgres.address import WAIT_SECONDS

if TYPE_CHECKING:
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage


def open_database(url: str, *, wait: float = WAIT_SECONDS) -> PostgresStorage:
    """The storage in the database at `url`. Raises as `PostgresStorage`."""
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

    return PostgresStorage(url, wait=wait)
