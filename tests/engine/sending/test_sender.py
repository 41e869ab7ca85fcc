"""One batch on its way to a provider: what is paid, tried again, waited for, and kept."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from counting_service import (
    GREY,
    IMAGE,
    TRANSIENT,
    CountingService,
    OneStream,
    api_of,
    error_of,
    replying,
    says,
    sender_of,
)

from api_smoothing.adapters import BrokenContract
from api_smoothing.adapters.base import Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.engine.sending import Query, Stream
from api_smoothing.engine.sending.outcome import FirstRequestGate, Open
from api_smoothing.engine.sending.sender import ATTEMPTS
from api_smoothing.engine.storage.answers import DiskCache, MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.paid import CLAIM_SECONDS
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import (
    ApiSmoothError,
    ConfigurationError,
    CredentialsError,
    ProviderError,
)
from api_smoothing.results import Budget

DOG = Answer(labels=(Label(name="dog", score=0.9),))


class Pauses:
    """A limiter that lets everything through and remembers what it was told."""

    def __init__(self) -> None:
        self.waited: list[int] = []
        self.paused: list[float] = []

    def wait(self, images: int, stop: threading.Event) -> None:
        self.waited.append(images)

    def spare(self, images: int) -> None:
        self.waited.append(images)

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    def throttled(self, retry_after: float) -> None:
        self.paused.append(retry_after)

    def answered(self) -> None: ...


def images(count: int) -> list[EncodedImage]:
    return [EncodedImage(data=bytes([i]), height=1, width=1) for i in range(count)]


class Desk:
    """A sender with a cache, a purse and a clock that only counts."""

    def __init__(self, path: Path, service: CountingService, *, budget: Budget | None = None) -> None:
        self.cache = DiskCache(path)
        self.purse = InMemoryBudget(budget or Budget(queries=1000), micro_usd=1)
        self.limiter, self.slept = Pauses(), []
        self.sender = sender_of(
            service,
            account=self.purse,
            answers=StreamAnswers(self.cache, "s", shared=True),
            limiter=self.limiter,
            sleep=self.slept.append,
        )

    @property
    def spent(self) -> int:
        return 1000 - (self.purse.affordable() or 0)


def test_every_attempt_is_paid_and_counted(tmp_path: Path) -> None:
    """Three requests of two images cost six queries, though only two answers come of them."""
    service = replying(RuntimeError(Verdict.TRANSIENT), RuntimeError(Verdict.TRANSIENT))
    desk = Desk(tmp_path, service)
    assert desk.sender.send([4, 5], images(2)) == {4: DOG, 5: DOG}
    assert (desk.spent, desk.sender.usage.sent, service.requests) == (6, 6, [2, 2, 2])
    assert desk.cache.read("s", [4, 5]) == {4: DOG, 5: DOG}


def test_what_never_left_costs_nothing(tmp_path: Path) -> None:
    """A refused connection is no query: the budget gets it back."""
    desk = Desk(tmp_path, replying(*[RuntimeError(Verdict(kind="transient", sent=False))] * 9))
    assert desk.sender.send([0], images(1)) == {0: None}
    assert (desk.spent, desk.sender.usage.sent) == (0, 0)


def test_missing_credentials_cost_nothing(tmp_path: Path) -> None:
    """The error for missing credentials passes through, and no query is charged."""

    class Locked(CountingService):
        def connect(self) -> None:
            raise CredentialsError("set ACME_KEY")

    desk = Desk(tmp_path, Locked())
    with pytest.raises(CredentialsError, match="ACME_KEY"):
        desk.sender.send([0], images(1))
    assert desk.spent == 0


def test_rejected_credentials_may_have_cost(tmp_path: Path) -> None:
    """The same error from the call itself may come after a response, which may have been billed."""
    desk = Desk(tmp_path, replying(CredentialsError("ACME_KEY was rejected")))
    with pytest.raises(CredentialsError, match="ACME_KEY"):
        desk.sender.send([0], images(1))
    assert desk.spent == 1


def test_verdicts_on_single_images_only_concern_those(tmp_path: Path) -> None:
    """In a response that succeeded, answers are kept; a failed image is asked again, one refused twice failed."""
    first = [DOG, Verdict(kind="transient", message="bad image data"), Verdict.REFUSED]
    service = replying(first, [DOG, Verdict.REFUSED])
    desk = Desk(tmp_path, service)
    assert desk.sender.send([0, 1, 2], images(3)) == {0: DOG, 1: DOG, 2: None}
    assert service.requests == [3, 2]
    assert desk.spent == 5


def test_a_throttle_is_waited_for_by_all(tmp_path: Path) -> None:
    """The wait is never shorter than the provider asked, and the limiter holds everyone else back."""
    desk = Desk(tmp_path, replying(RuntimeError(Verdict(kind="throttled", retry_after=7.0))))
    assert desk.sender.send([0], images(1)) == {0: DOG}
    assert desk.limiter.paused == [7.0]
    assert desk.slept[0] >= 7.0


@pytest.mark.parametrize("kind", ["transient", "refused", "broken"])
def test_whoever_says_when_to_come_back_is_waited_for(tmp_path: Path, kind: Any) -> None:
    """Not a throttle alone: whatever the status, the wait that was asked for holds, and for everyone."""
    desk = Desk(tmp_path, replying(RuntimeError(Verdict(kind=kind, retry_after=7.0))))
    assert desk.sender.send([0], images(1)) == {0: DOG}
    assert desk.limiter.paused == [7.0]
    assert desk.slept[0] >= 7.0


def refusing(*, after: int = 0, kind: Any = "refused", batch: int = 1) -> CountingService:
    """Answers the first `after` requests, and then refuses everything, in words with a number of their own."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if len(service.requests) > after:
            raise RuntimeError(Verdict(kind=kind, message=f"no 'vision' here (request r{first})"))
        return [DOG] * len(images)

    service = CountingService(reply, batch=batch)
    return service


