"""The vote cache: every answer ever received, keyed by what was asked, so that nothing is asked twice.

Answers are kept in chunks of consecutive query indices per *stream* (one image under one setting of noise,
denoiser and provider). The first answer to an index stays: a later one never replaces it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from diskcache import Cache, Disk, Timeout
from diskcache.core import MODE_BINARY, MODE_RAW

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.errors import ConfigurationError

CHUNK = 256


class VoteCache(Protocol):
    """Answers by stream and query index."""

    def read(self, stream: str, indices: range) -> dict[int, Answer]:
        """The answers known among `indices`."""
        ...

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        """Keep `answers`; returns those that stand, which are older ones where an index was already known."""
        ...

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        """Keep what a stream was asked with, for people who look into the cache."""
        ...

    def close(self) -> None:
        """Release files; what is on disk stays."""
        ...


class MemoryCache:
    """Answers kept as long as the object lives; for providers whose identity cannot be fingerprinted."""

    def __init__(self) -> None:
        self._streams: dict[str, dict[int, Answer]] = {}

    def read(self, stream: str, indices: range) -> dict[int, Answer]:
        known = self._streams.get(stream, {})
        return {i: known[i] for i in indices if i in known}

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        known = self._streams.setdefault(stream, {})
        return {i: known.setdefault(i, answer) for i, answer in answers.items()}

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        """Nobody looks into a cache that dies with its owner."""

    def close(self) -> None:
        self._streams.clear()


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
            raise _tampered()
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, bytes]:
        data = zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
        return len(data), MODE_RAW, None, data

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if filename is not None or mode not in (MODE_RAW, MODE_BINARY) or not isinstance(value, bytes):
            raise _tampered()
        try:
            return json.loads(zlib.decompress(value))
        except (zlib.error, ValueError):
            raise _tampered() from None


class DiskCache:
    """Answers kept on disk, shared by processes. `durable` waits for the disk after every write.

    Without `durable` a write survives the death of the process, but not a loss of power: right for answers
    that cost nothing.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._cache = Cache(
                str(directory),
                disk=JSONOnlyDisk,
                eviction_policy="none",
                cull_limit=0,
                sqlite_synchronous=2 if durable else 1,
                timeout=60,
            )
        except (OSError, Timeout) as error:
            raise ConfigurationError(
                f"cannot open the vote cache {directory}: {error}; choose another with --cache DIR"
            ) from None

    def read(self, stream: str, indices: range) -> dict[int, Answer]:
        found: dict[int, Answer] = {}
        for chunk in _chunks(indices):
            found.update((i, a) for i, a in self._chunk(stream, chunk).items() if i in indices)
        return found

    def write(self, stream: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
        by_chunk: dict[int, dict[int, Answer]] = {}
        for index, answer in answers.items():
            by_chunk.setdefault(index // CHUNK, {})[index] = answer
        standing: dict[int, Answer] = {}
        with self._cache.transact(retry=True):
            for chunk, new in by_chunk.items():
                known = self._chunk(stream, chunk)
                merged = new | known
                self._cache.set(_key(stream, chunk), _encode(merged))
                standing.update((i, merged[i]) for i in new)
        return standing

    def describe(self, stream: str, facts: Mapping[str, Any]) -> None:
        self._cache.add(f"stream:{stream}", dict(facts), retry=True)

    def streams(self) -> Iterable[tuple[str, dict[str, Any], int]]:
        """Each stream's name, facts and number of answers."""
        for key in list(self._cache.iterkeys()):
            if key.startswith("stream:"):
                stream = key.removeprefix("stream:")
                yield stream, self._cache.get(key, {}), self._count(stream)

    def clear(self) -> int:
        """Forget every answer; returns how many entries were removed."""
        return int(self._cache.clear(retry=True))

    def size_bytes(self) -> int:
        """What the cache takes on disk."""
        return int(self._cache.volume())

    def close(self) -> None:
        self._cache.close()

    def _count(self, stream: str) -> int:
        count, chunk = 0, 0
        while entry := self._cache.get(_key(stream, chunk)):
            count += len(entry["i"])
            chunk += 1
        return count

    def _chunk(self, stream: str, chunk: int) -> dict[int, Answer]:
        entry = self._cache.get(_key(stream, chunk), retry=True)
        return {} if entry is None else _decode(entry)


def _key(stream: str, chunk: int) -> str:
    return f"{stream}:{chunk}"


def _chunks(indices: range) -> range:
    return range(indices.start // CHUNK, -(-indices.stop // CHUNK)) if len(indices) else range(0)


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


def _tampered() -> ConfigurationError:
    return ConfigurationError(
        "the vote cache holds an entry this program did not write; move the folder away or run `api-smooth cache clear`"
    )
