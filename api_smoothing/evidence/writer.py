"""An observer that writes every answer to the run file, in the order in which answers are counted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from api_smoothing.events import AnswersCounted, CountedAnswer, Event, ImageCertified, ImageStarted
from api_smoothing.runs import RunFile, canonical

ANSWERS: Final = "api-smooth/answers/1"
BOUNDARY: Final = "api-smooth/boundary/1"
_EVERY: Final = 1.0  # seconds that an answer may wait to be written down
_DIGITS: Final = 32  # of an answer's sha256


@dataclass(slots=True)
class _Image:
    """What is written beside an image's answers, and those that wait."""

    facts: Mapping[str, Any]
    waiting: list[list[Any]]


class Writer:
    """Hears the events of a run (`SmoothedAPI(observers=…)`) and writes its answers to `run`, which has a commitment.

    An answer waits a second at most, and is on the disk before the certificate that counts it. Use it as a context
    manager, or `close` it at the end.
    """

    def __init__(self, run: RunFile) -> None:
        if run.commitment is None:
            raise ValueError("evidence begins with a commitment: call evidence.commit first")
        self._run = run
        self._images: dict[int, _Image] = {}
        self._boundaries: set[str] = set()
        self._written = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case ImageStarted():
                self._begin(event)
            case AnswersCounted():
                image = self._images[event.index]
                image.waiting += map(_entry, event.answers)
                if time.monotonic() - self._written >= _EVERY:
                    self.flush()
            case ImageCertified():
                self._write()  # whoever appends the certificate brings both to the disk
                self._images.pop(event.index, None)
            case _:
                pass

    def flush(self) -> None:
        """Write what waits, and bring it to the disk."""
        if self._write():
            self._run.flush()
        self._written = time.monotonic()

    def _write(self) -> bool:
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        waiting = [image for image in self._images.values() if image.waiting]
        for image in waiting:
            answers, image.waiting = image.waiting, []
            line = {"schema": ANSWERS, "created": created, **image.facts, "answers": answers}
            self._run.append_line(line, sync=False)
        return bool(waiting)

    def close(self) -> None:
        """Write what waits."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, event: ImageStarted) -> None:
        facts: dict[str, Any] = {"image_sha256": event.image_sha256, "slack": event.slack}
        boundary = None if event.boundary is None else event.boundary()
        if boundary is not None:
            facts["boundary"] = hashlib.sha256(canonical(boundary)).hexdigest()
            if facts["boundary"] not in self._boundaries:
                self._boundaries.add(facts["boundary"])
                self._run.append_line({"schema": BOUNDARY, "sha256": facts["boundary"], **boundary})
        if event.index in self._images:  # of a call that was ended early
            self._write()
        self._images[event.index] = _Image(facts, [])


def _entry(answer: CountedAnswer) -> list[Any]:
    """An answer in the file: number, vote, how it came, digest, and the request's id where there is one."""
    how = "kept" if answer.kept else "asked"
    digest = None if answer.failed else answer.sha256[:_DIGITS]
    entry = [answer.number, answer.vote, how, digest]
    return entry if answer.request_id is None else [*entry, answer.request_id]
