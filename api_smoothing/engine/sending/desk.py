"""Where the queries of all images of a run are handed in: to a model in this process, or to a service.

A desk takes as many queries as keep it busy, in the order in which they are to be served, and gives back outcomes as
they come. It holds no more than that, so that the choice of what is next is made as late as it can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.adapters.local.batches import micro_batch
from api_smoothing.engine.sending.noisy import draw_on
from api_smoothing.engine.sending.outcome import Open, Outcome
from api_smoothing.engine.sending.pixels import Cleaner, batch_size, encode, enlargement, for_model
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.sending.stream import Query
from api_smoothing.interrupts import uninterrupted
from api_smoothing.precision import devices

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_BLOCK: Final = 256  # queries a function is asked together
_SENT_BLOCK: Final = 64  # for services: small, so that the first requests leave while the rest is denoised
_MOST_IN_FLIGHT: Final = 64


class Wanted(NamedTuple):
    """How many more queries, all of one shape, a desk takes: none unless there are `least`; `most` at once."""

    least: int
    most: int


class Desk(Protocol):
    """Takes queries and brings their outcomes. For one thread, which hands in and waits."""

    #: Whether room left in a batch costs nothing, so that it may be filled with queries that may be needed next.
    fills: bool

    @property
    def under_way(self) -> int:
        """Queries and calls without an outcome yet."""
        ...

    def wanted(self, shape: tuple[int, int] | None) -> Wanted:
        """How many more queries it takes now, the next one being of an image of `shape`."""
        ...

    def put(self, queries: Sequence[Query]) -> None:
        """Hand in queries of one shape, first come first served."""
        ...

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` called, which may take as long as a request; it must not raise."""
        ...

    def step(self) -> Mapping[Query, Outcome]:
        """Wait until something came of what is under way; what is nobody's any more comes as `Open.ENDED`.

        Raises what ended the run.
        """
        ...

    def close(self) -> Mapping[Query, Outcome]:
        """Send nothing more, wait for what is under way (it is paid, and its answers are kept), end the threads.

        Returns what came of it.
        """
        ...


class Here:
    """A model in this process. The noise of the next block is drawn while this one is in the networks.

    With several devices blocks go to them in turn, each of which has a thread, and come back in the order they went.
    """

    def __init__(self, *, card: AdapterCard, cleaner: Cleaner, sender: Sender, device: str) -> None:
        self._card, self._cleaner, self._sender = card, cleaner, sender
        self.fills = card.padded
        self._devices = devices(device)
        self._lanes = [_Lane(name, alone=len(self._devices) == 1) for name in self._devices]
        self._turns = cycle(self._lanes)
        self._blocks: deque[_Block] = deque()

    @property
    def under_way(self) -> int:
        return sum(len(block.queries) for block in self._blocks)

    def wanted(self, shape: tuple[int, int] | None) -> Wanted:
        unit, busy = self._unit(shape), len(self._blocks)
        if busy >= 2 * len(self._devices):
            return Wanted(0, 0)
        return Wanted(unit if busy >= len(self._devices) else 1, unit)

    def put(self, queries: Sequence[Query]) -> None:
        self._blocks.append(next(self._turns).hand_in(queries, self._ask))

    def call(self, function: Callable[[], None]) -> None:
        function()

    def step(self) -> Mapping[Query, Outcome]:
        if not self._blocks:
            return {}
        return self._blocks.popleft().outcomes()

    def close(self) -> Mapping[Query, Outcome]:
        self._sender.halt()
        for lane in self._lanes:
            lane.close()
        outcomes = self._sender.cut_short
        for block in self._blocks:
            outcomes |= block.answered()
        self._blocks.clear()
        return outcomes

    def _ask(self, noisy: Tensor, queries: Sequence[Query]) -> Mapping[Query, Outcome]:
        images = for_model(self._cleaner.clean(noisy, queries))
        outcomes: dict[Query, Outcome] = {}
        for start in range(0, len(queries), self._card.batch):
            rows = slice(start, start + self._card.batch)
            outcomes |= self._sender.send(queries[rows], images[rows])
        return outcomes

    def _unit(self, shape: tuple[int, int] | None) -> int:
        """A network's own batch, which is as dear when it is not full; for a function, which is not, a block."""
        if not self.fills or shape is None:
            return _BLOCK
        return micro_batch(self._devices[0], shape[0] * shape[1])


