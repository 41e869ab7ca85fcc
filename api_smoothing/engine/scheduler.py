"""Many images driven at once: what their votes need is asked together, and counted for each on its own.

Certifiers say how many votes they need, votes say which queries those are, and a desk takes as many queries as keep
networks or quota busy. So many images are open as have queries for it, and no more. Which of them is served first is a
policy: by default the earliest, so that a budget is spent on the earliest images. One image is the case of one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from api_smoothing.certify.base import FAILED
from api_smoothing.engine.sending import Desk, Open, Outcome, Query, Sender, Stopwatch, Stream
from api_smoothing.engine.votes import QueryCount, Vote, Votes
from api_smoothing.images import Later

_POLL: Final = 0.05  # seconds between looks for an answer another process is asking for
IMAGES: Final = 256  # open at once, whatever it takes to keep busy
_MOST_AHEAD: Final = 1024  # images between the earliest that is not done and the latest
_FAILURES: Final = 256  # attempts of one image that may fail without a later one having had their money

T = TypeVar("T")


class Counts(Protocol):
    """A certifier, as far as driving it goes."""

    def need(self) -> int: ...

    def add(self, answers: Sequence[Vote], /) -> None: ...


class Everything:
    """In place of a certifier: keeps the first `count` votes."""

    def __init__(self, count: int) -> None:
        self._count, self.votes = count, list[Vote]()

    def need(self) -> int:
        return self._count - len(self.votes)

    def add(self, answers: Sequence[Vote], /) -> None:
        self.votes += answers


@dataclass(eq=False, slots=True, kw_only=True)
class Item(Generic[T]):
    """One image that is being asked about: its `stream` and `votes`, the `certifier` that counts them, and `result`.

    `most` is how many votes it may take at all, if that is known; `on_round` is told whenever some were counted.
    """

    stream: Stream
    votes: Votes
    certifier: Counts
    result: Callable[[], T]
    on_round: Callable[[QueryCount], None] = lambda count: None
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(Generic[T]):
    """An image that can be opened: `stream` is known without, and `begin` charges the look and makes the item.

    It waits until it is `ready`, which it must be once all before it are done.
    """

    stream: Stream
    begin: Callable[[], Item[T]]
    ready: Callable[[], bool] = lambda: True


@dataclass(eq=False, slots=True)
class _Place(Generic[T]):
    """The place of an image in the order of results."""

    number: int
    item: Item[T] | None = None
    pending: deque[int] = field(default_factory=deque)  # needed, and not yet handed in
    under_way: int = 0
    outcomes: int = 0  # of the queries that were asked here
    elsewhere: bool = False  # nothing to ask here, while another process asks
    ending: bool = False  # no more votes are wanted
    finishing: bool = False
    result: T | None = None
    error: Exception | None = None
    done: bool = False

    @property
    def of(self) -> Item[T]:
        """The item of an image that was opened."""
        assert self.item is not None
        return self.item


#: The order in which open images are served, given them in the order of the images.
Policy = Callable[[Sequence[_Place[Any]]], Iterable[_Place[Any]]]


def earliest(places: Sequence[_Place[Any]]) -> Iterable[_Place[Any]]:
    """The image that comes first is served first."""
    return places


class Scheduler(Generic[T]):
    """Drives images to their ends over one desk, and gives their results in order.

    `most` is how many queries an image may take at all. Later images are opened, and asked about, while the budget,
    of which `affordable` queries are left, surely pays those before them to their ends (`cost`). So what is certified
    does not depend on how many are open, as long as no image has more than _FAILURES attempts that fail. `images`
    bounds how many are open at once. `stopwatch` counts the time that queries take.
    """

    def __init__(
        self,
        desk: Desk,
        sender: Sender,
        *,
        affordable: Callable[[], int | None],
        most: int | None = None,
        images: int = IMAGES,
        policy: Policy = earliest,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._desk, self._sender = desk, sender
        self._affordable, self._most, self._images, self._policy = affordable, most, images, policy
        self._stopwatch = stopwatch or Stopwatch()
        self._places: deque[_Place[T]] = deque()  # whose result is not handed out, in order
        self._open: list[_Place[T]] = []
        self._of: dict[Stream, _Place[T]] = {}
        self._opened = 0
        self._next: Opening[T] | None = None
        self._exhausted = self._closed = False
        self._failed = (
            math.inf
        )  # the number of the first image that raises, after which nothing more is asked
        self._looked = 0.0
        self._unwritten: list[Stream] = []  # of images that raised: their answers are kept at the end
        self._left: int | None = None  # of the budget, as it was last seen, where images share it

    def results(self, openings: Iterable[Opening[T] | Later]) -> Generator[T]:
        """The result of each image, in order. What an image raises is raised in its turn, and ends the run.

        Openings that come LATER are waited for while others are asked about. What ends the run for all images is raised
        once those that were done before are handed out.
        """
        source, fatal = iter(openings), None
        try:
            while fatal is None:
                self._leave()  # an image may end in another thread
                self._hand_in(source)
                if not self._places and self._exhausted:
                    return
                if self._places and self._places[0].done:
                    yield from self._in_order()
                else:
                    try:
                        self._go_on()
                    except Exception as error:
                        fatal = error
            self._close()
            yield from self._in_order()
            raise fatal
        finally:
            try:
                self._desk.close()
            finally:
                for stream in [*self._unwritten, *(place.of.stream for place in self._open)]:
                    stream.answers.flush()

    def _close(self) -> None:
        """End the run early, with the images whose votes are all there when what is under way has come in."""
        self._closed = True
        self._hand_out(self._desk.close())
        for place in self._open:
            if place.ending and not place.done:
                _finish(place)
                place.done = place.error is None

    def _in_order(self) -> Iterator[T]:
        """The results that are due."""
        while self._places and self._places[0].done:
            place = self._places.popleft()
            if place.error is not None:
                raise place.error
            yield cast("T", place.result)

    def _hand_in(self, source: Iterator[Opening[T] | Later]) -> None:
        """Give the desk what it takes, opening images for it."""
        self._look_what_is_left()
        while True:
            shape = self._shape()
            least, most = self._desk.wanted(shape)
            if most < max(least, 1):
                return
            if sum(len(place.pending) for place in self._open) < most and self._open_next(source):
                if self._places[0].done:
                    return  # a result is due
                continue
            if shape is None or self._available(shape) < least:
                return
            queries = self._pull(shape, most)
            if self._desk.fills and len(queries) < most and not self._desk.under_way:
                queries += self._early(shape, most - len(queries))
            self._desk.put(queries)

    def _look_what_is_left(self) -> None:
        """See what there is for several images; one may have it all."""
        self._left = self._affordable() if len(self._open) > 1 else None

    def _open_next(self, source: Iterator[Opening[T] | Later]) -> bool:
        """Open one more image; False where there is none, or where it has to wait."""
        if self._failed < math.inf or len(self._open) >= self._images or len(self._places) >= _MOST_AHEAD:
            return False
        place: _Place[T] = _Place(self._opened)
        try:
            if self._next is None and not self._exhausted:
                if isinstance(found := next(source, None), Later):
                    return False
                self._next, self._exhausted = found, found is None
            if self._next is None or self._is_open(self._next.stream) or not self._pays():
                return False
            if not self._next.ready():
                return False
            opening, self._next = self._next, None
            place.item = opening.begin()
        except Exception as error:
            self._exhausted = True
            self._fail(place, error)
        self._opened += 1
        self._places.append(place)
        if place.item is not None:
            self._open.append(place)
            self._of[place.item.stream] = place
            self._look_what_is_left()
            self._advance(place)
        return True

    def _is_open(self, stream: Stream) -> bool:
        """Whether the same picture is being asked about: its answers will do for both."""
        return any(stream.name == place.of.stream.name for place in self._open)

    def _pays(self) -> bool:
        """Whether the budget surely pays one more image beside those that are open."""
        affordable = self._affordable()
        if affordable is None or not self._open:
            return True
        if self._most is None:
            return False
        return affordable >= sum(cost(self._to_come(place)) for place in self._open) + self._most

    def _shape(self) -> tuple[int, int] | None:
        """That of the image to be served first."""
        return next((place.of.stream.shape for place, _ in self._served()), None)

    def _served(self) -> Iterator[tuple[_Place[T], int]]:
        """The images to be asked about now, in order, and how many queries of each.

        A query of a later image is handed in while the budget holds the `cost` of what is to come of each image
        before it, and of what is under way of itself and those after it. What these pay from then on, with the
        attempts that fail, is within their own costs: so each image finds what it needs, as it would alone.
        """
        rest = None
        if self._left is not None and self._most is not None:
            rest = self._left - sum(cost(place.under_way) for place in self._open)
        for number, place in enumerate(self._policy(self._open)):
            if place.number >= self._failed:
                continue
            count = len(place.pending)
            if rest is not None:
                under_way = cost(place.under_way)
                if number:  # the first may have all there is
                    count = min(count, _paid_by(rest + under_way) - place.under_way)
                rest -= cost(self._to_come(place)) - under_way
            if count > 0:
                yield place, count

    def _to_come(self, place: _Place[T]) -> int:
        """The most queries of an image that may still come to an outcome."""
        return max(0, (self._most or 0) - place.outcomes - place.of.votes.count.cached)

    def _available(self, shape: tuple[int, int] | None) -> int:
        return sum(count for place, count in self._served() if place.of.stream.shape == shape)

    def _pull(self, shape: tuple[int, int], most: int) -> list[Query]:
        """The next `most` queries."""
        queries: list[Query] = []
        for place, count in self._served():
            if place.of.stream.shape != shape:
                continue
            if len(queries) == most:
                break
            for _ in range(min(count, most - len(queries))):
                queries.append(Query(place.of.stream, place.pending.popleft()))
                place.under_way += 1
        return queries

    def _early(self, shape: tuple[int, int], room: int) -> list[Query]:
        """Queries that may be needed next, `room` at most: the same number of each image."""
        if self._affordable() is not None:
            return []
        places = [p for p in self._policy(self._open) if p.number < self._failed and not p.ending]
        places = [p for p in places if p.of.stream.shape == shape]
        queries: list[Query] = []
        for left, place in zip(range(len(places), 0, -1), places, strict=True):
            share = (room - len(queries)) // left
            early = place.of.votes.ahead(share, most=place.of.most) if share else ()
            queries += [Query(place.of.stream, index) for index in early]
            place.under_way += len(early)
        return queries

    def _go_on(self) -> None:
        """Wait for outcomes, and count them."""
        if not self._desk.under_way:
            time.sleep(_POLL)  # all that is open waits for others
        with self._stopwatch.running():
            brought = self._desk.step()
        self._stopwatch.count(sum(not isinstance(outcome, Open) for outcome in brought.values()))
        self._hand_out(brought)
        if time.monotonic() - self._looked >= _POLL:
            self._looked = time.monotonic()
            for place in [place for place in self._open if place.elsewhere and not place.ending]:
                self._advance(place)

    def _hand_out(self, brought: Mapping[Query, Outcome]) -> None:
        """Give each image what came of its queries."""
        by_place: dict[_Place[T], dict[int, Outcome]] = {}
        for query, outcome in brought.items():
            if (place := self._of.get(query.stream)) is not None:
                by_place.setdefault(place, {})[query.number] = outcome
        for place, outcomes in by_place.items():
            place.under_way -= len(outcomes)
            place.outcomes += sum(not isinstance(outcome, Open) for outcome in outcomes.values())
            self._give(place, outcomes)

    def _give(self, place: _Place[T], outcomes: Mapping[int, Outcome]) -> None:
        if place.done:
            return
        if place.of.stream.error is not None:
            self._fail(place, place.of.stream.error)
            return
        place.of.votes.give(outcomes)
        self._advance(place)

    def _advance(self, place: _Place[T]) -> None:
        """Count the votes that are there, and see what is needed then."""
        try:
            self._count(place)
        except Exception as error:
            self._fail(place, error)
        if place.ending and not (place.under_way or place.finishing or place.done or self._closed):
            place.finishing = True
            self._desk.call(partial(_finish, place))
            self._leave()

    def _count(self, place: _Place[T]) -> None:
        votes, certifier = place.of.votes, place.of.certifier
        while not place.ending:
            if not (new := votes.take()):
                if votes.settled:
                    count = 0 if votes.count.out_of_budget else certifier.need()
                    if not count:
                        place.ending = True
                        return
                    votes.expect(count)
                place.pending.extend(votes.need())
                if not (new := votes.take()):  # what is kept needs no asking
                    if votes.settled:
                        continue
                    place.elsewhere = not (place.pending or place.under_way)
                    return
            certifier.add(new)
            place.of.on_round(votes.count)
            if FAILED in new and not certifier.need():  # so many failed that the rest is not asked
                place.ending = True
                place.pending.clear()
                if place.under_way:
                    self._sender.end(place.of.stream)

    def _fail(self, place: _Place[T], error: Exception) -> None:
        """Raise `error` in the turn of this image; those before it go on."""
        place.error, place.ending, place.done = error, True, True
        self._failed = min(self._failed, place.number)
        if place.item is not None:
            place.pending.clear()
            self._sender.end(place.item.stream)

    def _leave(self) -> None:
        """Close the images that are done."""
        for place in [place for place in self._open if place.done]:
            self._open.remove(place)
            stream = place.of.stream
            del self._of[stream]
            place.item = None  # its pixels: many results may wait for an earlier one
            if place.error is not None:
                self._failed = min(self._failed, place.number)
                self._unwritten.append(stream)


def cost(queries: int) -> int:
    """What so many queries of one image may cost at most, failed attempts included: these are paid, and made again."""
    return queries and queries + max(_FAILURES, queries // 2)


def _paid_by(budget: int) -> int:
    """The most queries whose `cost` is within `budget`."""
    return max(0, min(budget - _FAILURES, (2 * budget + 1) // 3))


def _finish(place: _Place[Any]) -> None:
    """The end of an image whose votes are all there; it may ask the canary."""
    item = place.of
    try:
        item.votes.finish()
        item.stream.answers.flush()
        place.result = item.result()
    except Exception as error:
        place.error = error
    place.done = True
