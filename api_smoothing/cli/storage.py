"""Where the settings say that answers and budgets are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from api_smoothing.cli.settings import Settings
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from api_smoothing.engine.storage import Storage


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """The database, or the folder, of these settings."""
    from api_smoothing.engine import parts
    from api_smoothing.engine.storage import open_database

    if settings.store is None:
        storage = parts.storage(None, settings.cache)
    elif settings.cache is not True:
        raise ConfigurationError(
            "--cache is about a folder of answers; with --store they are in the database"
        )
    else:
        storage = open_database(settings.store, wait=settings.store_wait)
    with closing(storage):
        yield storage
