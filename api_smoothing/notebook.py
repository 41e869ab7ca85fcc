"""Progress in a notebook: one display below the cell that is kept up to date, where an IPython kernel runs."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from api_smoothing.events import (
    DataSetOpened,
    Event,
    ImageCertified,
    ImagesRead,
    ImageStarted,
    Observer,
    RunStarted,
    TurnAwaited,
    VotesCounted,
)
from api_smoothing.shown import shown

_EVERY_SECONDS: Final = 0.2

#: What is shown, as a MIME bundle: its text by its type.
Bundle: TypeAlias = dict[str, str]


def observers_of(given: Sequence[Observer] | None) -> tuple[Observer, ...]:
    """`given`; where it is None a `NotebookProgress` in a notebook, and elsewhere nobody."""
    if given is None:
        return (NotebookProgress(),) if getattr(_shell(), "kernel", None) is not None else ()
    return tuple(given)


def _shell() -> Any:
    """IPython's shell, if this code runs in one; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


class NotebookProgress:
    """An observer that shows how far a cell has come: images decided, votes, dollars, and what was heard of last.

    All calls of one cell share a display. One that fails, as of a page that was closed, ends no run.
    """

    def __init__(self) -> None:
        self._cell: object = None
        self._begin_cell()

    def _begin_cell(self) -> None:
        self._update: Callable[[Bundle], None] | None = None
        self._shown_at = -_EVERY_SECONDS
        self._decided = self._certified = self._votes = 0
        self._usd = 0.0
        self._of: int | None = None  # images of a data set, those before it in the cell among them
        self._begin_call()

    def _begin_call(self) -> None:
        self._open: dict[int, VotesCounted | None] = {}  # what was last told of images that are not decided
        self._last = -1  # the image decided last; one may have several certificates

    def __call__(self, event: Event) -> None:
        """Take in one event, and show where that leaves the cell."""
        match event:
            case ImagesRead():
                self._enter_cell()
                self._show(f"{event.read:,} of {event.images:,} images read")
            case DataSetOpened():
                self._enter_cell()
                self._of = self._decided + event.left
                self._show(event.name, now=True)
            case RunStarted():
                self._enter_cell()
                self._begin_call()
            case ImageStarted():
                self._open[event.index] = None
                self._show(f"{event.image}: started")
            case VotesCounted():
                self._open[event.index] = event
                self._show(_votes(event))
            case ImageCertified():
                self._decide(event)
            case TurnAwaited():
                self._show(
                    f"waiting {event.seconds:.0f} s for a turn in the rate of {event.provider}", now=True
                )

    def _enter_cell(self) -> None:
        cell = getattr(_shell(), "execution_count", None)
        if cell != self._cell:
            self._begin_cell()
        self._cell = cell

    def _decide(self, event: ImageCertified) -> None:
        done = event.certificate
        self._open.pop(event.index, None)
        if event.index != self._last:
            self._decided, self._last = self._decided + 1, event.index
            self._votes += done.n
            self._usd += done.cost_usd
        self._certified += done.label is not None
        result = "abstained" if done.label is None else f"{done.claim}, radius {done.radius:.4f}"
        self._show(f"{event.image}: {result}", now=not self._open)

    def _show(self, last: str, *, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._shown_at < _EVERY_SECONDS:
            return
        self._shown_at = moment
        text = f"{self._totals()} · {shown(last)}"
        bundle = {"text/plain": text, "text/html": f"<samp>{html.escape(text)}</samp>"}
        try:
            if self._update is None:
                self._update = _display(bundle)
            else:
                self._update(bundle)
        except Exception:  # whatever a front end raises, the run is paid
            self._update = lambda bundle: None

    def _totals(self) -> str:
        heard = [told for told in list(self._open.values()) if told is not None]
        votes = self._votes + sum(told.n for told in heard)
        usd = self._usd + sum(told.cost_usd for told in heard)
        under_way = f", {len(self._open):,} under way" if self._open else ""
        of = "" if self._of is None else f" of {self._of:,}"
        dollars = f", ${usd:.4f} at list prices" if usd else ""
        return f"{self._decided:,}{of} decided{under_way}, {self._certified:,} certified, {votes:,} votes{dollars}"


def _votes(event: VotesCounted) -> str:
    leader = "no label yet" if event.leader is None else f"{event.leader} {event.leader_votes / event.n:.1%}"
    return f"{event.image}: {event.n:,} votes, {leader}"


def _display(bundle: Bundle) -> Callable[[Bundle], None]:
    """Show `bundle` below the cell; returns what puts another one in its place."""
    import IPython.display

    show: Any = IPython.display.display  # untyped, and not always installed where types are checked
    handle = show(bundle, raw=True, display_id=True)
    return lambda bundle: handle.update(bundle, raw=True)