class _Block(NamedTuple):
    """Queries handed in at one device: `outcomes` waits for what came of them, or asks, where no thread does."""

    queries: Sequence[Query]
    outcomes: Callable[[], Mapping[Query, Outcome]]
    asked: Future[Mapping[Query, Outcome]] | None

    def answered(self) -> Mapping[Query, Outcome]:
        """What came of them, once all threads have ended."""
        asked = self.asked
        return {} if asked is None or asked.cancelled() or asked.exception() else asked.result()


class _Lane:
    """One device: a thread that draws noise ahead, and one for the networks: the caller's if it is `alone`."""

    def __init__(self, device: str, *, alone: bool) -> None:
        self._device = device
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="noise")
        self._networks = None if alone else ThreadPoolExecutor(1, thread_name_prefix="networks")

    def hand_in(
        self, queries: Sequence[Query], ask: Callable[[Tensor, Sequence[Query]], Mapping[Query, Outcome]]
    ) -> _Block:
        """Begin with the noise; `ask` goes on with it."""
        noisy = _handed_in(self._ahead, partial(draw_on, self._device, queries))

        def work() -> Mapping[Query, Outcome]:
            return ask(_waited_for(noisy), queries)

        if self._networks is None:
            return _Block(queries, work, None)
        asked = _handed_in(self._networks, work)
        return _Block(queries, partial(_waited_for, asked), asked)

    def close(self) -> None:
        for pool in (self._networks, self._ahead):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)


def _handed_in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
    with uninterrupted:  # pool and threads share locks that an interrupt would leave taken
        return pool.submit(work)


def _waited_for(future: Future[T]) -> T:
    with uninterrupted:  # a block of noise, or of answers
        return future.result()


