"""A model that changes under a run: what tells it, and what it makes void."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from counting_service import (
    GREY,
    TRANSIENT,
    CountingService,
    api_of,
    error_of,
    is_canary,
    replying,
    says,
    sender_of,
)

from api_smoothing import Budget
from api_smoothing.adapters.base import Answer, EncodedImage, Label, Verdict
from api_smoothing.engine.scheduler import Everything
from api_smoothing.engine.sending import sender as attempt
from api_smoothing.engine.sending.drift import Canary, Watch, _name, alike, picture
from api_smoothing.engine.storage.answers import DiskCache, MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import BudgetError, DriftError, ProviderError


@pytest.mark.usefixtures("no_waits")
def test_a_service_that_is_down_costs_one_canary() -> None:
    """When the canary fails for good the run ends, whatever the number of workers."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise TRANSIENT

    service = CountingService(reply, drift="canary")
    with api_of(service, concurrency=8) as api, pytest.raises(ProviderError):
        api.certify(GREY, n=200)
    assert service.seen <= attempt.ATTEMPTS


@pytest.mark.usefixtures("no_waits")
def test_a_spent_budget_is_no_error() -> None:
    """Votes are paid only as long as they can be confirmed; then the certificate says "budget"."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if not is_canary(images) and first >= 20:
            raise TRANSIENT
        return [says("house" if is_canary(images) else "dog")]

    with api_of(CountingService(reply, drift="canary"), budget=Budget(queries=30)) as api:
        assert api.certify(GREY, n=28).stopped == "budget"


def canaries_fail(*which: int) -> CountingService:
    """Answers everything but those of its canaries, counted from 1."""
    asked = [0]

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if not is_canary(images):
            return [says("dog")]
        asked[0] += 1
        return [Verdict(kind="transient", message="down") if asked[0] in which else says("house")]

    return CountingService(reply, drift="canary")


@pytest.mark.parametrize("concurrency", [1, 9])
@pytest.mark.usefixtures("no_waits")
def test_votes_that_the_budget_cannot_confirm_prove_nothing_yet(tmp_path: Path, concurrency: int) -> None:
    """A canary that fails once may find no money left: that is a spent budget, and a larger one confirms the votes."""
    service = canaries_fail(2)
    options: dict[str, Any] = {"cache": tmp_path, "concurrency": concurrency}
    with api_of(service, budget=Budget(queries=22, run="r"), **options) as api:
        found = api.certify(GREY, n=20)
        assert (found.stopped, found.label, found.radius, found.p_lower, found.n) == (
            "budget",
            None,
            0,
            0,
            20,
        )
        assert "canary" in found.reason
        assert api.predict(GREY, n=20).label is None
        assert [result.label for result in api.certify_labels(GREY, thresholds={"dog": 0.5}, n=20)] == [None]
    assert service.seen == 22
    with api_of(service, budget=Budget(queries=23, run="r"), **options) as api:
        found = api.certify(GREY, n=20)
    assert (found.stopped, found.label, found.queries, found.cached, service.seen) == ("n", "dog", 1, 20, 23)


@pytest.mark.parametrize("concurrency", [1, 9])
@pytest.mark.usefixtures("no_waits")
def test_a_first_canary_that_the_budget_cannot_repeat_is_a_spent_budget(concurrency: int) -> None:
    """It fails until nothing is left: no vote was bought, and the certificate says so."""
    service = canaries_fail(*range(3, 16))
    with api_of(service, budget=Budget(queries=26), concurrency=concurrency) as api:
        found = list(api.certify_many([GREY, GREY[:4]], n=11))
    assert [(result.stopped, result.n, result.queries) for result in found] == [
        ("n", 11, 13),
        ("budget", 0, 13),
    ]
    assert service.seen == 26


def test_an_interrupted_canary_does_not_wait_out_its_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the canary is throttled ends the run at once."""
    monkeypatch.setattr(attempt, "_pause", lambda job, state: 120.0)

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        timer.start()
        raise TRANSIENT

    with api_of(CountingService(reply, drift="canary")) as api:
        from api_smoothing import images

        loaded = images.load(GREY)
        sender = api._session.sender()
        asked = api._inquiry(loaded, api._noise_stream(loaded), sender)
        timer = threading.Timer(0.1, sender.halt)
        began = time.monotonic()
        with pytest.raises((ProviderError, RuntimeError)):
            api._drive(asked, Everything(1), sender, most=1)
    assert time.monotonic() - began < 60


