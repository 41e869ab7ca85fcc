"""A worker's inside: one SmoothedAPI that certifies images as they are handed in, and says what comes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from queue import Empty, SimpleQueue

from api_smoothing.cluster.messages import Boundary, Done, Ended, Failed, Message, Ready, Task, Told
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.engine.lessons import Handed
from api_smoothing.errors import ApiSmoothError
from api_smoothing.events import AnswersCounted, Event, ImageStarted, TurnAwaited, VotesCounted
from api_smoothing.images import LATER, Later, Loaded


class _Stopped(BaseException):
    """The driver wants nothing more. No handler of errors on the way may take it for one."""


class Host:
    """Certifies in a thread of its own; `emit` is called there, with every message. `put` and `stop` are for others."""

    def __init__(self, recipe: Recipe, emit: Callable[[Message], object]) -> None:
        self._recipe, self._emit = recipe, emit
        self._inbox: SimpleQueue[Task] = SimpleQueue()
        self._order: list[int] = []  # the indices of the images, as this worker counts them
        self._handed = Handed()
        self._done = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="certify", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def put(self, tasks: Sequence[Task]) -> None:
        """Take images in."""
        for task in tasks:
            self._inbox.put(task)

    def stop(self) -> None:
        """Send nothing more, and end when what is under way has come in; returns at once."""
        self._stopping.set()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._recipe.opened() as api, api.observed(self._hear):
                api.learn_from(self._handed)
                self._emit(Ready())
                with closing(api.certify_many(self._feed(), **self._recipe.question)) as results:  # type: ignore[type-var, arg-type]
                    for certificate in results:
                        index, self._done = self._order[self._done], self._done + 1
                        self._emit(Done(index=index, certificate=certificate))
        except _Stopped:
            self._emit(Ended())
        except ApiSmoothError as error:
            self._emit(self._failed(type(error).__name__, str(error)))
        except Exception as error:
            self._emit(self._failed("", f"{type(error).__name__}: {' '.join(str(error).split())}"))

    def _failed(self, kind: str, text: str) -> Failed:
        """The error of the first image that is not done, in whose turn `certify_many` raises."""
        index = self._order[self._done] if self._done < len(self._order) else None
        return Failed(index=index, kind=kind, text=text)

    def _feed(self) -> Iterator[Loaded | Later]:
        while True:
            self._heed()
            try:
                task = self._inbox.get_nowait()
            except Empty:
                yield LATER
                continue
            self._order.append(task.index)
            self._handed.put(task.prior)
            yield task.image

    def _heed(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _hear(self, event: Event) -> None:
        match event:
            case ImageStarted():
                boundary = None if event.boundary is None else event.boundary()
                self._say(replace(event, boundary=None if boundary is None else Boundary(boundary)))
            case AnswersCounted() | VotesCounted():
                self._say(event)
                self._heed()
            case TurnAwaited():
                self._emit(Told(index=None, event=event))
            case _:
                pass

    def _say(self, event: ImageStarted | AnswersCounted | VotesCounted) -> None:
        """Tell what happened to an image, by its number in the run."""
        index = self._order[event.index]
        self._emit(Told(index=index, event=replace(event, index=index)))
