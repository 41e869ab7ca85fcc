"""Paid answers, one by one as they come in, and the claims on those that are being asked for.

Whoever shares the answers shares the claims, so that no two processes pay for one answer. A claim ends in the
transaction that keeps its answer. Those of a process that died lapse, so that a rerun can ask.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage.database import Database
from api_smoothing.errors import ConfigurationError

#: Seconds after which a claim lapses where it cannot be seen whether its process lives.
CLAIM_SECONDS: Final = 3600.0

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
    stream TEXT NOT NULL, query INTEGER NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    stream TEXT NOT NULL, query INTEGER NOT NULL, holder TEXT NOT NULL, pid INTEGER NOT NULL, birth TEXT NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID
"""
_HOLDERS: Final[set[str]] = set()  # the open objects of this process


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What became of queries somebody wants to ask: `granted` are theirs to ask, `busy` are being asked by someone
    else just now, `known` have been answered.
    """

    granted: tuple[int, ...]
    busy: tuple[int, ...] = ()
    known: Mapping[int, Answer] = field(default_factory=dict)


class PaidAnswers:
    """A file of answers by stream and query index; the first answer stays. Each write waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._pid = 0
        self._take_name()
        self._database = Database(path, _SCHEMA, version=_VERSION)

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        """The answers known among `indices` (ascending)."""
        rows = self._database.read(_ANSWERS, (stream, indices[0], indices[-1])) if indices else []
        wanted = indices if isinstance(indices, range) else set(indices)
        return {index: _decode(text) for index, text in rows if index in wanted}

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep `answers` and end the claims on them; returns those that stand."""
        self._take_name()
        rows = [(stream, index, _encode(answer)) for index, answer in answers.items()]

        def keep(db: sqlite3.Connection) -> dict[int, Answer]:
            standing = dict(answers)
            for row in rows:
                if not db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row).rowcount:
                    standing |= self.read(stream, [row[1]])
                db.execute(_RELEASE, (stream, row[1], self._holder))
            return standing

        standing = self._database.write(keep)
        self._asking.difference_update((stream, index) for index in answers)
        return standing

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        """Claim those of `indices` (ascending) that are not answered, and that nobody else is asking."""
        self._take_name()
        mine = (self._holder, self._pid, self._birth, time.time() + CLAIM_SECONDS)

        def take(db: sqlite3.Connection) -> Claim:
            known = self.read(stream, indices)
            busy = self._held(stream, indices) - known.keys()
            granted = tuple(i for i in indices if i not in known and i not in busy)
            for i in granted:
                db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)", (stream, i, *mine))
            self._asking.update((stream, i) for i in granted)
            return Claim(granted=granted, busy=tuple(i for i in indices if i in busy), known=known)

        return self._database.write(take, durable=False)  # who claims is dead after a loss of power

    def release(self, stream: str, indices: Sequence[int]) -> None:
        """End claims without an answer."""
        self._asking.difference_update((stream, i) for i in indices)  # at once: a full disk must not block

        def end(db: sqlite3.Connection) -> None:
            for i in indices:
                if (stream, i) not in self._asking:  # as another thread may again by now
                    db.execute(_RELEASE, (stream, i, self._holder))

        self._database.write(end, durable=False)

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        """Whether someone is asking any of `indices` (ascending) just now."""
        return not self._held(stream, indices).isdisjoint(indices)

    def counts(self) -> dict[str, int]:
        """How many answers each stream has."""
        return dict(self._database.read("SELECT stream, COUNT(*) FROM answers GROUP BY stream"))

    def clear(self) -> int:
        """Forget every answer; returns how many there were."""
        return self._database.write(lambda db: db.execute("DELETE FROM answers").rowcount)

    def size_bytes(self) -> int:
        """What the file takes on disk."""
        [(pages, size)] = self._database.read("SELECT * FROM pragma_page_count, pragma_page_size")
        return int(pages * size)

    def close(self) -> None:
        """Release the file."""
        _HOLDERS.discard(self._holder)
        self._database.close()

    def _take_name(self) -> None:
        """A name for this object's claims; after a fork parent and child must not have the same."""
        if self._pid != os.getpid():
            self._pid, self._holder = os.getpid(), secrets.token_hex(8)
            self._birth = _birth(self._pid) or ""
            self._asking: set[tuple[str, int]] = set()
        _HOLDERS.add(self._holder)

    def _held(self, stream: str, indices: Sequence[int]) -> set[int]:
        """The queries in the range of `indices` that a living claim is on, this object's own threads included."""
        held, now = set(), time.time()
        claims = self._database.read(_CLAIMS, (stream, indices[0], indices[-1]))
        for query, holder, pid, birth, until in claims:
            if holder == self._holder:
                living = (stream, query) in self._asking
            elif pid == self._pid:
                living = holder in _HOLDERS
            else:
                living = _alive(pid, birth, until > now)
            if living:
                held.add(query)
        return held


_ANSWERS: Final = "SELECT query, answer FROM answers WHERE stream = ? AND query BETWEEN ? AND ?"
_CLAIMS: Final = (
    "SELECT query, holder, pid, birth, until FROM claims WHERE stream = ? AND query BETWEEN ? AND ?"
)
_RELEASE: Final = "DELETE FROM claims WHERE stream = ? AND query = ? AND holder = ?"


def _encode(answer: Answer) -> str:
    """`[version, [name, score, id, [parent, …]], …]` as JSON."""
    rows = [[label.name, label.score, label.id, label.parents] for label in answer.labels]
    return json.dumps([answer.model_version, *rows], separators=(",", ":"), default=float)


def _decode(text: Any) -> Answer:
    try:
        if not isinstance(text, str):
            raise ValueError
        version, *rows = json.loads(text)
        labels = tuple(
            Label(name=name, score=score, id=ident, parents=tuple(parents))
            for name, score, ident, parents in rows
        )
    except (TypeError, ValueError):
        raise tampered() from None
    return Answer(labels=labels, model_version=version)


def tampered() -> ConfigurationError:
    """The error for an entry that is not in our form."""
    return ConfigurationError(
        "the vote cache holds an entry this program did not write; move the folder away or run `api-smooth cache clear`"
    )


def _alive(pid: int, birth: str, recent: bool) -> bool:
    """Whether the process that was born so still runs; where that cannot be seen, whether its claim is `recent`."""
    if birth:
        return _birth(pid) == birth
    if sys.platform == "win32" or not recent:  # on Windows asking would end the process
        return recent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _birth(pid: int) -> str | None:
    """When a process started, in the kernel's words, which tells it from a later one of its number; None for a
    dead one, a zombie, or a system that does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
