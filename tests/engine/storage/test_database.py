"""Writes of several threads to one file: together where they can be, each as if it were alone."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_smoothing.engine.storage.database import Database
from api_smoothing.errors import ConfigurationError

SCHEMA = "CREATE TABLE IF NOT EXISTS rows (row INTEGER)"


def database_in(folder: Path) -> Database:
    return Database(folder / "d.db", SCHEMA, version=1)


def insert(row: int) -> Callable[[sqlite3.Connection], int]:
    def work(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO rows VALUES (?)", (row,))
        return row

    return work


def rows(folder: Path) -> list[int]:
    """What another process sees."""
    with sqlite3.connect(folder / "d.db") as db:
        return [row for (row,) in db.execute("SELECT row FROM rows ORDER BY row")]


class Crowd:
    """A first write, behind which others queue up until `go`."""

    def __init__(self, database: Database, first: Callable[[sqlite3.Connection], Any]) -> None:
        self._database, self._go = database, threading.Event()
        self.came: dict[str, Any] = {}

        def held(db: sqlite3.Connection) -> Any:
            self._go.wait(30)
            return first(db)

        self._threads = [self._start("first", held, 0)]

    def add(self, name: str, work: Callable[[sqlite3.Connection], Any]) -> None:
        self._threads.append(self._start(name, work, len(self._threads)))

    def go(self) -> dict[str, Any]:
        self._go.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.came

    def _start(self, name: str, work: Callable[[sqlite3.Connection], Any], waiting: int) -> threading.Thread:
        def write() -> None:
            try:
                self.came[name] = self._database.write(work)
            except BaseException as error:
                self.came[name] = type(error)

        thread = threading.Thread(target=write)
        thread.start()
        until = time.monotonic() + 30
        while not self._database._led or len(self._database._queue) < waiting:
            assert time.monotonic() < until
            time.sleep(0.001)
        return thread


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each transaction waits for the disk."""
    made: list[bool] = []
    transaction = Database._transaction

    def counted(self: Database, *, durable: bool) -> Any:
        made.append(durable)
        return transaction(self, durable=durable)

    monkeypatch.setattr(Database, "_transaction", counted)
    return made


def test_waiting_writes_share_one_transaction(tmp_path: Path, commits: list[bool]) -> None:
    """What queues up behind a write goes into the file together, and each writer gets its own result."""
    crowd = Crowd(database_in(tmp_path), insert(0))
    for row in range(1, 9):
        crowd.add(str(row), insert(row))
    assert crowd.go() == {"first": 0, **{str(row): row for row in range(1, 9)}}
    assert rows(tmp_path) == list(range(9))
    assert len(commits) == 3  # the schema, the first, the rest


def test_a_write_that_fails_harms_no_other(tmp_path: Path) -> None:
    """Of writes that share a transaction one that raises leaves nothing, and the others are written once."""

    def half(db: sqlite3.Connection) -> None:
        insert(77)(db)
        raise ValueError

    crowd = Crowd(database_in(tmp_path), insert(0))
    for name, work in {"1": insert(1), "bad": half, "2": insert(2), "worse": half, "3": insert(3)}.items():
        crowd.add(name, work)
    assert crowd.go() == {"first": 0, "1": 1, "bad": ValueError, "2": 2, "worse": ValueError, "3": 3}
    assert rows(tmp_path) == [0, 1, 2, 3]


def test_an_interrupted_write_does_not_stop_the_others(tmp_path: Path) -> None:
    """When the thread that writes for all is interrupted, another one goes on."""

    def interrupted(db: sqlite3.Connection) -> None:
        insert(77)(db)
        raise KeyboardInterrupt

    crowd = Crowd(database_in(tmp_path), insert(0))
    for name, work in {"stop": interrupted, "1": insert(1), "2": insert(2)}.items():
        crowd.add(name, work)
    assert crowd.go() == {"first": 0, "stop": KeyboardInterrupt, "1": 1, "2": 2}
    assert rows(tmp_path) == [0, 1, 2]


def test_a_disk_that_is_full_is_everybodys_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the transaction itself fails each of its writers is told, and the next write goes through."""
    database = database_in(tmp_path)
    transaction = database._transaction

    def full(**options: Any) -> Any:
        monkeypatch.undo()
        raise sqlite3.OperationalError("database or disk is full")

    crowd = Crowd(database, insert(0))
    for row in (1, 2):
        crowd.add(str(row), insert(row))
    monkeypatch.setattr(database, "_transaction", full)
    assert crowd.go() == {"first": 0, "1": sqlite3.OperationalError, "2": sqlite3.OperationalError}
    assert database._transaction == transaction
    assert database.write(insert(3)) == 3
    assert rows(tmp_path) == [0, 3]


def test_the_disk_is_waited_for_where_one_writer_asks(tmp_path: Path) -> None:
    """A write that may be lost in a power cut waits for the disk along with one that must not be, and not alone."""
    database = database_in(tmp_path)

    def level() -> int:
        return int(database.read("PRAGMA synchronous")[0][0])

    database.write(insert(0), durable=False)
    assert level() == 1
    database.write(insert(1))
    assert level() == 2


def test_notes_go_along(tmp_path: Path) -> None:
    """A note is in the file with the next write, or when the database is closed, once."""
    database = database_in(tmp_path)
    database.note(insert(1))
    assert rows(tmp_path) == []
    database.write(insert(2))
    assert rows(tmp_path) == [1, 2]
    database.note(insert(3))
    database.close()
    database.close()
    assert rows(tmp_path) == [1, 2, 3]


def test_a_file_that_the_schema_only_adds_to_is_taken_over(tmp_path: Path) -> None:
    """A file of an earlier version keeps its rows and gets the new tables; of any other version it is refused."""
    database_in(tmp_path).write(insert(7))
    added = f"{SCHEMA}; CREATE TABLE IF NOT EXISTS more (row INTEGER)"
    newer = Database(tmp_path / "d.db", added, version=2, extends=(1,))
    assert newer.read("SELECT row FROM rows") == [(7,)]
    assert newer.read("SELECT row FROM more") == []
    for version in (1, 3):
        with pytest.raises(ConfigurationError, match="another version"):
            Database(tmp_path / "d.db", SCHEMA, version=version)


def test_a_database_in_memory_lives_as_long_as_its_object() -> None:
    """Without a path nothing is written, every object has rows of its own, and closing does not end them."""
    one, two = (Database(None, SCHEMA, version=1) for _ in range(2))
    one.write(insert(7))
    one.note(lambda db: db.execute("INSERT INTO rows VALUES (8)"))
    one.close()
    assert one.read("SELECT row FROM rows") == [(7,), (8,)]
    assert two.read("SELECT row FROM rows") == []