@pytest.mark.parametrize("kind", ["refused", "broken"])
@pytest.mark.parametrize(("batch", "paid"), [(1, 3), (8, 10)])
def test_a_service_that_answers_nothing_is_left_after_three_requests(
    tmp_path: Path, kind: str, batch: int, paid: int
) -> None:
    """Refused, or answered with what can be no vote, three times for one reason: the run ends in its words."""
    service = refusing(kind=kind, batch=batch)
    desk = Desk(tmp_path, service)
    errors = [
        error_of(partial(desk.sender.send, range(start, start + batch), images(batch)))
        for start in range(0, 80, batch)
    ]
    assert re.search(r"no 'vision' here .*none to an answer", str(errors[-1]))
    assert len(service.requests) == 3
    assert desk.spent == (paid if kind == "refused" else 3 * batch)


def test_all_images_of_a_run_end_with_the_first(tmp_path: Path) -> None:
    """What three requests have shown holds for the other images of the run; they send nothing."""
    gate, service = FirstRequestGate(), refusing()
    for index in range(4):
        sender = sender_of(service, gate=gate, sleep=lambda seconds: None)
        error = error_of(partial(sender.send, [index], [IMAGE]))
        assert isinstance(error, ProviderError) or index == 0
    assert service.seen == 3


def test_once_the_service_answers_those_that_waited_pass_together() -> None:
    """Requests that queued behind the first one are not asked one after the other when it is answered."""
    gate, queued, together = FirstRequestGate(), threading.Semaphore(0), threading.Barrier(4, timeout=20)

    def ask() -> None:
        queued.release()
        with gate.passing():
            together.wait()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    with gate.passing():
        for thread in threads:
            thread.start()
        for _ in threads:
            queued.acquire()
        time.sleep(0.2)  # they stand at the gate
        gate.open(answering=True)
    together.wait()


def test_where_something_was_answered_refusals_are_failures_of_their_queries(tmp_path: Path) -> None:
    """A service that answers is not left because it refuses; nor for reasons that differ, nor for what may pass."""
    desk = Desk(tmp_path, refusing(after=1))
    assert desk.sender.send([0], images(1)) == {0: DOG}
    for index in range(1, 6):
        assert desk.sender.send([index], images(1)) == {index: None}
    words = ["too dark", "too small", "too bright"]
    other = replying(*(RuntimeError(Verdict(kind="refused", message=word)) for word in words))
    assert Desk(tmp_path / "b", other).sender.send([0], images(1)) == {0: None}
    down = replying(*[RuntimeError(Verdict(kind="transient", message="down"))] * 4)
    assert Desk(tmp_path / "c", down).sender.send([0], images(1)) == {0: DOG}