class Changing(CountingService):
    """Model X, then Y, as `model` says; only the canary tells them apart."""

    def __init__(self) -> None:
        super().__init__(self._ask, drift="canary")
        self.model, self.until, self.voted = "X", 60, list[str]()

    def _ask(self, first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        model = self.model if first < self.until else "Y"
        if is_canary(images):
            return [says("house" if model == "X" else "barn")]
        self.voted += [model] * len(images)
        return [says("dog")] * len(images)


def test_answers_that_a_canary_refuted_are_never_counted() -> None:
    """After drift, a service that returns to its old model (a rollback) does not make the mixed votes a certificate."""
    service = Changing()
    with api_of(service) as api, pytest.raises(DriftError):
        api.certify(GREY, n=100)
    assert {"X", "Y"} == set(service.voted)
    service.until, before = 10**9, len(service.voted)
    with api_of(service) as api:
        try:
            found = api.certify(GREY, n=100)
        except DriftError:
            return
    assert service.voted[before:] == ["X"] * found.n


def test_a_run_under_way_does_not_count_refuted_answers() -> None:
    """Drift that one process has seen voids the same answers for another that is reading them just then."""
    from api_smoothing import images

    service, loaded = Changing(), images.load(GREY)
    with api_of(service) as other, api_of(service) as api:
        sender, taken = other._session.sender(), Everything(100)
        asked = other._inquiry(loaded, other._noise_stream(loaded), sender)
        assert isinstance(error_of(lambda: api.certify(GREY, n=100)), DriftError)
        service.until = 10**9
        error = error_of(lambda: other._drive(asked, taken, sender, most=100))
        assert isinstance(error, DriftError) or not taken.votes


def test_a_canary_that_loses_a_race_keeps_its_own_name() -> None:
    """Two processes that see two models at the same moment give them two names."""
    house, barn = says("house"), says("barn")

    class Faster(MemoryCache):
        """Another process writes the first reference just before we do."""

        def write(self, stream: str, answers: Any) -> dict[int, Answer]:
            if stream.endswith("/0"):
                super().write(stream, {0: house})
            return super().write(stream, answers)

    service, cache = CountingService(lambda first, images: [barn], drift="canary"), Faster()
    one = sender_of(service)
    canary = Canary(card=service.card, sender=one.sender, cache=cache, stream=one.stream)
    assert canary.name() == _name(barn)


def test_a_canary_without_clear_labels_vouches_for_nothing() -> None:
    """Where no label of the canary is clear, a change of the model would not show: that is refused or noticed."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("adult", 0.1 if first < 30 else 0.5) if is_canary(images) else says("dog")]

    with api_of(CountingService(reply, drift="canary")) as api:
        assert error_of(lambda: api.certify(GREY, n=60)) is not None


def test_an_answer_without_a_version_is_not_counted_with_others() -> None:
    """Where versions are told, an answer that tells none may be of any model."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog", version="3.0" if first < 20 else None)] * len(images)

    with api_of(CountingService(reply, drift="version")) as api:
        assert error_of(lambda: api.certify(GREY, n=60)) is not None


def test_a_service_that_tells_its_version_now_and_then_can_be_certified() -> None:
    """Where versions are optional (`version = ["model?"]`), a run in which nothing changes is certified."""
    service = CountingService(lambda first, images: [says("dog", version="1")] * len(images), drift="canary")
    with api_of(service) as api:
        assert api.certify(GREY, n=40).label == "dog"


def test_a_run_goes_on_after_drift() -> None:
    """The command given again after drift gets a certificate of the new model for the image."""
    service = CountingService(
        lambda first, images: [says("dog", version="1" if first < 10 else "2")], drift="version"
    )
    with api_of(service) as api, pytest.raises(DriftError):
        api.certify(GREY, n=40)
    with api_of(service) as api:
        assert api.certify(GREY, n=40).model_version == "2"


def scored(**scores: float) -> Answer:
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in scores.items()))


def watch_of(
    path: Path, service: CountingService, cache: DiskCache, *, budget: Budget | None = None
) -> Watch:
    one = sender_of(
        service,
        account=InMemoryBudget(budget or Budget(), micro_usd=1),
        answers=StreamAnswers(cache, "canary", shared=False),
        sleep=lambda seconds: None,
    )
    canary = Canary(card=service.card, sender=one.sender, cache=cache, stream=one.stream)
    return Watch(canary, cache, "s")


def test_the_canary_names_the_version_and_sees_it_change(tmp_path: Path) -> None:
    """The same answer, nearly, has the same name; a label that comes or goes is drift."""
    house = scored(house=0.95, sky=0.8, lawn=0.3)
    cache = DiskCache(tmp_path)
    watch = watch_of(tmp_path, replying([house], [scored(house=0.94, sky=0.82)]), cache)
    name = watch.version()
    assert watch.version() == name
    watch.finish(name, 100)
    changed = watch_of(tmp_path, replying([house], [scored(barn=0.95, sky=0.8)]), cache)
    assert changed.version() == name
    with pytest.raises(DriftError, match="canary"):
        changed.finish(name, 200)


def test_a_later_run_knows_the_version_again(tmp_path: Path) -> None:
    """Versions are remembered across objects; answers of two versions have two names."""
    cache = DiskCache(tmp_path)
    one, two = scored(house=0.95), scored(barn=0.9)
    names = [watch_of(tmp_path, replying([answer]), cache).version() for answer in (one, two, one, two)]
    assert names[0] == names[2] != names[1] == names[3]


def test_answers_nobody_confirmed_are_confirmed_by_the_next_run(tmp_path: Path) -> None:
    """Cached answers of a killed run are not trusted until the canary has spoken; once is enough."""
    cache = DiskCache(tmp_path)
    house = scored(house=0.95)
    name = watch_of(tmp_path, replying([house]), cache).version()
    service = replying([house], [scored(barn=0.9)])
    watch_of(tmp_path, service, cache).finish(name, 50)
    watch_of(tmp_path, service, cache).finish(name, 50)
    assert service.requests == [1]
    with pytest.raises(DriftError):
        watch_of(tmp_path, service, cache).finish(name, 60)


def test_a_canary_without_budget_says_so(tmp_path: Path) -> None:
    """No answers are bought that could not be confirmed."""
    with pytest.raises(BudgetError, match="canary"):
        watch_of(tmp_path, replying(), DiskCache(tmp_path), budget=Budget(queries=0)).version()


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
