"""Storage in PostgreSQL, for many machines; see `storage`. psycopg is imported when a database is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_smoothing.engine.storage.postgres.address import WAIT_SECONDS, is_address, masked

if TYPE_CHECKING:
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

__all__ = ["WAIT_SECONDS", "is_address", "masked", "open_database"]


def open_database(url: str, *, wait: float = WAIT_SECONDS) -> PostgresStorage:
    """The storage in the database at `url`. Raises as `PostgresStorage`."""
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

    return PostgresStorage(url, wait=wait)
