"""Where the queries of all images of a run are handed in: to a model in this process, or to a service.

A desk takes as many queries as keep it busy, in the order in which they are to be served, and gives back outcomes as
they come. It holds no more than that, so that the choice of what is next is made as late as it can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.adapters.local.adapter import micro_batch
from api_smoothing.engine.sending.outcome import Open, Outcome
from api_smoothing.engine.sending.pixels import Cleaner, batch_size, draw, encode, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.sending.stream import Query

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

    def close(self) -> None:
        """Send nothing more, wait for what is under way (it is paid, and its answers are kept), end the threads."""
        ...


class Here:
    """A model in this process. The noise of the next block is drawn while this one is in the networks."""

    def __init__(self, *, card: AdapterCard, cleaner: Cleaner, sender: Sender, device: str) -> None:
        self._card, self._cleaner, self._sender, self._device = card, cleaner, sender, device
        self.fills = card.padded
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="noise")
        self._blocks: deque[tuple[Sequence[Query], Future[NDArray[Any]]]] = deque()

    @property
    def under_way(self) -> int:
        return sum(len(queries) for queries, _ in self._blocks)

    def wanted(self, shape: tuple[int, int] | None) -> Wanted:
        unit = self._unit(shape)
        if len(self._blocks) > 1:
            return Wanted(0, 0)
        return Wanted(unit if self._blocks else 1, unit)

    def put(self, queries: Sequence[Query]) -> None:
        self._blocks.append((queries, self._ahead.submit(draw, queries)))

    def call(self, function: Callable[[], None]) -> None:
        function()

    def step(self) -> Mapping[Query, Outcome]:
        if not self._blocks:
            return {}
        queries, noisy = self._blocks.popleft()
        images = self._cleaner.clean(noisy.result(), queries).float().div_(255)
        outcomes: dict[Query, Outcome] = {}
        for start in range(0, len(queries), self._card.batch):
            rows = slice(start, start + self._card.batch)
            outcomes |= self._sender.send(queries[rows], images[rows])
        return outcomes

    def close(self) -> None:
        self._sender.halt()
        self._blocks.clear()
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def _unit(self, shape: tuple[int, int] | None) -> int:
        """A network's own batch, which is as dear when it is not full; for a function, which is not, a block."""
        if not self.fills or shape is None:
            return _BLOCK
        return micro_batch(self._device.partition(":")[0], shape[0] * shape[1])


class There:
    """A service. Blocks are denoised while requests are under way, by `workers` threads at most.

    Without `workers` there are as many requests under way as use the quota at the latency seen so far. Requests are
    filled with queries of different images.
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
        return Wanted(1, self._in_flight(batch) * batch + max(_SENT_BLOCK, batch) - self._queries)

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
        while not self._done.empty():  # what came while others were counted is counted together
            future, then = self._done.get()
            if future.exception() is not None:
                self._done.put((future, then))  # ends the run, once these outcomes are with their images
                break
            outcomes |= then(future.result())
        self._go_on()
        return outcomes

    def close(self) -> None:
        self._sender.halt()
        self._ahead.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[], Any],
        then: Callable[[Any], Mapping[Query, Outcome]],
    ) -> None:
        """Have `work` done in `pool`; `then` is called with what it returns by who waits for it."""
        pool.submit(work).add_done_callback(lambda future: self._done.put((future, then)))

    def _go_on(self) -> None:
        """Keep the denoiser and the workers busy."""
        if self._raw and not self._denoising and self._is_short():
            self._denoise()
        while self._ready:
            shape = self._ready[0][0].stream.shape
            batch = self._batch(shape)
            part = _alike(self._ready, batch)
            fills_up = len(part) == len(self._ready) and bool(self._raw or self._denoising)
            if self._requests >= self._in_flight(batch) or (len(part) < batch and fills_up):
                return
            for _ in part:
                self._ready.popleft()
            self._requests += 1
            self._flying += len(part)
            self._submit(self._pool, partial(self._send, part), self._sent)

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

    def _send(self, part: Sequence[tuple[Query, NDArray[np.uint8]]]) -> Mapping[Query, Outcome]:
        factor = enlargement(*part[0][0].stream.shape, self._card)
        encoded = [encode(pixels, factor) for _, pixels in part]
        return self._sender.send([query for query, _ in part], encoded)

    def _sent(self, outcomes: Mapping[Query, Outcome]) -> Mapping[Query, Outcome]:
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
        """Requests at once: enough to use the quota at the latency seen so far."""
        if self._workers is not None:
            return self._workers
        rate = self._card.queries_per_second
        if rate is None:
            return 16
        wanted = rate / batch * max(0.5, self._sender.latency.seconds) * 1.5
        return max(1, min(_MOST_IN_FLIGHT, round(wanted) + 2))


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
