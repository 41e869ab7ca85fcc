"""Progress on standard error: one line that updates on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TextIO

from api_smoothing.cli.text import number_of
from api_smoothing.events import Event, ImageCertified, ImageStarted, TurnAwaited, VotesCounted
from api_smoothing.shown import shown

EVERY_SECONDS = {True: 0.1, False: 10.0}  # between two lines; by whether it is a terminal


class Progress:
    """An observer. `images` is how many there are; `summaries` prints a line for each when decided.

    Several may be under way at once. Dollars are shown where they are `charged`. `started` says whether any image was
    begun, `votes` is the number of answers counted for those that are not decided.
    """

    def __init__(self, stream: TextIO, images: int, *, summaries: bool, charged: bool = True) -> None:
        self._stream = stream
        self._images = images
        self._summaries, self._charged = summaries, charged
        self._terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._began = self._shown = time.monotonic()
        self._open: dict[int, VotesCounted | None] = {}  # what was last told of images that are not decided
        self._numbers: dict[int, int] = {}  # in the order in which they were begun
        self._begun = 0
        self._sent, self.started = 0, False

    @property
    def votes(self) -> int:
        return sum(told.n for told in self._open.values() if told is not None)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case ImageStarted():
                if not self.started:
                    self.started, self._began = True, time.monotonic()
                self._begun += 1
                self._numbers[event.index] = self._begun
                self._open[event.index] = None
                self.say(f"{self._place(event.index)}{event.image}: started")
            case VotesCounted():
                before = self._open.get(event.index)
                self._sent += event.sent - (0 if before is None else before.sent)
                self._open[event.index] = event
                self._show(event)
            case TurnAwaited():
                self.clear()
                self._write(
                    f"waiting {event.seconds:.0f} s for a turn in the rate of {shown(event.provider)}, shared by all "
                    f"runs with this account; --rate sets yours\n"
                )
            case ImageCertified():
                self._open.pop(event.index, None)
                self.clear()
                if self._summaries:
                    self._line(event.index, _summary(event, self._rate()))

    def say(self, text: str) -> None:
        """Something that is neither result nor error, such as "loading"; a terminal forgets it again."""
        if self._terminal:
            self._update(text)

    def clear(self) -> None:
        """Leave the terminal's line empty, for other output."""
        if self._terminal:
            self._write("\r\x1b[K")

    def _show(self, event: VotesCounted) -> None:
        now = time.monotonic()
        if now - self._shown < EVERY_SECONDS[self._terminal]:
            return
        self._shown = now
        beside = f", {len(self._open) - 1} more under way" if len(self._open) > 1 else ""
        text = _votes(event, self._rate(), charged=self._charged) + beside
        if self._terminal:
            self._update(self._place(event.index) + text)
        else:
            self._line(event.index, text)

    def _update(self, text: str) -> None:
        text = shown(text)
        width = shutil.get_terminal_size().columns
        self._write("\r\x1b[K" + (text if len(text) < width else text[: width - 2] + "…"))

    def _line(self, index: int, text: str) -> None:
        self._write(f"{self._place(index)}{shown(text)}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that is gone must not end a paid run
            self._stream.write(text)
            self._stream.flush()

    def _place(self, index: int) -> str:
        return f"[{self._numbers.get(index, 1)}/{self._images}] " if self._images > 1 else ""

    def _rate(self) -> float:
        return self._sent / max(time.monotonic() - self._began, 1e-3)


def _votes(event: VotesCounted, rate: float, *, charged: bool) -> str:
    leader = "no label yet" if event.leader is None else f"{event.leader} {event.leader_votes / event.n:.1%}"
    cost = f", ${event.cost_usd:.4f}" if event.cost_usd and charged else ""
    cached = f", {event.cached} cached" if event.cached else ""
    return f"{event.image}: {number_of(event.n, 'vote')}, {leader}, {rate:.0f} queries/s{cached}{cost}"


def _summary(event: ImageCertified, rate: float) -> str:
    done = event.certificate
    result = f"{done.claim}, radius {done.radius:.4f}"
    if done.label is None:
        result = f"abstained: {done.claim}" if done.claim else "abstained"
    pace = f", {rate:.0f} queries/s" if done.queries else ""
    return f"{event.image}: {result}, {number_of(done.n, 'vote')} ({done.stopped}){pace}"
