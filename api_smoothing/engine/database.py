"""SQLite files that several threads and processes write to: the ledger and the rate limiter."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from api_smoothing.errors import ConfigurationError

_BUSY_SECONDS: Final = 60.0


class Database:
    """One file, one connection a thread. `write` is a transaction that no other writer can interleave.

    `durable` waits for the disk at every commit. Without it a commit survives the death of the process but not a
    loss of power. The file is readable by its owner only.
    """

    def __init__(self, path: Path, schema: str, *, durable: bool) -> None:
        self._path, self._durable = path, durable
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._pid = os.getpid()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            with self.write() as db:
                for statement in schema.split(";"):
                    db.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot open {path}: {error}; set API_SMOOTH_HOME to a folder you can write to"
            ) from None

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; rolled back when the block raises."""
        db = self._connection()
        with self._turn:  # threads queue here; between processes SQLite polls, which is slower
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def read(self) -> sqlite3.Connection:
        """The thread's own connection, for queries that change nothing."""
        return self._connection()

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # SQLite connections must not cross a fork
            self._local, self._open, self._pid = threading.local(), [], os.getpid()
            self._lock, self._turn = threading.Lock(), threading.Lock()
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            found.execute("PRAGMA journal_mode=WAL")
            level: Literal["FULL", "NORMAL"] = "FULL" if self._durable else "NORMAL"
            found.execute(f"PRAGMA synchronous={level}")
            self._local.connection = found
            with self._lock:
                self._open.append(found)
        return found
