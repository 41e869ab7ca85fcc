"""One batch on its way to a provider: what is paid, tried again, waited for, and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.engine.sending.drift import Canary, Watch, alike, picture
from api_smoothing.engine.sending.outcome import Open
from api_smoothing.engine.sending.sender import ATTEMPTS, Sender
from api_smoothing.engine.storage.answers import DiskCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import BudgetError, CredentialsError, DriftError, ProviderError
from api_smoothing.results import Budget

Reply = Callable[[Sequence[EncodedImage]], Sequence[Answer | Verdict]]
DOG = Answer(labels=(Label(name="dog", score=0.9),))


class Service:
    """Gives the replies it was told to, one a request, then dogs; keeps what it was sent."""

    def __init__(self, *replies: Any, drift: Any = "none") -> None:
        self.card = AdapterCard(name="service", fingerprint="1", batch=8, drift=drift)
        self.requests: list[int] = []
        self._replies = list(replies)
        self._lock = threading.Lock()

    def label(self, images: Sequence[EncodedImage], /) -> Sequence[Answer | Verdict]:
        with self._lock:
            self.requests.append(len(images))
            reply = self._replies.pop(0) if self._replies else None
        if isinstance(reply, Exception):
            raise reply
        return [DOG] * len(images) if reply is None else list(reply)

    def verdict(self, error: Exception, /) -> Verdict:
        found = error.args[0] if error.args else Verdict.FATAL
        return found if isinstance(found, Verdict) else Verdict.FATAL


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


def images(count: int) -> list[EncodedImage]:
    return [EncodedImage(data=bytes([i]), height=1, width=1) for i in range(count)]


class Desk:
    """A sender with a cache, a purse and a clock that only counts."""

    def __init__(self, path: Path, service: Service, *, budget: Budget | None = None) -> None:
        self.cache = DiskCache(path)
        self.purse = InMemoryBudget(budget or Budget(queries=1000), micro_usd=1)
        self.limiter, self.slept = Pauses(), []
        self.sender = Sender(
            stream="s",
            adapter=service,
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
    service = Service(RuntimeError(Verdict.TRANSIENT), RuntimeError(Verdict.TRANSIENT))
    desk = Desk(tmp_path, service)
    assert desk.sender.send([4, 5], images(2)) == {4: DOG, 5: DOG}
    assert (desk.spent, desk.sender.usage.sent, service.requests) == (6, 6, [2, 2, 2])
    assert desk.cache.read("s", [4, 5]) == {4: DOG, 5: DOG}


def test_what_never_left_costs_nothing(tmp_path: Path) -> None:
    """A refused connection is no query: the budget gets it back."""
    desk = Desk(tmp_path, Service(*[RuntimeError(Verdict(kind="transient", sent=False))] * 9))
    assert desk.sender.send([0], images(1)) == {0: None}
    assert (desk.spent, desk.sender.usage.sent) == (0, 0)


def test_missing_credentials_cost_nothing(tmp_path: Path) -> None:
    """The error for missing credentials passes through, and no query is charged."""

    class Locked(Service):
        def connect(self) -> None:
            raise CredentialsError("set ACME_KEY")

    desk = Desk(tmp_path, Locked())
    with pytest.raises(CredentialsError, match="ACME_KEY"):
        desk.sender.send([0], images(1))
    assert desk.spent == 0


def test_rejected_credentials_may_have_cost(tmp_path: Path) -> None:
    """The same error from the call itself may come after a response, which may have been billed."""
    desk = Desk(tmp_path, Service(CredentialsError("ACME_KEY was rejected")))
    with pytest.raises(CredentialsError, match="ACME_KEY"):
        desk.sender.send([0], images(1))
    assert desk.spent == 1


def test_verdicts_on_single_images_only_concern_those(tmp_path: Path) -> None:
    """In a response that succeeded, answers are kept; a failed image is asked again, one refused twice failed."""
    first = [DOG, Verdict(kind="transient", message="bad image data"), Verdict.REFUSED]
    service = Service(first, [DOG, Verdict.REFUSED])
    desk = Desk(tmp_path, service)
    assert desk.sender.send([0, 1, 2], images(3)) == {0: DOG, 1: DOG, 2: None}
    assert service.requests == [3, 2]
    assert desk.spent == 5


def test_a_throttle_is_waited_for_by_all(tmp_path: Path) -> None:
    """The wait is never shorter than the provider asked, and the limiter holds everyone else back."""
    desk = Desk(tmp_path, Service(RuntimeError(Verdict(kind="throttled", retry_after=7.0))))
    assert desk.sender.send([0], images(1)) == {0: DOG}
    assert desk.limiter.paused == [7.0]
    assert desk.slept[0] >= 7.0


def test_a_throttle_of_hours_is_fatal(tmp_path: Path) -> None:
    """A provider that asks for more than a minute is as good as closed: the run ends with what it has."""
    desk = Desk(tmp_path, Service(RuntimeError(Verdict(kind="throttled", retry_after=7200.0))))
    with pytest.raises(ProviderError, match="7200 s"):
        desk.sender.send([0], images(1))


def test_waits_between_attempts_are_bounded(tmp_path: Path) -> None:
    """An error that stays is tried a fixed number of times, with waits in between, and is then a failed query."""
    service = Service(*[RuntimeError(Verdict.TRANSIENT)] * 99)
    desk = Desk(tmp_path, service)
    assert desk.sender.send([0], images(1)) == {0: None}
    assert len(service.requests) == ATTEMPTS
    assert len(desk.slept) == ATTEMPTS - 1
    assert max(desk.slept) <= 20


def test_after_a_fatal_error_nothing_leaves(tmp_path: Path) -> None:
    """Requests that were waiting behind the one that failed for good are not sent."""
    service = Service(RuntimeError(Verdict(kind="fatal", message="the key was revoked")))
    desk = Desk(tmp_path, service)
    for _ in range(3):
        with pytest.raises(ProviderError, match="the key was revoked"):
            desk.sender.send([0], images(1))
    assert service.requests == [1]


def test_a_wrong_key_costs_one_request(tmp_path: Path) -> None:
    """Sixteen threads that start together send one request, not sixteen, when it fails for good."""
    service = Service(*[RuntimeError(Verdict(kind="fatal", message="wrong key"))] * 99)
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
    service = Service(RuntimeError(Verdict(kind="throttled", retry_after=50.0)))
    sender = Sender(
        stream="s",
        adapter=service,
        account=InMemoryBudget(Budget()),
        answers=StreamAnswers(DiskCache(tmp_path), "s", shared=False),
        limiter=None,
    )
    threading.Timer(0.2, sender.halt).start()
    with pytest.raises(ProviderError, match="ended"):
        sender.send([0], images(1))
    assert service.requests == [1]


def test_a_wrong_number_of_answers_is_a_broken_contract(tmp_path: Path) -> None:
    """Answers that cannot be told apart are not used."""
    desk = Desk(tmp_path, Service([DOG]))
    with pytest.raises(ProviderError, match="1 answers to 2 queries"):
        desk.sender.send([0, 1], images(2))
    assert desk.cache.read("s", range(4)) == {}


def test_the_budget_cuts_a_batch(tmp_path: Path) -> None:
    """Of a batch only what can be paid is sent; the rest is reported as unpaid."""
    service = Service()
    desk = Desk(tmp_path, service, budget=Budget(queries=2))
    outcomes = desk.sender.send([0, 1, 2], images(3))
    assert outcomes == {0: DOG, 1: DOG, 2: Open.UNPAID}
    assert service.requests == [2]


def test_an_answer_that_came_meanwhile_is_not_asked_for(tmp_path: Path) -> None:
    """Between the look into the cache and the claim another process may have been faster; its answer is used."""
    service = Service()
    desk = Desk(tmp_path / "cache", service)
    cat = Answer(labels=(Label(name="cat"),))
    desk.cache.write("s", {1: cat})
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: cat}
    assert service.requests == [1]


def test_a_query_someone_else_is_asking_is_left_to_them(tmp_path: Path) -> None:
    """A claimed query is reported as busy, and is neither sent nor paid."""
    service = Service()
    desk = Desk(tmp_path / "cache", service)
    DiskCache(tmp_path / "cache").claim("s", [1])
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: Open.BUSY}
    assert (service.requests, desk.spent) == ([1], 1)


def test_a_claim_ends_with_its_request(tmp_path: Path) -> None:
    """Whether it was answered, failed, or could not be paid: afterwards nobody waits for a query."""
    desk = Desk(tmp_path, Service([DOG, Verdict.REFUSED], [Verdict.REFUSED]), budget=Budget(queries=3))
    assert desk.sender.send([0, 1], images(2)) == {0: DOG, 1: None}
    assert desk.sender.send([2], images(1)) == {2: Open.UNPAID}
    assert not DiskCache(tmp_path).busy("s", [0, 1, 2])


def scored(**scores: float) -> Answer:
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in scores.items()))


def watch_of(path: Path, service: Service, cache: DiskCache, *, budget: Budget | None = None) -> Watch:
    sender = Sender(
        stream="canary",
        adapter=service,
        account=InMemoryBudget(budget or Budget(), micro_usd=1),
        answers=StreamAnswers(cache, "canary", shared=False),
        limiter=None,
        sleep=lambda seconds: None,
    )
    canary = Canary(card=service.card, sender=sender, cache=cache, stream="canary")
    return Watch(canary, cache, "s")


def test_the_canary_names_the_version_and_sees_it_change(tmp_path: Path) -> None:
    """The same answer, nearly, has the same name; a label that comes or goes is drift."""
    house = scored(house=0.95, sky=0.8, lawn=0.3)
    cache = DiskCache(tmp_path)
    watch = watch_of(tmp_path, Service([house], [scored(house=0.94, sky=0.82)]), cache)
    name = watch.version()
    assert watch.version() == name
    watch.finish(name, 100)
    changed = watch_of(tmp_path, Service([house], [scored(barn=0.95, sky=0.8)]), cache)
    assert changed.version() == name
    with pytest.raises(DriftError, match="canary"):
        changed.finish(name, 200)


def test_a_later_run_knows_the_version_again(tmp_path: Path) -> None:
    """Versions are remembered across objects; answers of two versions have two names."""
    cache = DiskCache(tmp_path)
    one, two = scored(house=0.95), scored(barn=0.9)
    names = [watch_of(tmp_path, Service([answer]), cache).version() for answer in (one, two, one, two)]
    assert names[0] == names[2] != names[1] == names[3]


def test_answers_nobody_confirmed_are_confirmed_by_the_next_run(tmp_path: Path) -> None:
    """Cached answers of a killed run are not trusted until the canary has spoken; once is enough."""
    cache = DiskCache(tmp_path)
    house = scored(house=0.95)
    name = watch_of(tmp_path, Service([house]), cache).version()
    service = Service([house], [scored(barn=0.9)])
    watch_of(tmp_path, service, cache).finish(name, 50)
    watch_of(tmp_path, service, cache).finish(name, 50)
    assert service.requests == [1]
    with pytest.raises(DriftError):
        watch_of(tmp_path, service, cache).finish(name, 60)


def test_a_canary_without_budget_says_so(tmp_path: Path) -> None:
    """No answers are bought that could not be confirmed."""
    with pytest.raises(BudgetError, match="canary"):
        watch_of(tmp_path, Service(), DiskCache(tmp_path), budget=Budget(queries=0)).version()


def test_small_changes_of_faint_labels_are_no_drift() -> None:
    """Only labels that are clear in one of the answers count, and only by more than the tolerance."""
    base = scored(house=0.95, sky=0.62, lawn=0.3)
    assert alike(base, scored(house=0.93, sky=0.58, tree=0.4))
    assert not alike(base, scored(house=0.85, sky=0.62))
    assert not alike(base, scored(house=0.95, sky=0.62, tree=0.7))


def test_the_canary_image_is_the_same_everywhere() -> None:
    """The canary's pixels are pinned: another picture would be another question."""
    import hashlib

    assert picture().shape == (224, 224, 3)
    assert hashlib.sha256(picture().tobytes()).hexdigest()[:16] == "f3ea654f09bb426c"
