"""The vote cache: every answer ever received, keyed by what was asked, so that nothing is asked twice.

Answers are kept per *stream* (one image under one setting of noise, denoiser and provider) and query index: those of
models in this process in chunks of consecutive indices, those that were paid one by one (see
`engine.storage.paid`). The first answer to an index stays: a later one never replaces it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diskcache import Cache, Disk, Timeout
from diskcache.core import MODE_BINARY, MODE_RAW

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage.base import Claim
from api_smoothing.engine.storage.database import damaged, is_damage, private_database, telling
from api_smoothing.engine.storage.paid import PaidAnswers, tampered
from api_smoothing.engine.storage.seal import folder_seal
from api_smoothing.engine.storage.whereabouts import Surroundings
from api_smoothing.errors import ConfigurationError
from api_smoothing.interrupts import uninterrupted
from api_smoothing.private import private_folder

CHUNK = 256


class _Shelf:
    """What caches in memory share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.streams: dict[str, dict[int, Answer]] = {}
        self.failures: dict[str, dict[int, str]] = {}
        self.claims: dict[tuple[str, int], MemoryCache] = {}
        self.facts: dict[str, dict[str, Any]] = {}


class MemoryCache:
    """Answers kept as long as the object lives, and those that `also` share them."""

    def __init__(self, also: MemoryCache | None = None) -> None:
        self._shelf: _Shelf = _Shelf() if also is None else also._shelf

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        known = self._shelf.streams.get(stream, {})
        return {i: known[i] for i in indices if i in known}

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        with self._shelf.lock:
            known = self._shelf.streams.setdefault(stream, {})
            for i in answers:
                self._shelf.failures.get(stream, {}).pop(i, None)
            standing = {i: known.setdefault(i, answer) for i, answer in answers.items()}
            self.release(stream, list(answers))
        return standing

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        with self._shelf.lock:
            known = self.read(stream, indices)
            busy = tuple(i for i in indices if i not in known and (stream, i) in self._shelf.claims)
            granted = tuple(i for i in indices if i not in known and i not in busy)
            self._shelf.claims.update(((stream, i), self) for i in granted)
            failed = self.failures(stream, granted)
        return Claim(granted=granted, busy=busy, known=known, failed=failed)

    def release(self, stream: str, indices: Sequence[int]) -> None:
        with self._shelf.lock:
            for i in indices:
                if self._shelf.claims.get((stream, i)) is self:
                    del self._shelf.claims[stream, i]

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        return any((stream, i) in self._shelf.claims for i in indices)

    def fail(self, stream: str, reasons: Mapping[int, str]) -> None:
        with self._shelf.lock:
            known, failed = self.read(stream, list(reasons)), self._shelf.failures.setdefault(stream, {})
            for i, reason in reasons.items():
                if i not in known:
                    failed.setdefault(i, reason)
            self.release(stream, list(reasons))

    def failures(self, stream: str, indices: Sequence[int]) -> dict[int, str]:
        failed = self._shelf.failures.get(stream, {})
        return {i: failed[i] for i in indices if i in failed}

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        self._shelf.facts.setdefault(stream, dict(facts))

    def facts(self, stream: str) -> dict[str, Any] | None:
        return self._shelf.facts.get(stream)

    def streams(self) -> Iterable[tuple[str, dict[str, Any], int]]:
        """Each stream's name, facts and number of answers."""
        for stream, facts in list(self._shelf.facts.items()):
            if "/" not in stream:  # a mark on a stream, not a stream
                yield stream, facts, len(self._shelf.streams.get(stream, {}))

    def clear(self) -> int:
        """Forget every answer, failure and mark; returns how many entries were removed."""
        shelf = self._shelf
        with shelf.lock:
            removed = len(shelf.facts) + sum(map(len, shelf.streams.values()))
            removed += sum(map(len, shelf.failures.values()))
            shelf.streams.clear()
            shelf.failures.clear()
            shelf.facts.clear()
        return removed

    def close(self) -> None:
        shelf = self._shelf
        with shelf.lock:
            shelf.claims = {query: holder for query, holder in shelf.claims.items() if holder is not self}