class There:
    """A service. Blocks are denoised while requests are under way, by `workers` threads at most.

    Without `workers` there are as many requests under way as use the quota at the latency seen so far. Requests are
    filled with queries of different images. One that is not full leaves no room for those of others that are, and lets
    no more queries through in its turn: so none is made while an earlier one waits for its turn.
    """

    fills = False  # each query is paid

    def __init__(
        self, *, card: AdapterCard, cleaner: Cleaner, sender: Sender, workers: int | None = None
    ) -> None:
        self._card, self._cleaner, self._sender, self._workers = card, cleaner, sender, workers
        self._batches: dict[tuple[int, int], int] = {}
        self._pool = ThreadPoolExecutor(workers or _MOST_IN_FLIGHT, thread_name_prefix="send")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="denoise")
        self._done: SimpleQueue[tuple[Future[Any], Callable[[Any], Mapping[Query, Outcome]]]] = SimpleQueue()
        self._raw: deque[Query] = deque()
        self._denoising = 0
        self._ready: deque[tuple[Query, NDArray[np.uint8]]] = deque()
        self._flying = self._requests = self._calls = 0
        self._in_line = set[object]()  # requests whose turn has not come
        self._no_work = Future[None]()  # in place of work that is done: something else is to be heard
        self._no_work.set_result(None)
        self._dropped: dict[Query, Outcome] = {}

    @property
    def under_way(self) -> int:
        return self._queries + self._calls

    @property
    def _queries(self) -> int:
        return len(self._raw) + self._denoising + len(self._ready) + self._flying + len(self._dropped)

    def wanted(self, shape: tuple[int, int] | None) -> Wanted:
        if shape is None:
            return Wanted(1, _SENT_BLOCK)
        batch = self._batch(shape)
        ahead = max(_SENT_BLOCK, batch) if self._cleaner.denoises else batch
        return Wanted(1, self._in_flight(batch) * batch + ahead - self._queries)

    def put(self, queries: Sequence[Query]) -> None:
        self._raw.extend(queries)
        self._go_on()

    def call(self, function: Callable[[], None]) -> None:
        self._calls += 1
        self._submit(self._pool, function, self._called)

    def step(self) -> Mapping[Query, Outcome]:
        self._go_on()
        if self._dropped or not self.under_way:
            dropped, self._dropped = self._dropped, {}
            return dropped
        future, then = self._done.get()
        outcomes = dict(then(future.result()))
        while future is self._no_work and self._in_line:  # nobody needs to be asked for more
            self._go_on()
            future, then = self._done.get()
            outcomes = dict(then(future.result()))
        while not self._done.empty():  # what came while others were counted is counted together
            future, then = self._done.get()
            if future.exception() is not None:
                self._done.put((future, then))  # ends the run, once these outcomes are with their images
                break
            outcomes |= then(future.result())
        self._go_on()
        return outcomes

    def close(self) -> Mapping[Query, Outcome]:
        self._sender.halt()
        self._ahead.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        outcomes = self._sender.cut_short
        while not self._done.empty():
            future, then = self._done.get()
            if not future.cancelled() and future.exception() is None:
                outcomes |= then(future.result())
        return outcomes

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[], Any],
        then: Callable[[Any], Mapping[Query, Outcome]],
    ) -> None:
        """Have `work` done in `pool`; `then` is called with what it returns by who waits for it."""
        with uninterrupted:
            pool.submit(work).add_done_callback(lambda future: self._done.put((future, then)))

    def _go_on(self) -> None:
        """Keep the denoiser and the workers busy."""
        if self._raw and not self._denoising and self._is_short():
            self._denoise()
        while self._ready:
            shape = self._ready[0][0].stream.shape
            batch = self._batch(shape)
            part = _alike(self._ready, batch)
            more = self._denoising or (self._raw and self._raw[0].stream.shape == shape)
            fills_up = len(part) == len(self._ready) and bool(more or self._in_line)
            if self._requests >= self._in_flight(batch) or (len(part) < batch and fills_up):
                return
            for _ in part:
                self._ready.popleft()
            self._requests += 1
            self._flying += len(part)
            request = object()
            self._in_line.add(request)
            self._submit(self._pool, partial(self._send, part, request), partial(self._sent, request))

    def _is_short(self) -> bool:
        """Whether a block is full, or workers would soon be idle."""
        if len(self._raw) >= _SENT_BLOCK:
            return True
        batch = self._batch(self._raw[0].stream.shape)
        return len(self._ready) < max(1, self._in_flight(batch) - self._requests) * batch

    def _denoise(self) -> None:
        shape = self._raw[0].stream.shape
        most = max(_SENT_BLOCK, self._batch(shape))
        block: list[Query] = []
        while self._raw and len(block) < most and self._raw[0].stream.shape == shape:
            query = self._raw.popleft()
            if query.stream.ended.is_set():
                self._dropped[query] = Open.ENDED
            else:
                block.append(query)
        if block:
            self._denoising = len(block)
            self._submit(self._ahead, partial(self._cleaner.pixels, block), partial(self._denoised, block))

    def _denoised(self, block: Sequence[Query], pixels: NDArray[np.uint8]) -> Mapping[Query, Outcome]:
        self._denoising = 0
        self._ready.extend(zip(block, pixels, strict=True))
        return {}

    def _send(
        self, part: Sequence[tuple[Query, NDArray[np.uint8]]], request: object
    ) -> Mapping[Query, Outcome]:
        factor = enlargement(*part[0][0].stream.shape, self._card)
        encoded = [encode(pixels, factor) for _, pixels in part]
        leaving = partial(self._done.put, (self._no_work, partial(self._left, request)))
        return self._sender.send([query for query, _ in part], encoded, leaving=leaving)

    def _left(self, request: object, _: object) -> Mapping[Query, Outcome]:
        self._in_line.discard(request)
        return {}

    def _sent(self, request: object, outcomes: Mapping[Query, Outcome]) -> Mapping[Query, Outcome]:
        self._in_line.discard(request)
        self._requests -= 1
        self._flying -= len(outcomes)
        return outcomes

    def _called(self, _: object) -> Mapping[Query, Outcome]:
        self._calls -= 1
        return {}

    def _batch(self, shape: tuple[int, int]) -> int:
        """Images a request takes; looked for once, as it is asked for with every outcome."""
        if shape not in self._batches:
            factor = enlargement(*shape, self._card)
            self._batches[shape] = batch_size(shape[0] * factor, shape[1] * factor, self._card)
        return self._batches[shape]

    def _in_flight(self, batch: int) -> int:
        """Requests at once: enough to use the quota at the latency seen so far.

        Where others use the quota too, few leave: then there are those that left, and those next in line.
        """
        most = self._requests - len(self._in_line) + self._sender.near
        if self._workers is not None:
            return min(self._workers, most)
        rate = self._card.queries_per_second
        if rate is None:
            return 16
        wanted = rate / batch * max(0.5, self._sender.latency.seconds) * 1.5
        return max(1, min(_MOST_IN_FLIGHT, round(wanted) + 2, most))


def _alike(
    ready: Iterable[tuple[Query, NDArray[np.uint8]]], most: int
) -> list[tuple[Query, NDArray[np.uint8]]]:
    """The first rows, `most` at most, that are of one shape."""
    part: list[tuple[Query, NDArray[np.uint8]]] = []
    for row in islice(ready, most):
        if part and row[1].shape != part[0][1].shape:
            break
        part.append(row)
    return part
