"""Looks: which questions were asked of each stream's votes. They outlive the answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from api_smoothing.engine.storage.database import UNWRITTEN, Database
from api_smoothing.errors import ConfigurationError

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS looks (
    look INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, question TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (stream, question)
)
"""


class KeptLooks:
    """The `Looks` in a file, or in the memory of a Database. Each one waits for the disk."""

    def __init__(self, place: Path | Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = place if isinstance(place, Database) else looks_file(place)
        self._clock = clock

    def record(self, stream: str, question: str) -> tuple[str, ...]:
        def charge(db: sqlite3.Connection) -> tuple[str, ...]:
            db.execute(_CHARGE, (stream, question, self._clock()))
            return self.of(stream)

        try:
            return self._database.write(charge)
        except UNWRITTEN as error:  # before anything was asked: nothing is lost
            raise ConfigurationError(
                f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
            ) from None

    def of(self, stream: str) -> tuple[str, ...]:
        return tuple(question for (question,) in self._database.read(_OF, (stream,)))

    def close(self) -> None:
        self._database.close()


def looks_file(path: Path | None) -> Database:
    """The file of the looks; None for one in memory."""
    return Database(path, _SCHEMA, version=_VERSION)


_CHARGE: Final = "INSERT OR IGNORE INTO looks (stream, question, at) VALUES (?, ?, ?)"
_OF: Final = "SELECT question FROM looks WHERE stream = ? ORDER BY look"
