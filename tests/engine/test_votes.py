"""The engine between certifier and provider: each query asked once, in order, within the budget."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from counting_service import GREY, TRANSIENT, CountingService, api_of, draw, is_canary, says

from api_smoothing import images
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.adapters.local.adapter import CallableAdapter
from api_smoothing.certify.base import FAILED
from api_smoothing.engine.scheduler import Counts, Everything, Item, Opening, Scheduler
from api_smoothing.engine.sending import Cleaner, Desk, Here, Outcome, Query, Stream, There, drawing
from api_smoothing.engine.sending import sender as attempt
from api_smoothing.engine.sending import sender as attempts
from api_smoothing.engine.sending.outcome import Open
from api_smoothing.engine.sending.pixels import batch_size, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.storage.answers import MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.votes import SPAN, StreamAnswers, Told, VoteSource
from api_smoothing.errors import ConfigurationError, DriftError, ProviderError
from api_smoothing.events import CountedAnswer
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Budget

IMAGE = images.load(np.full((8, 8, 3), 128, np.uint8))


class Scripted:
    """A service that answers PNGs with the mean brightness, fails where told, and keeps what it was sent."""

    def __init__(
        self, *, batch: int = 4, errors: Sequence[Exception | None] = (), versions: Sequence[str] = ()
    ) -> None:
        self.card = AdapterCard(name="scripted", fingerprint="scripted-1", batch=batch)
        self.requests: list[list[bytes]] = []
        self._errors, self._versions = list(errors), list(versions)

    def label(self, sent: Any, /) -> list[Answer]:
        self.requests.append([image.data for image in sent])
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        version = self._versions.pop(0) if self._versions else None
        return [Answer(labels=(Label(name=name_of(image)),), model_version=version) for image in sent]

    def verdict(self, error: Exception, /) -> Verdict:
        kinds = {TimeoutError: Verdict.TRANSIENT, ValueError: Verdict.REFUSED}
        return kinds.get(type(error), Verdict.FATAL)


def name_of(image: EncodedImage) -> str:
    return f"{int(images.load(image.data).grid.mean())}"


def source_of(
    adapter: Any,
    *,
    budget: Budget | None = None,
    cache: MemoryCache | None = None,
    workers: int = 1,
    seed: int = 0,
    shared: bool = False,
    retry: bool = False,
    told: Told | None = None,
) -> Asked:
    noise = NoiseStream(
        sigma=0.25,
        seed=bytes([48 + seed]) * 16,
        image_digest=IMAGE.digest,
        shape=IMAGE.grid.shape,
        sub=IMAGE.sub,
    )
    cache = MemoryCache() if cache is None else cache
    account = InMemoryBudget(budget or Budget(), micro_usd=1000)
    stream = Stream(
        name="s",
        answers=StreamAnswers(cache, "s", shared=shared, retry=retry),
        draw=drawing(IMAGE.grid, noise, None),
        shape=noise.shape[:2],
    )
    votes = VoteSource(
        stream="s",
        usage=stream.usage,
        cache=cache,
        account=account,
        read=lambda answer: answer.labels[0].name if answer.labels else None,
        retry=retry,
        told=told,
    )
    sender = Sender(adapter, account=account, limiter=None, sleep=lambda seconds: None)
    return Asked(votes, stream, sender, adapter.card, workers)


class Asked:
    """The votes of one image, and who is asked for them."""

    def __init__(
        self, votes: VoteSource, stream: Stream, sender: Sender, card: AdapterCard, workers: int
    ) -> None:
        self.votes, self.stream = votes, stream
        self._sender, self._card, self._workers = sender, card, workers

    def desk(self) -> Desk:
        cleaner = Cleaner(None, 0.25, "cpu")
        if self._card.accepts == "tensor":
            return Here(card=self._card, cleaner=cleaner, sender=self._sender, device="cpu")
        return There(card=self._card, cleaner=cleaner, sender=self._sender, workers=self._workers)

    def ask(self, indices: Sequence[int]) -> Iterator[dict[int, Outcome]]:
        desk = self.desk()
        desk.put([Query(self.stream, index) for index in indices])
        while desk.under_way:
            yield {query.number: outcome for query, outcome in desk.step().items()}
        desk.close()
        self._sender._halted = False  # others of the test go on with it

    def drive(self, certifier: Counts) -> None:
        item = Item(stream=self.stream, votes=self.votes, certifier=certifier, result=lambda: None)
        scheduler: Scheduler[None] = Scheduler(self.desk(), self._sender, affordable=lambda: None)
        list(scheduler.results([Opening(stream=self.stream, begin=lambda: item)]))
        self._sender._halted = False

    def take(self, count: int) -> list[Hashable | None]:
        taken = Everything(count)
        self.drive(taken)
        return taken.votes


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("workers", [1, 5])
def test_votes_do_not_depend_on_batches_or_threads(batch: int, workers: int) -> None:
    """The same queries get the same votes in the same order whatever the batch size and the concurrency."""
    want = source_of(Scripted(batch=16)).take(70)
    assert source_of(Scripted(batch=batch), workers=workers).take(70) == want
    assert len(set(want)) > 3


def test_votes_do_not_depend_on_the_order_of_asking() -> None:
    """A query's vote is its own: outcomes that come in any order, in any portions, give the votes of the indices."""
    asked = source_of(Scripted())
    votes, got = asked.votes, list[Hashable | None]()
    votes.expect(40)
    needed = list(votes.need())
    assert needed == list(range(40))
    assert not votes.need()
    for part in (needed[20:], needed[:7], needed[7:20]):
        for outcomes in asked.ask(part[::-1]):
            votes.give(outcomes)
            got += votes.take()
    assert votes.settled
    assert got == source_of(Scripted()).take(40)