class JSONOnlyDisk(Disk):  # type: ignore[misc]
    """Values are compressed JSON and keys are text. A row of any other kind is refused, never unpickled.

    diskcache's own JSONDisk still unpickles a row that says it is pickled (CVE-2025-69872).
    """

    def put(self, key: Any) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise TypeError("keys of the vote cache are text")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or not isinstance(key, str):
            raise tampered(f"an entry of {self._directory}/cache.db")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, bytes]:
        text = json.dumps(value, separators=(",", ":"), default=float)
        data = zlib.compress(text.encode("ascii"), 1)
        return len(data), MODE_RAW, None, data

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if filename is not None or mode not in (MODE_RAW, MODE_BINARY) or not isinstance(value, bytes):
            raise tampered(f"an entry of {self._directory}/cache.db")
        try:
            return json.loads(zlib.decompress(value))
        except (zlib.error, ValueError):
            raise tampered(f"an entry of {self._directory}/cache.db") from None


class DiskCache:
    """Answers kept in a folder that processes share. `paid` ones are kept one by one, others in chunks."""

    def __init__(
        self, directory: Path, *, paid: bool = True, surroundings: Surroundings | None = None
    ) -> None:
        self._paid = paid
        try:
            private_folder(directory)
            private_database(directory / "cache.db", lambda db: db.execute("PRAGMA auto_vacuum=1"))
            self._cache = Cache(
                str(directory),
                disk=JSONOnlyDisk,
                eviction_policy="none",
                cull_limit=0,
                sqlite_synchronous=2,  # kept in the file, for everyone: whatever is there waits for the disk
                timeout=60,
            )
        except (OSError, Timeout, sqlite3.Error) as error:
            if is_damage(error):
                raise damaged(directory / "cache.db", str(error)) from None
            raise ConfigurationError(
                f"cannot open the vote cache {directory}: {error}; choose another with --cache DIR"
            ) from None
        self._answers = PaidAnswers(directory / "paid.db", surroundings)
        self._file, self._seal = directory / "cache.db", folder_seal(directory)

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        if self._paid:
            return self._answers.read(stream, indices)
        found: dict[int, Answer] = {}
        wanted = indices if isinstance(indices, range) else set(indices)
        for chunk in sorted({i // CHUNK for i in _landmarks(indices)}):
            found.update((i, a) for i, a in self._chunk(stream, chunk).items() if i in wanted)
        return found

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        if self._paid:
            return self._answers.write(stream, answers)
        standing: dict[int, Answer] = {}
        by_chunk: dict[int, dict[int, Answer]] = {}
        for index, answer in answers.items():
            by_chunk.setdefault(index // CHUNK, {})[index] = answer
        with uninterrupted, telling(self._file), self._cache.transact(retry=True):
            for chunk, part in by_chunk.items():
                merged = part | self._chunk(stream, chunk)
                self._cache.set(f"{stream}:{chunk}", self._sealed(f"{stream}:{chunk}", _encode(merged)))
                standing.update((i, merged[i]) for i in part)
        return standing

    def claim(self, stream: str, indices: Sequence[int]) -> Claim:
        return self._answers.claim(stream, indices)

    def release(self, stream: str, indices: Sequence[int]) -> None:
        self._answers.release(stream, indices)

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        return self._answers.busy(stream, indices)

    def fail(self, stream: str, reasons: Mapping[int, str]) -> None:
        known = self.read(stream, sorted(reasons))
        self._answers.fail(stream, {i: reason for i, reason in reasons.items() if i not in known})

    def failures(self, stream: str, indices: Sequence[int]) -> dict[int, str]:
        failed = self._answers.failures(stream, indices)
        answered = self.read(stream, sorted(failed)) if failed and not self._paid else {}
        return {i: reason for i, reason in failed.items() if i not in answered}

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        with uninterrupted, telling(self._file):
            self._cache.add(f"stream:{stream}", dict(facts), retry=True)

    def facts(self, stream: str) -> dict[str, Any] | None:
        with uninterrupted, telling(self._file):
            found: dict[str, Any] | None = self._cache.get(f"stream:{stream}", retry=True)
        return found

    def streams(self) -> Iterable[tuple[str, dict[str, Any], int]]:
        """Each stream's name, facts and number of answers."""
        counts = Counter(self._answers.counts())
        described = []
        for key in list(self._cache.iterkeys()):
            stream, _, part = key.rpartition(":")
            if key.startswith("stream:"):
                if "/" in key:  # a mark on a stream, not a stream
                    continue
                described.append(part)
            else:
                counts[stream] += len(self._cache.get(key, {"i": ()})["i"])
        for stream in described:
            yield stream, self._cache.get(f"stream:{stream}", {}), counts[stream]

    def clear(self) -> int:
        """Forget every answer, failure and mark; returns how many entries were removed."""
        return int(self._cache.clear(retry=True)) + self._answers.clear()

    def size_bytes(self) -> int:
        """What the cache takes on disk."""
        return int(self._cache.volume()) + self._answers.size_bytes()

    def close(self) -> None:
        self._cache.close()
        self._answers.close()

    def _chunk(self, stream: str, chunk: int) -> dict[int, Answer]:
        return self._opened(f"{stream}:{chunk}")

    def _sealed(self, key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        text = json.dumps(entry, separators=(",", ":"), default=float, sort_keys=True)
        return {**entry, "seal": self._seal.of(f"{key} {text}")}

    def _opened(self, key: str) -> dict[int, Answer]:
        """The answers of the chunk `key`. One from before there were seals counts as it is."""
        with uninterrupted, telling(self._file):
            entry = self._cache.get(key, retry=True)
        if entry is None:
            return {}
        try:
            bare = {name: value for name, value in entry.items() if name != "seal"}
            if len(bare) < len(entry) and self._sealed(key, bare) != entry:
                raise ValueError
            return _decode(bare)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            raise tampered(f"the entry {key} of {self._file}") from None

    def repair(self) -> int:
        """Forget what is not as it was kept; returns how many entries."""
        spoilt = self._answers.repair()
        for key in list(self._cache.iterkeys()):
            try:
                if key.startswith("stream:"):
                    self._cache.get(key, retry=True)
                else:
                    self._opened(key)
            except ConfigurationError:
                self._cache.delete(key, retry=True)
                spoilt += 1
        return spoilt


def _landmarks(indices: Sequence[int]) -> Sequence[int]:
    """Indices of which each chunk touched by `indices` has one."""
    if isinstance(indices, range):
        return [*indices[::CHUNK], *indices[-1:]]
    return indices


def _encode(answers: Mapping[int, Answer]) -> dict[str, Any]:
    """One chunk as JSON. Labels repeat a lot, so each distinct (name, id, parents) is written once."""
    table: dict[tuple[str, str | None, tuple[str, ...]], int] = {}
    versions: dict[str | None, int] = {}
    rows = []
    for answer in answers.values():
        flat: list[float | int | None] = []
        for label in answer.labels:
            flat += [table.setdefault((label.name, label.id, label.parents), len(table)), label.score]
        rows.append([versions.setdefault(answer.model_version, len(versions)), *flat])
    return {"i": list(answers), "l": [list(t) for t in table], "v": list(versions), "a": rows}


def _decode(entry: Mapping[str, Any]) -> dict[int, Answer]:
    names = [(name, ident, tuple(parents)) for name, ident, parents in entry["l"]]
    versions = entry["v"]
    answers = {}
    for index, row in zip(entry["i"], entry["a"], strict=True):
        labels = tuple(
            Label(name=names[j][0], score=score, id=names[j][1], parents=names[j][2])
            for j, score in zip(row[1::2], row[2::2], strict=True)
        )
        answers[index] = Answer(labels=labels, model_version=versions[row[0]])
    return answers