def test_a_batch_is_halved_only_where_others_succeed(tmp_path: Path) -> None:
    """A refused batch none of whose images is answered costs itself and a few of them, twice, not every half."""
    service = refusing(after=1, batch=128)
    desk = Desk(tmp_path, service)
    assert desk.sender.send(range(128), images(128)) == dict.fromkeys(range(128), DOG)
    assert desk.sender.send(range(128, 256), images(128)) == dict.fromkeys(range(128, 256))
    assert service.requests[1:] == [128, 1, 1, 1, 128, 1, 1, 1][: len(service.requests) - 1]
    assert sum(service.requests) <= 3 * 128 + 6


@pytest.mark.parametrize("bad", [0, 2, 3, 64, 127])
def test_one_refused_image_of_a_large_batch_fails_alone(tmp_path: Path, bad: int) -> None:
    """Wherever it is, its neighbours are answered, for at most three times the batch."""

    def reply(first: int, sent: Sequence[EncodedImage]) -> Sequence[Any]:
        if any(image.data == bytes([bad]) for image in sent):
            raise RuntimeError(Verdict(kind="refused", message="unreadable"))
        return [DOG] * len(sent)

    service = CountingService(reply, batch=128)
    found = Desk(tmp_path, service).sender.send(range(128), images(128))
    assert found == {**dict.fromkeys(range(128), DOG), bad: None}
    assert service.seen <= 3 * 128 + 6


def test_what_can_be_no_vote_is_not_asked_five_times(tmp_path: Path) -> None:
    """Broken in the same way twice, or in three ways, a query has failed; broken once, it is asked again."""

    def broken(*words: str) -> CountingService:
        return replying([DOG], *([Verdict(kind="broken", message=word)] for word in words))

    for words, paid, outcome in (
        (["content is null"] * 9, 3, None),
        (["'a'", "'b'"] * 9, 3, None),
        (["null", "HTML", "cut off", "empty"], 4, None),
        (["HTML"], 3, DOG),
    ):
        service = broken(*words)
        desk = Desk(tmp_path / str(len(words)) / words[0].strip("'"), service)
        desk.sender.send([0], images(1))
        assert desk.sender.send([1], images(1)) == {1: outcome}
        assert service.seen == paid, words


def test_a_broken_contract_is_one_whatever_an_adapter_calls_it(tmp_path: Path) -> None:
    """An adapter of elsewhere may call it transient; it is not asked five times either."""

    class Elsewhere(CountingService):
        def verdict(self, error: Exception, /) -> Verdict:
            return Verdict(kind="transient", message=str(error))

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if first == 0:
            return [DOG]
        raise BrokenContract("the answer has no labels")

    service = Elsewhere(reply)
    desk = Desk(tmp_path, service)
    assert [desk.sender.send([index], images(1)) for index in (0, 1)] == [{0: DOG}, {1: None}]
    assert service.seen == 3


def test_an_unreadable_answer_leaves_its_neighbours(tmp_path: Path) -> None:
    """In one response answers are kept, and only what could not be read is asked for again."""
    broken = Verdict(kind="broken", message="a score is 99")
    service = replying([DOG, broken, DOG], [broken])
    desk = Desk(tmp_path, service)
    assert desk.sender.send([0, 1, 2], images(3)) == {0: DOG, 1: None, 2: DOG}
    assert service.requests == [3, 1]


def test_a_throttle_of_hours_is_fatal(tmp_path: Path) -> None:
    """A provider that asks for more than a minute is as good as closed: the run ends with what it has."""
    desk = Desk(tmp_path, replying(RuntimeError(Verdict(kind="throttled", retry_after=7200.0))))
    with pytest.raises(ProviderError, match="7200 s"):
        desk.sender.send([0], images(1))


def test_waits_between_attempts_are_bounded(tmp_path: Path) -> None:
    """An error that stays is tried a fixed number of times, with waits in between, and is then a failed query."""
    service = replying(*[RuntimeError(Verdict.TRANSIENT)] * 99)
    desk = Desk(tmp_path, service)
    assert desk.sender.send([0], images(1)) == {0: None}
    assert len(service.requests) == ATTEMPTS
    assert len(desk.slept) == ATTEMPTS - 1
    assert max(desk.slept) <= 20


