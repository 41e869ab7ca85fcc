"""Queries on their way through noise, denoiser and provider."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of, says, sender_of

from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.engine.sending import Cleaner, Here, Query, Sender, Stream, There, drawing
from api_smoothing.engine.sending.outcome import FirstRequestGate
from api_smoothing.engine.storage.answers import MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import ProviderError
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Budget


def test_waiting_for_an_answer_costs_nothing() -> None:
    """Queries that another process is asking are denoised at most once here."""

    class Identity:
        compute, paths_per_query = "fp32", 1

        def __init__(self) -> None:
            self.card, self.seen = DenoiserCard(id="d", sha256="0" * 64, sigma_range=(0.0, 1.0)), 0

        def __call__(self, x: Any, sigma: Any, /) -> Any:
            self.seen += len(x)
            return x

    asked = threading.Event()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        asked.set()
        time.sleep(0.6)
        return [says("dog")] * len(images)

    service, waiting = CountingService(reply), Identity()
    one = api_of(service, denoiser=Identity(), concurrency=4)
    two = api_of(service, denoiser=waiting, concurrency=4)
    first = threading.Thread(target=one.predict, args=(GREY,), kwargs={"n": 4})
    first.start()
    asked.wait()
    two.predict(GREY, n=4)
    first.join()
    assert service.seen == 4
    assert waiting.seen <= 2 * 64  # one micro-batch is 64


def test_a_request_never_waits_for_pictures_that_cannot_join_it() -> None:
    """Few queries about a small picture leave though those behind are of a large one, which go in smaller batches."""
    service = CountingService(batch=16, max_request_bytes=200_000)
    small, large = np.full((20, 20, 3), 99, np.uint8), np.full((240, 240, 3), 90, np.uint8)
    found: list[int] = []
    with api_of(service, store="memory", concurrency=2) as api:

        def run() -> None:
            found.extend(result.n for result in api.certify_many([small, large], n=23))

        running = threading.Thread(target=run, daemon=True)  # it hung
        running.start()
        running.join(20)
        assert found == [23, 23]


class Busy:
    """A model that says each image's brightness; with `together` it answers only once so many threads are in it."""

    def __init__(self, together: int = 1) -> None:
        self.card = AdapterCard(name="busy", fingerprint="busy-1", accepts="tensor", batch=16)
        self.threads: set[int] = set()
        self.broken = threading.Event()
        self._barrier = threading.Barrier(together)

    def label(self, images: Any, /) -> list[Answer]:
        if self.broken.is_set():
            raise ValueError
        self._barrier.wait(timeout=20)
        self.threads.add(threading.get_ident())
        return [Answer(labels=(Label(name=f"{value:.6f}"),)) for value in images.mean((1, 2, 3)).tolist()]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def here_of(model: Any, device: str) -> tuple[Here, Stream]:
    """A desk of functions: the stand-in for a card is the processor, as often as it is named."""
    grid = np.full((4, 4, 3), 128, np.int32)
    noise = NoiseStream(sigma=0.5, seed=bytes(16), image_digest=bytes(32), shape=(4, 4, 3))
    answers = StreamAnswers(MemoryCache(), "s", shared=False, retry=False)
    stream = Stream(name="s", answers=answers, draw=drawing(grid, noise, None), shape=(4, 4))
    gate = FirstRequestGate()
    gate.open(answering=True)  # or the first block would go alone
    sender = Sender(model, account=InMemoryBudget(Budget(), micro_usd=0), limiter=None, gate=gate)
    return Here(card=model.card, cleaner=Cleaner(None, 0.5, device), sender=sender, device=device), stream


def asked(desk: Here, stream: Stream, blocks: int) -> list[tuple[int, object]]:
    """The outcomes of blocks of 16 queries, in the order they come in; closes the desk."""
    got: list[tuple[int, object]] = []
    try:
        for first in range(0, 16 * blocks, 16):
            desk.put([Query(stream, number) for number in range(first, first + 16)])
        while desk.under_way:
            got += [(query.number, outcome) for query, outcome in desk.step().items()]
    finally:
        desk.close()
    return got


def test_several_devices_work_at_once_and_answer_as_one() -> None:
    """Each of two has a thread, both are in the model at once, and outcomes come in the order of the queries."""
    alone, both = Busy(), Busy(together=2)
    want = asked(*here_of(alone, "cpu"), 4)
    assert alone.threads == {threading.get_ident()}
    assert asked(*here_of(both, "cpu,cpu"), 4) == want
    assert len(both.threads) == 2
    assert [number for number, _ in want] == list(range(64))


def test_a_desk_takes_two_blocks_a_device() -> None:
    """One in the networks and one whose noise is drawn; what is next is chosen as late as it can be."""
    for device, blocks in (("cpu", 2), ("cpu,cpu,cpu", 6)):
        desk, stream = here_of(Busy(), device)
        for number in range(blocks):
            assert desk.wanted((4, 4)).most == 256
            desk.put([Query(stream, number)])
        assert desk.wanted((4, 4)).most == 0
        desk.close()


