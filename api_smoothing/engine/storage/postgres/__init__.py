"""Storage in PostgreSQL, for many machines; see `storage`. psycopg is imported when a database is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api_smoothing.engine.storage.postgres.address import is_address, masked

if TYPE_CHECKING:
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

__all__ = ["WAIT_SECONDS", "is_address", "masked", "open_database"]

#: Seconds that a run waits for a database that has gone away, unless told otherwise.
WAIT_SECONDS: Final = 60.0


def open_database(url: str, *, wait: float = WAIT_SECONDS) -> PostgresStorage:
    """The storage in the database at `url`. Raises as `PostgresStorage`."""
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

    return PostgresStorage(url, wait=wait)