def test_after_a_fatal_error_nothing_leaves(tmp_path: Path) -> None:
    """Requests that were waiting behind the one that failed for good are not sent."""
    service = replying(RuntimeError(Verdict(kind="fatal", message="the key was revoked")))
    desk = Desk(tmp_path, service)
    for _ in range(3):
        with pytest.raises(ProviderError, match="the key was revoked"):
            desk.sender.send([0], images(1))
    assert service.requests == [1]


def test_a_wrong_key_costs_one_request(tmp_path: Path) -> None:
    """Sixteen threads that start together send one request, not sixteen, when it fails for good."""
    service = replying(*[RuntimeError(Verdict(kind="fatal", message="wrong key"))] * 99)
    desk = Desk(tmp_path, service)

    def send(index: int) -> None:
        with pytest.raises(ProviderError, match="wrong key"):
            desk.sender.send([index], images(1))

    threads = [threading.Thread(target=send, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (service.requests, desk.spent) == ([1], 1)


def test_an_interrupted_run_does_not_wait_out_its_pauses(tmp_path: Path) -> None:
    """A sender that is halted ends its waits and sends nothing more."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        threading.Timer(0.2, sender.halt).start()
        raise RuntimeError(Verdict(kind="throttled", retry_after=50.0))

    service = CountingService(reply)
    sender = sender_of(service, answers=StreamAnswers(DiskCache(tmp_path), "s", shared=False))
    began = time.monotonic()
    with pytest.raises(ProviderError, match="ended"):
        sender.send([0], images(1))
    assert service.requests == [1]
    assert time.monotonic() - began < 45


def test_a_wrong_number_of_answers_is_a_broken_contract(tmp_path: Path) -> None:
    """Answers that cannot be told apart are not used."""
    desk = Desk(tmp_path, replying([DOG]))
    with pytest.raises(ProviderError, match="1 answers to 2 queries"):
        desk.sender.send([0, 1], images(2))
    assert desk.cache.read("s", range(4)) == {}


def test_the_budget_cuts_a_batch(tmp_path: Path) -> None:
    """Of a batch only what can be paid is sent; the rest is reported as unpaid."""
    service = replying()
    desk = Desk(tmp_path, service, budget=Budget(queries=2))
    outcomes = desk.sender.send([0, 1, 2], images(3))
    assert outcomes == {0: DOG, 1: DOG, 2: Open.UNPAID}
    assert service.requests == [2]


def test_a_spent_budget_is_told_without_a_turn(tmp_path: Path) -> None:
    """Whatever the rate, nobody stands in line for what cannot be paid."""
    desk = Desk(tmp_path, CountingService(), budget=Budget(queries=5))
    for start in (0, 2, 4, 6):
        desk.sender.send([start, start + 1], images(2))
    assert desk.sender.usage.sent == 5
    assert desk.limiter.waited[-1] == 1
    assert sum(desk.limiter.waited) == 5 + 2  # the first request counts twice


class Turns(Pauses):
    """A limiter whose turns come when `open` is set, or never; `log` says what happens around them."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.log = threading.Event(), list[str]()

    def wait(self, images: int, stop: threading.Event) -> None:
        self.log.append("waits")
        while not (self.open.is_set() or stop.is_set()):
            self.open.wait(0.01)


class Purse(InMemoryBudget):
    """A budget that tells `log` what it is asked."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(Budget())
        self._log = log

    def reserve(self, *given: Any, **more: Any) -> Any:
        self._log.append("pays")
        return super().reserve(*given, **more)

    def settle(self, reservation: Any, *, sent: bool) -> None:
        self._log.append("spent" if sent else "given back")
        super().settle(reservation, sent=sent)


def test_a_request_leaves_as_soon_as_its_turn_has_come() -> None:
    """The disk, which may be slow, is waited for before the turn: what leaves late crowds the next window."""
    turns = Turns()
    turns.open.set()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        turns.log.append("leaves")
        return [DOG]

    sender = sender_of(CountingService(reply), limiter=turns, account=Purse(turns.log))
    sender.send([0], images(1))
    assert turns.log == ["pays", "waits", "leaves", "spent"]


def waiting(sender: OneStream, turns: Turns, count: int, near: int) -> list[threading.Thread]:
    """So many requests, `near` of which wait for their turn."""
    sender.sender._gate._open = True
    threads = [
        threading.Thread(target=error_of, args=(partial(sender.send, [k], [IMAGE]),)) for k in range(count)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while turns.log.count("waits") < near and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    return threads


@pytest.mark.parametrize(("rate", "near"), [(None, 16), (20, 4), (1000, 16)])
def test_few_requests_are_paid_while_they_wait(rate: int | None, near: int) -> None:
    """What a kill -9 finds paid and not sent is little, however many threads there are."""
    quotas = () if rate is None else (Quota(count=rate, seconds=1.0, unit="request"),)
    turns = Turns()
    purse, service = Purse(turns.log), CountingService(quotas=quotas)
    sender = sender_of(service, limiter=turns, account=purse)
    threads = waiting(sender, turns, 40, near)
    assert purse.spent()[0] == near
    turns.open.set()
    for thread in threads:
        thread.join()
    assert purse.spent()[0] == service.seen == 40


@pytest.mark.parametrize("whole", [True, False], ids=["the run ends", "the image ends"])
def test_what_was_paid_and_never_left_is_given_back(whole: bool) -> None:
    """The end of a run, or of an image, ends the wait; what waited is no query of anybody."""
    turns = Turns()
    purse, service = Purse(turns.log), CountingService()
    sender = sender_of(service, limiter=turns, account=purse)
    threads = waiting(sender, turns, 20, 16)
    if whole:
        sender.halt()
    else:
        sender.sender.end(sender.stream)
    for thread in threads:
        thread.join()
    assert (purse.spent()[0], service.seen, sender.usage.sent) == (0, 0, 0)
    assert turns.log.count("pays") == turns.log.count("given back") == 16


def test_of_a_request_that_waits_the_images_that_go_on_leave() -> None:
    """One of two images of a request ends before its turn: the other's query leaves alone, and alone is paid."""
    turns = Turns()
    purse, service = Purse(turns.log), CountingService()
    one = sender_of(service, limiter=turns, account=purse)
    other = Stream(name="t", answers=StreamAnswers(MemoryCache(), "t", shared=False))
    one.sender._gate._open = True
    found: dict[Query, Any] = {}
    asked = [Query(one.stream, 0), Query(other, 0)]
    thread = threading.Thread(target=lambda: found.update(one.sender.send(asked, [IMAGE] * 2)))
    thread.start()
    while "waits" not in turns.log:
        time.sleep(0.01)
    one.sender.end(other)
    turns.open.set()
    thread.join()
    assert found == {asked[0]: DOG, asked[1]: Open.ENDED}
    assert (purse.spent()[0], service.seen, other.usage.sent) == (1, 1, 0)


def test_an_answer_that_came_meanwhile_is_not_asked_for(tmp_path: Path) -> None:
    """Between the look into the cache and the claim another process may have been faster; its answer is used."""
    service = replying()
    desk = Desk(tmp_path / "cache", service)
    cat = Answer(labels=(Label(name="cat"),))
    desk.cache.write("s", {1: cat})
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: cat}
    assert service.requests == [1]


def test_a_query_someone_else_is_asking_is_left_to_them(tmp_path: Path) -> None:
    """A claimed query is reported as busy, and is neither sent nor paid."""
    service = replying()
    desk = Desk(tmp_path / "cache", service)
    DiskCache(tmp_path / "cache").claim("s", [1])
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: Open.BUSY}
    assert (service.requests, desk.spent) == ([1], 1)