def test_what_several_devices_have_answered_is_not_lost_at_the_end() -> None:
    """Closing waits for the blocks that are in the networks and brings their outcomes; alone nothing is in any."""
    model = Busy(together=2)
    desk, stream = here_of(model, "cpu,cpu")
    for first in (0, 16):
        desk.put([Query(stream, number) for number in range(first, first + 16)])
    while len(model.threads) < 2:
        time.sleep(0.01)
    outcomes = desk.close()
    assert sorted(query.number for query in outcomes) == list(range(32))
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())
    assert desk.under_way == 0
    alone, stream = here_of(Busy(), "cpu")
    alone.put([Query(stream, 0)])
    assert alone.close() == {}


def test_what_breaks_on_one_device_ends_the_run() -> None:
    """The error comes to who waits, and the threads of all devices end."""
    model = Busy()
    model.broken.set()
    before = {*threading.enumerate()}  # those of other tests may end meanwhile
    with pytest.raises(ProviderError, match="busy failed: ValueError"):
        asked(*here_of(model, "cpu,cpu"), 4)
    assert {*threading.enumerate()} <= before


def test_outcomes_that_came_together_are_given_before_the_error_that_ends_the_run() -> None:
    """What comes while others are counted is counted with them; a fatal error among them hides no answer."""
    left, leave, before = threading.Barrier(5), threading.Event(), [0]

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if first:
            left.wait(60)
            assert leave.wait(60)
        while first == 4 and desk._done.qsize() < before[0] + 3:  # the error comes last
            time.sleep(0.01)
        return [says("dog")] * len(images) if first < 4 else [Verdict(kind="fatal", message="no more")]

    service = CountingService(reply)
    sender = sender_of(service)
    cleaner = Cleaner(None, 0.25, "cpu")
    desk = There(card=service.card, cleaner=cleaner, sender=sender.sender, workers=4)
    sender.stream.draw = lambda indices: np.zeros((len(indices), 8, 8, 3), np.uint8)
    sender.stream.shape = (8, 8)
    queries = [Query(sender.stream, number) for number in range(5)]
    desk.put(queries[:1])
    while not desk.step():
        pass
    desk.put(queries[1:])
    while desk._raw or desk._denoising:
        desk.step()
    left.wait(60)
    before[0] = desk._done.qsize()
    leave.set()
    desk._pool.shutdown()  # all have come in
    assert len(desk.step()) == 3
    with pytest.raises(ProviderError):
        desk.step()
    desk.close()


class Turnstile:
    """A limiter that lets requests through one by one, when told to."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)

    def wait(self, images: int, stop: threading.Event | None = None) -> None:
        assert self.turns.acquire(timeout=30)

    def answered(self, requests: int = 1) -> None: ...

    def spare(self, images: int) -> None: ...


def there_of(limiter: Any) -> tuple[There, Stream, CountingService]:
    """A desk of a service of 50 images a second, ten a request, whose first request has been answered."""
    quota = Quota(unit="image", count=50)
    service = CountingService(batch=10, quotas=(quota,))
    gate = FirstRequestGate()
    gate.open(answering=True)
    found = sender_of(service, limiter=limiter, gate=gate)
    found.stream.draw = lambda indices: np.zeros((len(indices), 8, 8, 3), np.uint8)
    found.stream.shape = (8, 8)
    desk = There(card=service.card, cleaner=Cleaner(None, 0.25, "cpu"), sender=found.sender)
    return desk, found.stream, service


def test_a_request_that_waits_for_its_turn_anyway_is_filled_meanwhile() -> None:
    """Half a request behind another one is not made: what comes until its turn goes with it."""
    limiter = Turnstile()
    desk, stream, service = there_of(limiter)

    def handed_in(first: int, last: int) -> None:
        desk.put([Query(stream, number) for number in range(first, last)])
        while desk._raw or desk._denoising:
            desk.step()

    handed_in(0, 10)
    handed_in(10, 13)
    handed_in(13, 20)
    limiter.turns.release(9)
    seen = 0
    while desk.under_way:
        seen += len(desk.step())
    assert (seen, service.requests) == (20, [10, 10])
    handed_in(20, 23)  # alone it does not wait
    while desk.under_way:
        desk.step()
    assert service.requests == [10, 10, 3]
    desk.close()


def test_who_shares_a_quota_holds_no_more_than_it_sends() -> None:
    """Requests whose turn does not come are few, so that other processes have the images that they could ask about."""
    limiter = Turnstile()
    desk, stream, service = there_of(limiter)
    handed = 0
    while (room := desk.wanted((8, 8)).most) > 0:
        desk.put([Query(stream, handed + number) for number in range(room)])
        handed += room
        while desk._raw or desk._denoising:
            desk.step()
    assert handed == 40  # three requests in line, and one that is next
    limiter.turns.release(99)
    while desk.under_way:
        desk.step()
    assert service.requests == [10] * 4
    desk.close()
