"""Which worker is handed which image, and when again: images in, certificates in order out, however workers end.

Images are handed out one by one, to the worker with the fewest, as workers begin with those they have. So batches are
full in every worker, the driver holds no more images than workers do, and little is lost with a worker. One that is
gone is replaced, and its images are handed out again: what was paid for them is kept where all workers look, and is
read. Where nobody outside is asked, an image that takes long is given to an idle worker as well, and the first
certificate counts; where queries are paid it never is.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from api_smoothing import errors
from api_smoothing.cluster.engine import Engine, Worker
from api_smoothing.cluster.messages import Done, Ended, Failed, Lost, Message, Ready, Task, Told
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.engine.lessons import Lessons, lesson_of
from api_smoothing.errors import ProviderError
from api_smoothing.events import Event, ImageStarted
from api_smoothing.images import Later, Loaded
from api_smoothing.interrupts import uninterrupted
from api_smoothing.results import Certificate

_UNOPENED: Final = 4  # images that a worker has and has not begun: what it takes to have no pause
_MOST_AHEAD: Final = 1024  # images between the earliest that is not done and the latest
_TRIES: Final = 5  # workers that may be lost with an image, after which the image is what ends them
_LOSSES: Final = 8  # workers lost one after the other without any certificate
_SLOW: Final = 3.0  # times the usual time of an image, after which an idle worker has it as well
_SLOW_SECONDS: Final = 10.0  # and never before
_LOOK: Final = 1.0  # seconds between looks, when nobody says anything
_PATIENCE: Final = 120.0  # seconds in which the first worker of all must be ready, or one again
_DRAIN: Final = 90.0  # seconds for what is under way when a run ends early: longer than a request may take


@dataclass(eq=False, slots=True)
class _Place:
    """A worker, with the images it has: those of `unopened` it has not begun."""

    worker: Worker
    recipe: Recipe
    ready: bool = False
    held: dict[int, float] = field(default_factory=dict)  # when each was handed to it
    unopened: set[int] = field(default_factory=set)


class Dispatch:
    """One run. `pays` says whether the budget surely pays for so many images at once; `tell` hears the events.

    With `lessons` an image is handed out when those that teach it are done, with the prior that they have taught.
    """

    def __init__(
        self,
        engine: Engine,
        recipes: Sequence[Recipe],
        *,
        pays: Callable[[int], bool],
        tell: Callable[[Event], object],
        lessons: Lessons | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lessons = lessons
        self._engine, self._recipes, self._pays, self._tell, self._clock = engine, recipes, pays, tell, clock
        self._pure = recipes[0].pure
        self._places: dict[Worker, _Place] = {}
        self._tasks: dict[int, Task] = {}  # handed out or to be, and not done
        self._again: list[int] = []  # of those whose worker is gone, a heap
        self._told: dict[int, Worker] = {}  # whose events of an image are told on
        self._kept: dict[
            tuple[Worker, int], list[Event]
        ] = {}  # those of a second worker, until it was the first
        self._results: dict[int, Certificate] = {}
        self._read = self._next = 0  # images read, and handed out as results
        self._exhausted = False
        self._error: tuple[int, Exception] | None = None
        self._lost: dict[int, int] = {}
        self._losses = 0
        self._took: deque[float] = deque(maxlen=99)
        self._retired: set[str | None] = set()  # accounts whose own budget is spent
        self._without = self._clock()  # since when nobody is ready

    def results(self, images: Iterator[Loaded | Later]) -> Generator[Certificate]:
        """The certificate of each image, in order. An error is raised in its turn, and ends the run.

        An image that comes LATER is asked for again once something was heard or handed out.
        """
        try:
            count = max(self._engine.open(self._recipes[0]), len(self._recipes))
            for number in range(count):
                self._hire(self._recipes[number % len(self._recipes)])
            while not self._is_over():
                if self._error is not None and (self._next >= self._error[0] or not self._places):
                    raise self._error[1]
                if self._next in self._results:
                    yield self._results.pop(self._next)
                    self._next += 1
                    continue
                self._hand_out(images)
                if not self._is_over():
                    self._listen(_LOOK)
            if self._error is not None:
                raise self._error[1]
        finally:
            try:
                self._end()
            finally:
                self._engine.close()

    def _is_over(self) -> bool:
        """Whether every image is certified and handed out."""
        return self._exhausted and not self._tasks and self._next == self._read

    def _hire(self, recipe: Recipe) -> None:
        with uninterrupted:  # one that nobody knows of would not be ended
            worker = self._engine.hire(recipe)
            self._places[worker] = _Place(worker, recipe)

    def _hand_out(self, images: Iterator[Loaded | Later]) -> None:
        while (place := self._hungriest()) is not None and (task := self._next_task(images)) is not None:
            self._hand(place, task)
        if self._pure and self._exhausted and not self._again:
            self._help()

    def _hungriest(self) -> _Place | None:
        """The worker to be handed the next image."""
        retired = self._retired if self._has_others(self._retired) else ()
        free = [
            place
            for place in self._places.values()
            if place.ready and len(place.unopened) < _UNOPENED and place.recipe.account not in retired
        ]
        return min(free, key=lambda place: (len(place.unopened), len(place.held)), default=None)

    def _next_task(self, images: Iterator[Loaded | Later]) -> Task | None:
        """The earliest image that nobody has, if the budget pays it beside those that somebody has."""
        held = len(self._tasks) - len(self._again)
        if held and not self._pays(held + 1):
            return None
        while self._again:
            if (task := self._tasks.get(heapq.heappop(self._again))) is not None:
                return task
        if self._exhausted or self._error is not None or self._read - self._next >= _MOST_AHEAD:
            return None
        if self._lessons is not None and not self._lessons.ready(self._read):
            return None
        try:
            image = next(images, None)
        except Exception as error:
            self._fail(self._read, error)
            return None
        if image is None:
            self._exhausted = True
        if image is None or isinstance(image, Later):
            return None
        prior = None if self._lessons is None else self._lessons.prior(self._read, image.digest.hex())
        task = self._tasks[self._read] = Task(index=self._read, image=image, prior=prior)
        self._read += 1
        return task

    def _hand(self, place: _Place, task: Task) -> None:
        place.held[task.index] = self._clock()
        place.unopened.add(task.index)
        self._told.setdefault(task.index, place.worker)
        place.worker.put([task])

    def _help(self) -> None:
        """Give idle workers the images that take long."""
        for idle in [place for place in self._places.values() if place.ready and not place.held]:
            slow = max(_SLOW_SECONDS, _SLOW * median(self._took)) if self._took else _SLOW_SECONDS
            holders: dict[int, list[float]] = {}
            for place in self._places.values():
                for index in place.held.keys() & self._tasks.keys():
                    holders.setdefault(index, []).append(place.held[index])
            late = [(since[0], index) for index, since in holders.items() if len(since) == 1]
            since, index = min(late, default=(self._clock(), -1))
            if self._clock() - since < slow:
                return
            self._hand(idle, self._tasks[index])

    def _listen(self, seconds: float) -> None:
        for worker, message in self._engine.wait(list(self._places), seconds):
            if (place := self._places.get(worker)) is not None:
                self._take(place, message)
        if any(place.ready for place in self._places.values()):
            self._without = self._clock()
        elif self._clock() - self._without > _PATIENCE:
            raise ProviderError(
                f"no worker was ready in {_PATIENCE:.0f} s: see that the cluster has free processors"
            )

    def _take(self, place: _Place, message: Message) -> None:
        match message:
            case Ready():
                place.ready = True
            case Told(index=None):
                self._tell(message.event)
            case Told():
                self._hear(place, message)
            case Done():
                self._finish(place, message)
            case Failed():
                self._drop(place)
                self._fail(self._next if message.index is None else message.index, raised(message))
            case Lost():
                self._lose(place, message)
            case Ended():
                self._drop(place)

    def _hear(self, place: _Place, told: Told) -> None:
        """Tell observers what one worker says of an image; another one's words wait for its certificate."""
        assert told.index is not None
        if isinstance(told.event, ImageStarted):
            place.unopened.discard(told.index)
        if told.index not in self._tasks:
            return
        if self._told.setdefault(told.index, place.worker) is place.worker:
            self._tell(told.event)
        else:
            self._kept.setdefault((place.worker, told.index), []).append(told.event)

    def _finish(self, place: _Place, done: Done) -> None:
        index, found = done.index, done.certificate
        since = place.held.pop(index, None)
        place.unopened.discard(index)
        kept = self._kept.pop((place.worker, index), [])
        if index not in self._tasks:
            return
        if found.stopped == "budget" and self._is_of_one_account(place):
            self._retired.add(place.recipe.account)
            if self._has_others(self._retired):
                self._told.pop(index, None)
                heapq.heappush(self._again, index)  # another account goes on with what is kept
                return
        if self._told.get(index) is not place.worker:
            for event in kept:
                self._tell(event)
        self._losses = 0
        if since is not None:
            self._took.append(self._clock() - since)
        if self._lessons is not None:
            self._lessons.done(index, lesson_of(found))
        for gone in (self._tasks, self._told, self._lost):
            gone.pop(index, None)
        self._results[index] = found

    def _has_others(self, accounts: Collection[str | None]) -> bool:
        """Whether there are accounts besides these."""
        return any(recipe.account not in accounts for recipe in self._recipes)

    def _is_of_one_account(self, place: _Place) -> bool:
        """Whether the budget that its worker pays from is its account's own."""
        return len({str(recipe.arguments["budget"].run) for recipe in self._recipes}) > 1

    def _lose(self, place: _Place, lost: Lost) -> None:
        """Replace a worker that is gone, and hand its images out again."""
        begun = set(place.held) - place.unopened
        self._drop(place)
        self._losses += 1
        for index in sorted(begun & self._tasks.keys(), reverse=True):
            self._lost[index] = self._lost.get(index, 0) + 1
            if self._lost[index] >= _TRIES:
                why = f"{_TRIES} workers were lost with this image ({lost.reason})"
                self._fail(index, ProviderError(f"{self._tasks[index].image.source}: {why}"))
        if self._losses >= _LOSSES:
            self._fail(self._next, ProviderError(f"{_LOSSES} workers were lost, the last one: {lost.reason}"))
        if self._error is None:
            self._hire(place.recipe)

    def _drop(self, place: _Place) -> None:
        """Forget a worker; what only it had is to be handed out again."""
        del self._places[place.worker]
        elsewhere = {index for other in self._places.values() for index in other.held}
        for index in place.held:
            self._kept.pop((place.worker, index), None)
            if index in self._tasks and self._told.get(index) is place.worker:
                del self._told[index]
            if index in self._tasks and index not in elsewhere:
                heapq.heappush(self._again, index)

    def _fail(self, index: int, error: Exception) -> None:
        """Raise `error` in the turn of that image; those before it go on, and nothing after it does."""
        if self._error is None or index < self._error[0]:
            self._error = index, error
        for late in [late for late in self._tasks if late >= self._error[0]]:
            del self._tasks[late]

    def _end(self) -> None:
        """End all workers: at once where nothing is paid, else when what is under way is kept."""
        with uninterrupted:
            if self._pure or not any(place.held for place in self._places.values()):
                for place in self._places.values():
                    place.worker.kill()
                return
            for place in self._places.values():
                place.worker.stop()
        until = self._clock() + _DRAIN
        try:
            while self._places and (left := until - self._clock()) > 0:
                for worker, message in self._engine.wait(list(self._places), min(left, _LOOK)):
                    if isinstance(message, Ended | Failed | Lost):
                        self._places.pop(worker, None)
                    elif isinstance(message, Told) and worker in self._places:
                        self._hear(self._places[worker], message)
        finally:
            with uninterrupted:
                for place in self._places.values():
                    place.worker.kill()


def raised(failed: Failed) -> Exception:
    """The error that a worker has ended with, as it was there."""
    kind = getattr(errors, failed.kind, None) if failed.kind else None
    if isinstance(kind, type) and issubclass(kind, errors.ApiSmoothError):
        error = kind.__new__(kind)
        Exception.__init__(error, failed.text)
        return error
    return RuntimeError(failed.text)