def test_a_claim_ends_with_its_request(tmp_path: Path) -> None:
    """Whether it was answered, failed, or could not be paid: afterwards nobody waits for a query."""
    desk = Desk(tmp_path, replying([DOG, Verdict.REFUSED], [Verdict.REFUSED]), budget=Budget(queries=3))
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: None}
    assert desk.sender.send([2], images(1)) == {2: Open.UNPAID}
    assert not DiskCache(tmp_path).busy("s", [0, 1, 2])


def test_an_error_after_sending_is_not_refunded() -> None:
    """Only what an adapter says was never sent is given back; the class of an error says nothing about that."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise ConfigurationError("the service knows no such model")

    service = CountingService(reply)
    for _ in range(5):
        with api_of(service, budget=Budget(queries=3, run="r")) as api, suppress(ConfigurationError):
            api.predict(GREY, n=1)
    assert service.seen <= 3


def test_what_is_no_answer_is_not_asked_for_ever() -> None:
    """An adapter that gives something else in place of an answer breaks its contract, once."""
    service = CountingService(lambda first, images: [None] * len(images))
    with api_of(service, budget=Budget(queries=50)) as api:
        error = error_of(lambda: api.certify(GREY, n=20))
    assert (service.seen, type(error)) == (1, ProviderError)


@pytest.mark.parametrize("end", ["write", "release"])
def test_a_claim_that_could_not_be_ended_does_not_block_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """After a disk that was full for a moment the same process can ask again."""
    cache = DiskCache(tmp_path)
    service = CountingService(lambda first, images: [Verdict.REFUSED if end == "release" else says("dog")])
    sender = sender_of(service, answers=StreamAnswers(cache, "s", shared=True), sleep=lambda seconds: None)
    claim = cache.claim

    def full(*arguments: Any, **options: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    def claimed(*arguments: Any) -> Any:
        found = claim(*arguments)
        patch.setattr(cache._answers._database, "write", full)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(cache, "claim", claimed)
        assert isinstance(error_of(lambda: sender.send([1], [IMAGE])), ConfigurationError)
    assert cache.claim("s", [1]).granted == (1,)


def test_a_claim_lasts_as_long_as_the_wait_for_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the quota, a query that waits for its turn is not asked by another process meanwhile."""
    late = [0.0]
    monkeypatch.setattr(time, "time", lambda: 1e9 + late[0])
    service, answers = CountingService(), StreamAnswers(DiskCache(tmp_path), "s", shared=True)

    class SlowQuota:
        def wait(self, images: int, stop: threading.Event) -> None:
            late[0] += CLAIM_SECONDS + 1
            sender_of(service, answers=StreamAnswers(DiskCache(tmp_path), "s", shared=True)).send(
                [1], [IMAGE]
            )

        def spare(self, images: int) -> None: ...

        def pause(self, seconds: float) -> None: ...

        def answered(self) -> None: ...

    sender_of(service, limiter=SlowQuota(), answers=answers).send([1], [IMAGE])
    assert service.seen == 1