def test_an_answer_is_never_asked_for_twice() -> None:
    """With a shared cache a second run sends only what the first did not."""
    cache, first, second = MemoryCache(), Scripted(), Scripted()
    votes = source_of(first, cache=cache).take(10)
    again = source_of(second, cache=cache)
    assert again.take(16)[:10] == votes
    assert (again.votes.count.cached, again.votes.count.sent) == (10, 6)
    assert sum(map(len, second.requests)) == 6


class Looked(MemoryCache):
    """Counts how often it is looked into."""

    looks = 0

    def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        self.looks += isinstance(indices, range)
        return super().read(stream, indices)


def test_a_new_image_is_looked_up_once() -> None:
    """However many rounds it takes; what another process has got since then comes with the claim, and is not paid."""
    cache, adapter = Looked(), Scripted()
    asked, other = (source_of(each, cache=cache, shared=True) for each in (adapter, Scripted()))
    votes = asked.votes
    for want in (4, 4, 4):
        votes.expect(want)
        for outcomes in asked.ask(votes.need()):
            votes.give(outcomes)
            votes.take()
        assert cache.looks == 1
    theirs, got = other.take(20), list[Hashable | None]()
    votes.expect(8)
    for outcomes in asked.ask(votes.need()):
        votes.give(outcomes)
        got += votes.take()
    assert got == theirs[12:]
    assert (votes.count.sent, votes.count.cached, sum(map(len, adapter.requests))) == (12, 8, 12)


@pytest.mark.parametrize(
    ("budget", "allowed"), [(Budget(queries=5), 5), (Budget(usd=0.0075), 7), (Budget(queries=0), 0)]
)
def test_budget_is_never_exceeded(budget: Budget, allowed: int) -> None:
    """Not one query more than the budget is sent; those that were paid are counted."""
    adapter = Scripted()
    source = source_of(adapter, budget=budget)
    assert len(source.take(40)) == allowed == sum(map(len, adapter.requests))
    assert source.votes.count.out_of_budget


