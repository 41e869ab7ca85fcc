"""Progress over a data set: images, queries, dollars, time left; one line on a terminal, now and then one elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from api_smoothing.cli.progress import EVERY_SECONDS, Progress
from api_smoothing.cli.smoothing import complain
from api_smoothing.cli.text import number_of
from api_smoothing.events import DataSetOpened, Event, ImageCertified, ImagesRead, ImageStarted, VotesCounted
from api_smoothing.shown import shown

_SOON: Final = 5  # images before an end is foreseen


class Overall:
    """An observer. `agree` is asked once the images are known, and before the first query: with those left to do."""

    def __init__(self, progress: Progress, *, terminal: bool, agree: Callable[[int], None]) -> None:
        self._progress, self._terminal, self._agree = progress, terminal, agree
        self._images = self._done = self._sent = 0
        self._usd = 0.0
        self._spent: dict[int, tuple[int, float]] = {}
        self._began = self._shown = time.monotonic()
        self._told: set[str] = set()
        self._opened = 0
        self._name = ""  # of the run, where there are several
        self.started = False

    @property
    def asked(self) -> bool:
        """Whether any answer was counted, or is on its way."""
        return self.started

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case ImagesRead():
                self._say(f"reading {event.read} of {number_of(event.images, 'image')}", plain=False)
            case DataSetOpened():
                self._progress.clear()
                for line in event.told:
                    if line not in self._told:  # another run on the same images, corrupted
                        complain(line)
                self._told.update(event.told)
                if decided := event.images - event.left - event.unreadable:
                    complain(f"{decided:,} of {number_of(event.images, 'image')} are decided already")
                self._images, self._done = event.left, 0
                self._name = f"{shown(event.name)}: " if self._opened else ""
                self._opened += 1
                self._agree(event.left)
                self._began = self._shown = time.monotonic()
            case ImageStarted():
                self.started = True
            case VotesCounted():
                self._count(event.index, event.sent, event.cost_usd)
                self._say(self._line())
            case ImageCertified():
                found = event.certificate
                self._count(event.index, found.queries, found.cost_usd)
                self._spent.pop(event.index, None)
                self._done += 1
                self._say(self._line(), plain=self._done == self._images)
            case _:
                self._progress(event)

    def _count(self, index: int, sent: int, usd: float) -> None:
        before, spent = self._spent.get(index, (0, 0.0))
        self._spent[index] = sent, usd
        self._sent += sent - before
        self._usd += usd - spent

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        told = f"{self._name}{self._done:,} of {number_of(self._images, 'image')}, {self._sent:,} queries"
        if self._usd:
            told += f", ${self._usd:.2f}"
        if self._done >= min(_SOON, self._images) and self._done < self._images:
            told += f", about {_span(seconds / self._done * (self._images - self._done))} left"
        return told

    def _say(self, text: str, *, plain: bool = True) -> None:
        now = time.monotonic()
        if now - self._shown < EVERY_SECONDS[self._terminal] and self._done < self._images:
            return
        self._shown = now
        if self._terminal:
            self._progress.say(text)
        elif plain:
            complain(text)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