def test_a_broken_cache_does_not_eat_the_budget() -> None:
    """What was reserved and never sent is returned, whatever went wrong in between."""

    class Broken(MemoryCache):
        def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
            raise ConfigurationError("an entry this program did not write")

    purse = InMemoryBudget(Budget(queries=10))
    sender = sender_of(CountingService(), account=purse, answers=StreamAnswers(Broken(), "s", shared=True))
    with pytest.raises(ConfigurationError):
        sender.send([0, 1], [IMAGE, IMAGE])
    assert purse.affordable() == 10


def test_after_an_answer_was_lost_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers cannot be kept, no more are paid for than were under way."""

    def full(self: MemoryCache, stream: str, answers: Any) -> dict[int, Answer]:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(MemoryCache, "write", full)
    service = CountingService()
    sender = sender_of(service, answers=StreamAnswers(MemoryCache(), "s", shared=True))
    for index in range(3):
        error_of(partial(sender.send, [index], [IMAGE]))
    assert service.seen == 1


@pytest.mark.parametrize("fatal", [False, True], ids=["halted", "fatal"])
def test_nothing_leaves_after_the_end(fatal: bool) -> None:
    """After Ctrl-C, or after an error that ends the run, requests that waited for their turn are not sent."""
    turn, in_line = threading.Event(), threading.Semaphore(0)

    class Closed:
        def wait(self, images: int, stop: threading.Event) -> None:
            in_line.release()
            assert turn.wait(60)

        def spare(self, images: int) -> None: ...

        def pause(self, seconds: float) -> None: ...

        def answered(self) -> None: ...

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise RuntimeError(Verdict(kind="fatal", message="revoked"))

    service = CountingService(reply if fatal else None)
    sender = sender_of(service, limiter=Closed())
    sender.sender._gate._open = True

    def send(index: int) -> None:
        with suppress(ProviderError):
            sender.send([index], [IMAGE])

    threads = [threading.Thread(target=send, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert in_line.acquire(timeout=60)
    if fatal:
        sender.sender._stopped = ProviderError("another request failed for good")
    else:
        sender.halt()
    turn.set()
    for thread in threads:
        thread.join()
    assert service.seen == 0


@pytest.mark.usefixtures("no_waits")
def test_the_text_of_an_exception_is_not_repeated() -> None:
    """An exception that quotes the key in an address does not get into certificates; only its kind does."""

    class Plain(CountingService):
        def verdict(self, error: Exception, /) -> Verdict:
            return Verdict.TRANSIENT

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise OSError("Max retries exceeded with url: /v1?key=planted-secret-51")

    with api_of(Plain(reply), cache=False) as api:
        assert "planted-secret-51" not in api.certify(GREY, n=60).to_json()


def test_the_text_of_a_fatal_exception_is_not_repeated() -> None:
    """The line that ends a run names the kind of an exception, never its text, which may quote a key."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise OSError("Max retries exceeded with url: /v1?key=planted-secret-51")

    with api_of(CountingService(reply), cache=False) as api:
        error = error_of(lambda: api.certify(GREY, n=60))
    assert isinstance(error, ProviderError)
    assert "planted-secret-51" not in str(error)


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up ends the run with one line, and not with a request to report a bug."""

    def full(self: Any, work: Any, **options: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    with api_of(CountingService()) as api:
        monkeypatch.setattr("api_smoothing.engine.storage.database.Database.write", full)
        assert isinstance(error_of(lambda: api.predict(GREY, n=10)), ApiSmoothError)


def test_answers_that_come_meanwhile_are_no_failed_attempts() -> None:
    """A query that was never asked has not failed, however often others of its batch were answered by others."""

    class Filling(MemoryCache):
        """Another process answers one more query before each look."""

        def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
            super().write(stream, {min(indices): says("dog")})
            return super().read(stream, indices)

    answers = StreamAnswers(Filling(), "s", shared=True)
    sender = sender_of(CountingService(batch=8), answers=answers, sleep=lambda seconds: None)
    assert sender.send(range(8), [IMAGE] * 8) == dict.fromkeys(range(8), says("dog"))


def test_answers_that_name_no_label_are_told() -> None:
    """Whoever asks a model that chats learns that no answer was one of the labels, not only that votes are missing."""
    service = CountingService(lambda first, images: [Answer(labels=())] * len(images))
    with api_of(service, cache=False) as api:
        found = api.certify(GREY, n=24)
    assert found.label is None
    assert re.search(r"(\d+) of \1 answers named no label", found.reason)


def test_a_version_that_flaps_names_the_way_out() -> None:
    """After one void certificate the line says what to do where versions take turns."""
    service = CountingService(lambda first, images: [says("dog", version=f"fp_{first % 2}")], drift="version")
    with api_of(service, cache=False) as api:
        error = error_of(lambda: api.certify(GREY, n=20))
    assert "version_at=" in str(error).partition("run again")[2]


@pytest.mark.parametrize("ended", [False, True])
def test_what_fails_as_the_run_ends_is_not_remembered(ended: bool) -> None:
    """A run that is stopped gives up early: its last failures are no final ones."""
    cache = MemoryCache()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if ended and first == ATTEMPTS - 1:
            sender.halt()
        raise TRANSIENT

    sender = sender_of(
        CountingService(reply),
        answers=StreamAnswers(cache, "s", shared=True),
        sleep=lambda seconds: None,
        gate=(gate := FirstRequestGate()),
    )
    gate.open(answering=True)
    assert sender.send([0], [IMAGE]) == {0: Open.ENDED if ended else None}
    assert cache.failures("s", [0]) == ({} if ended else {0: "down"})


def test_failures_of_a_service_that_never_answered_are_not_remembered() -> None:
    """Until something is answered a failure may be the account's: it is kept with the first answer, or forgotten."""
    cache, down = MemoryCache(), [True]

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if down[0]:
            raise TRANSIENT
        return [says("dog")] * len(images)

    sender = sender_of(
        CountingService(reply), answers=StreamAnswers(cache, "s", shared=True), sleep=lambda seconds: None
    )
    assert sender.send([0], [IMAGE]) == {0: None}
    assert cache.failures("s", [0]) == {}
    down[0] = False
    sender.send([1], [IMAGE])
    assert cache.failures("s", [0, 1]) == {0: "down"}
