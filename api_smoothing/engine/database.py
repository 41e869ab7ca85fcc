"""SQLite files that several threads and processes write to: the ledger and the rate limiter."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from api_smoothing.errors import ConfigurationError

_BUSY_SECONDS: Final = 60.0


class Database:
    """One file and one connection, which threads take in turn. `write` is a transaction that nobody interleaves.

    `durable` waits for the disk at every commit. Without it a commit survives the death of the process but not a
    loss of power. The file is readable by its owner only. `version` is that of `schema`; a file of another one is
    refused. Raises ConfigurationError, one line.
    """

    def __init__(self, path: Path, schema: str, *, version: int, durable: bool) -> None:
        self._path, self._durable = path, durable
        self._connection: sqlite3.Connection | None = None
        self._turn, self._pid = threading.RLock(), os.getpid()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            with self.write() as db:
                (found,) = db.execute("PRAGMA user_version").fetchone()
                tables = db.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
                if found != version and (found or tables):
                    raise sqlite3.DatabaseError("it was written by another version of api-smooth")
                for statement in schema.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version}")
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot open {path}: {error}; move it away, or set API_SMOOTH_HOME to a folder you can write to"
            ) from None

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; rolled back when the block raises."""
        with self._taken() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query that changes nothing."""
        with self._taken() as db:
            return db.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _taken(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():  # neither SQLite's connections nor locks survive a fork
            self._connection, self._turn, self._pid = None, threading.RLock(), os.getpid()
        with self._turn:
            if self._connection is None:
                opened = sqlite3.connect(
                    self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                _write_ahead(opened)
                opened.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
                self._connection = opened
            yield self._connection


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait for others here, as it does everywhere else."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
