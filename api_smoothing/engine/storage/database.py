"""SQLite files that several threads and processes write to: the ledger, the paid answers, the rate limiter."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from api_smoothing.errors import ConfigurationError, DiskError
from api_smoothing.interrupts import uninterrupted
from api_smoothing.private import private_folder, refuse_shared_file

T = TypeVar("T")

_BUSY_SECONDS: Final = 60.0
#: What a write raises where the disk does not take it.
UNWRITTEN: Final = (sqlite3.Error, DiskError)
_UNWRITABLE: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Write:
    """What a thread wants written, and what came of it."""

    work: Callable[[sqlite3.Connection], Any]
    durable: bool
    leads: bool = False  # its thread writes for all that wait
    done: bool = False
    result: Any = None
    error: Exception | None = None
    wake: threading.Lock = field(default_factory=_locked)  # released, once, when it leads or is done


class Database:
    """One file and one connection, which threads take in turn; with None for a path, in memory.

    A signal that comes amid a call waits for its end: the others wait for the connection.

    The file is readable by its owner only. `version` is that of `schema`; a file of another one is refused, but for
    those in `extends`, to which this schema only adds. Raises ConfigurationError, one line.
    """

    def __init__(
        self, path: Path | None, schema: str, *, version: int, extends: Collection[int] = ()
    ) -> None:
        self._path = path
        self._start_anew()

        def create(db: sqlite3.Connection) -> None:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            tables = db.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
            if found != version and found not in extends and (found or tables):
                raise sqlite3.DatabaseError("it was written by another version of api-smooth")
            for statement in schema.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")

        self._create = create
        if path is None:
            return
        try:
            private_folder(path.parent)
            private_database(path, create)
            self.write(create)
        except (OSError, *UNWRITTEN) as error:
            if is_damage(error):
                raise damaged(path, str(error)) from None
            if isinstance(error, DiskError):
                raise DiskError(f"{path}: {error}") from None
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise DiskError(f"cannot open {path}: {error.strerror}; free some space") from None
            raise ConfigurationError(
                f"cannot open {path}: {error}; move it away, or set API_SMOOTH_HOME to a folder you can write to"
            ) from None

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._turn, self._lock = threading.RLock(), threading.Lock()  # for the connection; for what follows
        self._connection: sqlite3.Connection | None = None
        self._waits: bool | None = None  # whether the connection waits for the disk
        self._queue: list[_Write] = []
        self._led = False  # whether some thread is writing
        self._notes: list[Callable[[sqlite3.Connection], object]] = []

    def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """What `work` returns. What it wrote is in the file when this returns, and none of it when this raises.

        It runs in a transaction that nobody interleaves, after the works that other threads have waiting: one of
        them writes for all, and the disk is waited for once. When another one fails, it runs a second time.
        Without `durable`, what was written survives the death of the process but not a loss of power.
        """
        with uninterrupted:
            self._mind_forks()
            mine, batch = _Write(work, durable), list[_Write]()
            with self._lock:
                self._queue.append(mine)
                mine.leads, self._led = not self._led, True
            try:
                if not mine.leads:
                    mine.wake.acquire()
                if mine.leads:
                    with self._lock:
                        batch, self._queue = self._queue, []
                    self._commit(batch)
            finally:
                if mine.leads or not mine.done:
                    self._pass_on(mine, batch)
        if mine.error is not None:
            raise _as_told(mine.error)
        return mine.result  # type: ignore[no-any-return]

    def note(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Have `work` done with the next write, or on `close`: for what may be lost when the process dies."""
        with uninterrupted:
            self._mind_forks()
            with self._lock:
                self._notes.append(work)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query that changes nothing, also in the middle of a write."""
        with uninterrupted, self._taken() as db:
            return db.execute(query, values).fetchall()

    def shrink(self) -> None:
        """Give the disk back what was deleted, unless somebody else is at the file."""
        with uninterrupted, self._taken() as db, contextlib.suppress(sqlite3.OperationalError):
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection; the next use opens it again. What is in memory stays as long as the object."""
        if self._notes:
            with contextlib.suppress(*UNWRITTEN):
                self.write(lambda db: None, durable=False)
        with uninterrupted, self._turn:
            if self._connection is not None and self._path is not None:
                self._connection.close()
                self._connection = None

    def _commit(self, batch: Sequence[_Write]) -> None:
        """Write a batch in one transaction, without those that fail."""
        left = list(batch)
        while left:
            under_way: _Write | None = None
            try:
                with self._transaction(durable=any(one.durable for one in left)) as db:
                    for under_way in left:
                        under_way.result = under_way.work(db)
                    under_way = None
            except Exception as error:  # of one work, or of the transaction, which was that of all
                failed = left if under_way is None else [under_way]
                for one in failed:
                    one.error = error
            else:
                failed = left
            for one in failed:
                one.done = True
                if not one.leads:
                    one.wake.release()
            left = [one for one in left if not one.done]

    def _pass_on(self, mine: _Write, batch: Sequence[_Write]) -> None:
        """Have the next one lead, whether this one came to its end or was interrupted."""
        with self._lock:
            waiting = [*(one for one in batch if not one.done), *self._queue]
            self._queue = [one for one in waiting if one is not mine]
            if mine.leads:
                self._led = bool(self._queue)
                for following in self._queue[:1]:
                    following.leads = True
                    following.wake.release()

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start, with the notes; undone when the block raises."""
        with self._taken() as db:
            if durable != self._waits:
                db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._waits = durable
            with self._lock:
                notes, self._notes = self._notes, []
            db.execute("BEGIN IMMEDIATE")
            try:
                for note in notes:
                    note(db)
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _taken(self) -> Iterator[sqlite3.Connection]:
        self._mind_forks()
        with self._turn:
            if self._connection is None:
                opened = sqlite3.connect(
                    self._path or ":memory:",
                    timeout=_BUSY_SECONDS,
                    isolation_level=None,
                    check_same_thread=False,
                )
                if self._path is None:
                    self._create(opened)
                else:
                    _write_ahead(opened)
                self._connection, self._waits = opened, None
            try:
                yield self._connection
            except sqlite3.DatabaseError as error:
                if is_damage(error) and self._path is not None:
                    raise damaged(self._path, str(error)) from None
                raise

    def _mind_forks(self) -> None:
        if self._pid != os.getpid():  # neither SQLite's connections nor locks survive a fork
            self._start_anew()


def private_database(path: Path, create: Callable[[sqlite3.Connection], object]) -> None:
    """Have a database at `path` that nobody else reads or writes; a new one is what `create` makes, and there at once
    and whole: an empty file is a damaged one. Raises ConfigurationError, one line, OSError and sqlite3.Error.
    """
    if not os.path.lexists(path):
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
                create(db)
                db.execute("PRAGMA journal_mode=WAL")
            with contextlib.suppress(FileExistsError):  # where two race, the first one's stays
                os.link(draft, path)
        except sqlite3.Error as error:
            raise _as_told(error) from None
        finally:
            draft.unlink(missing_ok=True)
    refuse_shared_file(path)
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")


def damaged(path: Path, why: str) -> ConfigurationError:
    """The error for a database that cannot be read."""
    return ConfigurationError(
        f"{path} is damaged ({why}): put a copy of it back, or have `api-smooth cache repair` set it aside; "
        f"what it held is then forgotten"
    )


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """What somebody else does with the database at `path`, with our errors in place of SQLite's for damage and disk."""
    try:
        yield
    except sqlite3.Error as error:
        raise (damaged(path, str(error)) if is_damage(error) else _as_told(error)) from None


def _as_told(error: Exception) -> Exception:
    """The DiskError for a disk that is full or does not write; any other error as it is."""
    if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in _UNWRITABLE:
        return error
    return DiskError(
        f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
    )


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that a file is not, or no longer, a database."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED


def set_aside(path: Path) -> Path | None:
    """Rename a damaged database, for whoever may read something out of it yet; returns its new path, None if sound."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as db:
            sound = path.stat().st_size > 0 and db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        sound = False
    if sound:
        return None
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return path.rename(aside)


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