def test_cached_answers_cost_no_budget() -> None:
    """What is in the cache is counted even when nothing can be asked."""
    cache = MemoryCache()
    source_of(Scripted(), cache=cache).take(8)
    source = source_of(Scripted(), cache=cache, budget=Budget(queries=2))
    assert len(source.take(20)) == 10


def test_transient_errors_are_tried_again() -> None:
    """A transient error costs further attempts at the same query, not its vote."""
    adapter = Scripted(errors=[TimeoutError(), TimeoutError(), None])
    votes = source_of(adapter).take(4)
    assert FAILED not in votes
    assert adapter.requests[0] == adapter.requests[1] == adapter.requests[2]


@pytest.mark.parametrize("error", [ValueError("refused"), TimeoutError("down")])
def test_final_failures_are_remembered(error: Exception) -> None:
    """A query that finally failed votes for no class, and counts so ever after: neither asked nor paid again."""
    cache = MemoryCache()
    first = source_of(Scripted(errors=[None, *[error] * attempts.ATTEMPTS], batch=1), cache=cache)
    votes = first.take(8)
    refused = isinstance(error, ValueError)
    assert [vote is FAILED for vote in votes] == [0 < i < (3 if refused else 2) for i in range(8)]
    second = source_of(later := Scripted(), cache=cache)
    assert second.take(8) == votes
    assert (later.requests, second.votes.count.cached, second.votes.count.sent) == ([], 8, 0)
    assert second.votes.known(8) == dict(enumerate(votes))
    assert second.votes.within(5) == 13
    assert second.votes.count.last_error == type(error).__name__


def test_a_failed_query_is_told_as_one() -> None:
    """It has no vote and no digest; asked about again, all that was told is told as kept."""
    cache, told = MemoryCache(), list[CountedAnswer]()
    failing = Scripted(errors=[None, *[ValueError("refused")] * attempts.ATTEMPTS], batch=1)
    for adapter in (failing, Scripted()):
        asked = source_of(adapter, cache=cache, told=told.extend)
        votes = asked.take(8)
    first, again = told[:8], told[8:]
    assert [answer.number for answer in first] == list(range(8))
    assert [answer.failed for answer in first] == [vote is FAILED for vote in votes]
    assert [answer.vote for answer in first] == [None if vote is FAILED else vote for vote in votes]
    assert [answer.sha256 == "" for answer in first] == [answer.failed for answer in first]
    assert not any(answer.kept for answer in first)
    assert again == [replace(answer, kept=True) for answer in first]


def test_who_says_so_asks_failures_again() -> None:
    """With `retry` a remembered failure is asked again; what is answered then has not failed any more."""
    cache = MemoryCache()
    source_of(Scripted(errors=[ValueError()] * 2, batch=1), cache=cache).take(3)
    again = source_of(retrying := Scripted(), cache=cache, retry=True)
    assert FAILED not in again.take(3)
    assert sum(map(len, retrying.requests)) == 1
    assert FAILED not in source_of(Scripted(), cache=cache).take(3)


def test_what_never_reached_the_provider_is_not_remembered() -> None:
    """A failure that cannot depend on the image, since nothing was sent, is asked again by the next run."""

    class Unreachable(Scripted):
        def verdict(self, error: Exception, /) -> Verdict:
            return Verdict(kind="transient", message="no route", sent=False)

    cache = MemoryCache()
    unreachable = Unreachable(errors=[OSError()] * attempts.ATTEMPTS)
    assert source_of(unreachable, cache=cache).take(4) == [FAILED] * 4
    assert FAILED not in source_of(Scripted(), cache=cache).take(4)


def test_a_failure_that_another_run_has_seen_meanwhile_is_not_paid_again() -> None:
    """Between looking a query up and asking it another process may have seen it fail: then it is not sent."""
    cache = MemoryCache()
    source = source_of(sent := Scripted(), cache=cache, shared=True)
    source.votes.expect(3)
    assert list(source.votes.need()) == [0, 1, 2]
    cache.fail("s", {1: "refused"})
    for outcomes in source.ask([0, 1, 2]):
        source.votes.give(outcomes)
    assert [vote is FAILED for vote in source.votes.take()] == [False, True, False]
    assert sum(map(len, sent.requests)) == 2


