"""What a run file says about a data set: the last certificate of each image, and what belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from api_smoothing import runs
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Certificate, RunHeader

CLEAN: Final = "api-smooth/clean/1"
UNREADABLE: Final = "api-smooth/unreadable/1"
CLAIM: Final = "api-smooth/claim/1"
FINISHED: Final = "api-smooth/finished/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run file, read.

    `certificates` has the last one of each image, in the order of the images, and `spent` the queries, the cached
    answers and the dollars of all lines. `clean` maps an item's id to the unsmoothed answer (None: no label that
    counts), `unreadable` to why it could not be read; `planned` are the images in order. `claim` is the last state of
    the claim, `seconds` what all sessions took together; `left` how many images the last one did not come to, None of
    one that was cut off.
    """

    path: str
    header: RunHeader
    certificates: tuple[Certificate, ...]
    clean: Mapping[str, str | None]
    unreadable: Mapping[str, str]
    planned: tuple[Mapping[str, Any], ...]
    claim: Mapping[str, Any] | None = None
    queries: int = 0
    cached: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    left: int | None = None

    @property
    def name(self) -> str:
        """The run in a word: the name of its file, without the ending."""
        return Path(self.path).stem

    @property
    def images(self) -> int:
        """How many there are in all, come to or not."""
        return len(self.planned) or len(self.certificates) + len(self.unreadable)

    def by_item(self) -> dict[str, Certificate]:
        """The certificates by the id of their image."""
        return {item_of(found): found for found in self.certificates}


def read_run(path: str | Path) -> Run:
    """Read `path`; it may be being written. Raises ConfigurationError for what is no run file, or is damaged."""
    path = Path(path)
    reading = _Reading()
    for line in runs.lines(path):
        reading.take(line)
    return Run(
        path=str(path),
        header=runs.header(path),
        certificates=tuple(reading.certificates.values()),
        clean=reading.clean,
        unreadable=reading.unreadable,
        planned=tuple(reading.planned),
        claim=reading.claim,
        queries=reading.queries,
        cached=reading.cached,
        usd=reading.usd,
        seconds=reading.seconds,
        left=reading.left,
    )


def item_of(found: Certificate) -> str:
    """What names the image of a certificate in its data set; outside of one, the image and its digest do."""
    return found.item["id"] if found.item is not None else f"{found.image}#{found.image_sha256[:16]}"


@dataclass(slots=True)
class _Reading:
    certificates: dict[str, Certificate] = field(default_factory=dict)
    clean: dict[str, str | None] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    planned: list[Mapping[str, Any]] = field(default_factory=list)
    claim: Mapping[str, Any] | None = None
    queries: int = 0
    cached: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    left: int | None = None

    def take(self, line: Certificate | Mapping[str, Any]) -> None:
        if isinstance(line, Certificate):
            self.left = None
            self.certificates[item_of(line)] = line  # the last one counts, in the place of the first
            self._spend(line.queries, line.cached, line.cost_usd)
            return
        try:
            self._note(line)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"a line of schema {line.get('schema')} is not as the format has it: {json.dumps(str(error))}"
            ) from None

    def _note(self, line: Mapping[str, Any]) -> None:
        schema = line["schema"]
        if schema == runs.PLANNED:
            self.planned.append(line)
        elif schema == CLEAN:
            self.clean[str(line["item"])] = line["label"]
            self._spend(int(line.get("queries", 0)), int(line.get("cached", 0)), float(line["cost_usd"]))
        elif schema == UNREADABLE:
            self.unreadable[str(line["item"])] = str(line["reason"])
        elif schema == CLAIM:
            self.claim = line
        elif schema == FINISHED:
            self.seconds += float(line["seconds"])
            self.left = int(line.get("left", 0))

    def _spend(self, queries: int, cached: int, usd: float) -> None:
        self.queries += queries
        self.cached += cached
        self.usd += usd
