"""The connections to a database: calls by any thread, and what happens while the server is away."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.engine.storage.postgres.address import WAIT_SECONDS, Address
from api_smoothing.engine.storage.postgres.errors import (
    at_once,
    in_our_words,
    passes,
    refused_entry,
    unreachable,
)
from api_smoothing.interrupts import interruptible, uninterrupted

if TYPE_CHECKING:
    import psycopg

#: Connections a process holds at most; they are opened as they are needed.
CONNECTIONS: Final = 8
_LONGEST_PAUSE: Final = 2.0  # seconds between two tries to reach it
_AGAIN: Final = 20  # calls that only met others, after which that is no accident any more

_log = logging.getLogger("api_smoothing")


class Server:
    """A database that threads call functions of. Each call is a transaction, and one message there and back.

    A call whose connection breaks is made again until it has an answer: those who call see to it that a second time
    changes nothing. While the server is away all calls wait, `wait` seconds from the first that failed at most; then
    StoreError is raised, and again by every call until the server is back. `calls` counts the messages.
    """

    def __init__(
        self, url: str, *, wait: float = WAIT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.address = Address(url)
        self._wait, self._clock = wait, clock
        self.calls = 0
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._idle: list[psycopg.Connection[Any]] = []
        self._away_since: float | None = None
        self._told_away = False

    def call(self, query: str, values: Sequence[Any] = (), *, patient: bool = True) -> list[tuple[Any, ...]]:
        """The rows of a query. A call that is not `patient` does not wait for a server that is away."""
        import psycopg

        self._mind_forks()
        pause, met, tries = 0.05, 0, 0
        while True:
            began, tries = self._clock(), tries + 1
            try:
                with uninterrupted, self._slots, interruptible():
                    found = self._called(query, values)
            except psycopg.Error as error:
                met += at_once(error)
                if not passes(error) or met > _AGAIN:
                    raise in_our_words(error, self.address) from None
                if at_once(error):
                    continue
                left = self._left(
                    error, began, tell=tries > 1
                )  # an idle connection may just have been closed
                if not patient or left <= 0:
                    raise unreachable(error, self.address, self._wait - left) from None
                time.sleep(min(pause, left))
                pause = min(_LONGEST_PAUSE, 2 * pause)
            else:
                self._back()
                return found

    def reach(self) -> None:
        """Connect once, without waiting. Raises ConfigurationError for settings that do not fit, else StoreError."""
        import psycopg

        try:
            with self._connection():
                pass
        except psycopg.Error as error:
            raise unreachable(error, self.address) from None

    def script(self, statements: Sequence[str]) -> None:
        """Do statements in one transaction, all or none."""
        import psycopg

        try:
            with self._connection() as connection, connection.transaction():
                for statement in statements:
                    connection.execute(statement.encode())
        except psycopg.Error as error:
            raise in_our_words(error, self.address) from None

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._pid == os.getpid():
            with self._lock:
                idle, self._idle = self._idle, []
            for connection in idle:
                connection.close()

    def _called(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            with self._lock:
                self.calls += 1
            cursor = connection.execute(query.encode(), values or None)  # without values % is itself
            return cursor.fetchall() if cursor.description is not None else []

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of one's own; it is kept for others unless it is broken."""
        import psycopg

        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connected()
        try:
            yield connection
        except psycopg.Error:
            raise
        except BaseException:  # interrupted, it may be amid a query
            connection.close()
            raise
        finally:
            if connection.broken or connection.closed:
                self.close()  # the others are of the same server
            else:
                with self._lock:
                    self._idle.append(connection)

    def _connected(self) -> psycopg.Connection[Any]:
        import psycopg

        try:  # prepared statements would not survive a pooler such as PgBouncer
            return psycopg.connect(**self.address.parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            if refusal := refused_entry(error, self.address):
                raise refusal from None
            raise

    def _left(self, error: psycopg.Error, began: float, *, tell: bool) -> float:
        """Seconds that the server may still be away; the log is told once."""
        with self._lock:
            if self._away_since is None:
                self._away_since = began
            left = self._away_since + self._wait - self._clock()
            tell = tell and not self._told_away and left > 0
            self._told_away = self._told_away or tell
        if tell:
            _log.warning(
                "%s; nothing more is sent meanwhile, waiting %.0f s at most",
                unreachable(error, self.address),
                left,
            )
        return left

    def _back(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            told, self._away_since, self._told_away = self._told_away, None, False
        if told:
            _log.warning("the database %s answers again", self.address.shown)

    def _mind_forks(self) -> None:
        if self._pid != os.getpid():  # a connection must not be used by two processes
            self._start_anew()