@pytest.mark.usefixtures("no_waits")
def test_a_refusing_provider_stays_failed_however_often_one_asks() -> None:
    """Who refuses half of the queries is not certified by the other half, nor paid again for refusing."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        of_half = [
            first == 0 or draw(image) < 0.5 for image in images
        ]  # three refusals at first would be the end
        return [says("dog") if kind else Verdict.REFUSED for kind in of_half]

    service = CountingService(reply)
    for _ in range(8):
        with api_of(service) as api:
            found = api.certify(GREY, n=200)
        assert (found.label, found.stopped, found.failed) == (None, "failed", 11)
        assert found.queries == (service.seen if not found.cached else 0)
    with api_of(service, retry_failures=True) as api:
        assert api.certify(GREY, n=200).queries == 22


def test_one_refused_image_does_not_fail_its_batch() -> None:
    """Of a refused batch single images are asked, then the rest, until only the image that is refused has failed."""

    class Picky(Scripted):
        def label(self, sent: Any, /) -> list[Answer]:
            answers = super().label(sent)
            if any(image.data == self.requests[0][2] for image in sent):
                raise ValueError("bad image")
            return answers

    adapter = Picky(batch=4)
    votes = source_of(adapter).take(4)
    assert [vote is FAILED for vote in votes] == [False, False, True, False]
    assert [len(request) for request in adapter.requests] == [4, 1, 1, 1, 1, 1]


def test_attempts_are_bounded() -> None:
    """An error that stays transient ends as a failed query after the fixed number of attempts."""
    adapter = Scripted(errors=[TimeoutError()] * 100)
    assert source_of(adapter).take(4) == [FAILED] * 4
    assert len(adapter.requests) == attempts.ATTEMPTS


def test_fatal_errors_stop_in_one_line_and_keep_what_is_paid() -> None:
    """A fatal error names the provider in one line; answers before it are in the cache."""
    cache = MemoryCache()
    source = source_of(Scripted(errors=[None, None, KeyError("no\nkey")]), cache=cache)
    with pytest.raises(ProviderError, match="scripted failed: KeyError") as caught:
        source.take(40)
    assert "\n" not in str(caught.value)
    assert set(cache.read("s", range(40))) == set(range(8))


def test_wrong_number_of_answers_is_refused() -> None:
    """An answer list of the wrong length can never be matched to queries, so it is an error."""
    adapter = CallableAdapter(lambda x: ["cat"] * (len(x) - 1))
    with pytest.raises(ProviderError, match="one a row"):
        source_of(adapter).take(4)


def test_model_change_voids_the_run() -> None:
    """Two model versions among the votes of one certificate stop it."""
    with pytest.raises(DriftError, match=r"from 3\.0 to 3\.1 after 8 votes"):
        source_of(Scripted(versions=["3.0", "3.0", "3.1"])).take(40)


class Rounds:
    """A certifier that asks for given numbers of votes and keeps them."""

    def __init__(self, *needs: int) -> None:
        self._needs, self.got, self.portions = list(needs), list[Hashable | None](), list[int]()

    def need(self) -> int:
        return self._needs[0] if self._needs else 0

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        self.got += answers
        self.portions.append(len(answers))
        self._needs[0] -= len(answers)
        if self._needs[0] == 0:
            self._needs.pop(0)

    def result(self) -> Any: ...


def test_what_is_asked_is_exactly_what_is_needed() -> None:
    """Rounds of every size give the certifier the votes of consecutive queries and ask for no more."""
    adapter, certifier = Scripted(), Rounds(1, 300, 3)
    asked = source_of(adapter)
    asked.drive(certifier)
    assert certifier.got == source_of(Scripted()).take(304)
    assert sum(map(len, adapter.requests)) == 304


def test_callable_sees_exactly_the_counted_queries_in_order() -> None:
    """A callable provider is asked for each counted query once, in index order, on the 8-bit grid in [0,1]."""
    seen: list[torch.Tensor] = []

    def function(x: torch.Tensor) -> list[int]:
        seen.append(x.clone())
        return [0] * len(x)

    source_of(CallableAdapter(function)).take(37)
    images_seen = torch.cat(seen)
    drawn = source_of(CallableAdapter(function)).stream.draw
    assert drawn is not None
    want = torch.from_numpy(drawn(range(37))).permute(0, 3, 1, 2).float() / 255
    assert images_seen.dtype == torch.float32
    assert torch.equal(images_seen, want)


def test_labels_of_callables() -> None:
    """A callable may answer with strings, ints, None or scores; anything else is refused by name."""
    adapter = CallableAdapter(lambda x: ["cat", 3, None][: len(x)])
    assert [a.labels[0].name if a.labels else None for a in adapter.label(torch.zeros(3, 3, 8, 8))] == [
        "cat",
        "3",
        None,
    ]
    scores = CallableAdapter(lambda x: torch.tensor([[0.1, 0.9], [0.5, 0.5]]), class_names=("a", "b"))
    assert [a.labels[0].name for a in scores.label(torch.zeros(2, 3, 8, 8))] == ["b", "a"]
    with pytest.raises(ProviderError, match="non-empty str"):
        CallableAdapter(lambda x: [1.5]).label(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("count", [1, 5, 16, 17, 29, 30, 31, 47, 1000])
def test_whole_batches_fill_the_quota(count: int) -> None:
    """A full batch fits the window of its quota, and whole batches leave less than an eighth of it unused."""
    card = AdapterCard(name="a", fingerprint="", batch=16, quotas=(Quota(unit="image", count=count),))
    batch = batch_size(32, 32, card)
    assert min(8, count) <= batch <= min(16, count)
    assert count // batch * batch > 7 / 8 * count


def test_batches_fit_the_bytes_of_a_request() -> None:
    """As many images travel together as the request has room for, and at least one."""
    card = AdapterCard(name="a", fingerprint="", batch=16, max_request_bytes=10 * 32 * 97 + 2000)
    assert batch_size(32, 32, card) == 10
    assert batch_size(512, 512, card) == 1


def test_images_beyond_the_limits_are_refused_before_sending() -> None:
    """Small images are enlarged by the least whole factor; what is too large is refused in one line with advice."""
    card = AdapterCard(name="a", fingerprint="", min_side=80, max_side=1000, max_image_bytes=1_000_000)
    assert [enlargement(side, side + 9, card) for side in (32, 79, 80, 300)] == [3, 2, 1, 1]
    for height, width in ((300, 1001), (900, 900)):
        with pytest.raises(ConfigurationError, match="size=224") as caught:
            enlargement(height, width, card)
        assert "\n" not in str(caught.value)


def test_need_names_a_query_once() -> None:
    """A query that is under way is not needed again; one that came back without an outcome is."""
    votes = source_of(Scripted()).votes
    votes.expect(3)
    assert list(votes.need()) == [0, 1, 2]
    assert not votes.need()
    votes.give({0: None, 1: Open.BUSY})
    assert not votes.need()  # 2 is under way still
    votes.give({2: Answer(labels=(Label(name="cat"),))})
    assert votes.take() == [FAILED]
    assert list(votes.need()) == [1]  # nobody else asks it in this process's memory
    votes.give({1: Answer(labels=(Label(name="dog"),))})
    assert votes.take() == ["dog", "cat"]
    assert votes.settled


def test_nothing_is_asked_beyond_what_was_expected() -> None:
    """`need` stays within what was expected, however many votes there could be."""
    votes = source_of(Scripted()).votes
    assert votes.settled
    assert not votes.need()
    votes.expect(2)
    votes.expect(1)
    assert not votes.settled
    assert list(votes.need()) == [0, 1, 2]


def test_one_loop_drives_many_images() -> None:
    """Votes of several images that are asked turn by turn, in mixed order, are those of each image asked alone."""
    alone = [source_of(Scripted(), seed=seed).take(50) for seed in range(3)]
    asked = [source_of(Scripted(), seed=seed) for seed in range(3)]
    got: list[list[Hashable | None]] = [[], [], []]
    for one in asked:
        one.votes.expect(50)
    needed = [list(one.votes.need()) for one in asked]
    while any(needed):
        for image, one in enumerate(asked):
            part, needed[image] = needed[image][-7:], needed[image][:-7]
            for outcomes in one.ask(part):
                one.votes.give(outcomes)
            got[image] += one.votes.take()
    assert all(one.votes.settled for one in asked)
    assert got == alone
    assert got[0] != got[1]


def test_a_long_question_is_looked_up_in_spans() -> None:
    """What is looked up and held at once is bounded by SPAN, whatever was expected."""
    votes = source_of(Scripted()).votes
    votes.expect(10 * SPAN)
    assert list(votes.need()) == list(range(SPAN))
    answer = Answer(labels=(Label(name="cat"),))
    votes.give(dict.fromkeys(range(SPAN), answer))
    assert len(votes.take()) == SPAN
    assert list(votes.need()) == list(range(SPAN, 2 * SPAN))


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("method", ["auto", "clopper-pearson"])
@pytest.mark.parametrize("drift", ["none", "canary"])
def test_failures_that_decide_end_the_run(method: Any, drift: str) -> None:
    """When more than 5 % of n have failed the certificate is void; no further query is paid for it."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if is_canary(images):
            return [says("house")]
        raise TRANSIENT

    service = CountingService(reply, drift=drift)
    with api_of(service, method=method) as api:
        found = api.certify(GREY, n=120, n0=10)
    of = 130 if method == "clopper-pearson" else 120
    assert (found.stopped, found.failed, found.label) == ("failed", of // 20 + 1, None)
    assert service.seen <= found.failed * attempt.ATTEMPTS + 2  # the canary, and one that was just leaving


@pytest.mark.usefixtures("no_waits")
def test_failures_end_a_capped_and_a_presence_run_too() -> None:
    """Also with a target, and for labels that are certified on their own, a void run ends."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog") if draw(images[0]) < 0.67 else Verdict.REFUSED]

    for ask in ("certify", "certify_labels"):
        service = CountingService(reply, max_labels=4)
        with api_of(service, cache=False) as api:
            found = getattr(api, ask)(GREY, radius=0.05, n=1000)
        found = found if ask == "certify" else found[0]
        assert (found.stopped, found.reached) == ("failed", False)
        assert (found.failed, service.seen < 400) == (51, True)


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks up 100,000 queries in the cache fails."""
    looks, read = [0], MemoryCache.read

    def counted(self: MemoryCache, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        looks[0] += len(indices)
        assert looks[0] < 100_000
        return read(self, stream, indices)

    monkeypatch.setattr(MemoryCache, "read", counted)


def test_a_large_budget_does_not_delay_the_first_query(few_looks: None) -> None:
    """A budget of a billion queries costs no more looks into the cache than a small one."""
    with api_of(CountingService(), budget=Budget(queries=10**9), cache=False) as api:
        assert api.certify(GREY, radius=0.1).reached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queries", "question"), [(10**9, {"n": 60}), (900_000, {"radius": 0.1})], ids=["fixed", "target"]
)
def test_no_large_budget_delays_the_first_query(
    queries: int, question: dict[str, Any], few_looks: None
) -> None:
    """Whatever the question, what is looked up before the first query does not grow with the budget."""
    with api_of(CountingService(), budget=Budget(queries=queries), cache=False) as api:
        assert api.certify(GREY, **question).label == "dog"
