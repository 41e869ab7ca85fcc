"""Images in, certificates in order out, whatever becomes of the workers; these are threads that ask a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from many_workers import Threads, asking, facts, pictures, service

from api_smoothing import Budget, Certificate, SmoothedAPI, evaluate
from api_smoothing.cluster import Account, dispatch
from api_smoothing.cluster.messages import Done, Message, Told
from api_smoothing.engine.storage import FolderStorage
from api_smoothing.errors import ConfigurationError, ImageError, ProviderError
from api_smoothing.events import AnswersCounted, Event, ImageCertified, ImageStarted
from api_smoothing.home import home
from api_smoothing.sandbox import Sandbox

pytest.importorskip("requests")


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with service() as running:
        yield running


def certified(
    server: Sandbox, count: int, engine: Any = None, *, n: int = 30, **more: Any
) -> list[Certificate]:
    with asking(server.options(), **more) as api:
        return list(api.certify_many(pictures(count), n=n, engine=engine))


def begun(index: int, *, times: int) -> Callable[[Message], bool]:
    """The first word of that image, so many times."""
    left = iter(range(times))

    def is_it(message: Message) -> bool:
        of = (
            isinstance(message, Told) and message.index == index and isinstance(message.event, AnswersCounted)
        )
        return of and next(left, None) is not None

    return is_it


def test_the_certificates_are_those_of_one_process(server: Sandbox, tmp_path: Any) -> None:
    """Field by field, in order, whatever the number of workers; no query is asked twice."""
    alone = certified(server, 7, cache=tmp_path / "alone")
    asked = server.meter.images
    for workers in (1, 3):
        engine = Threads(workers)
        found = certified(server, 7, engine, cache=tmp_path / str(workers))
        assert facts(found) == facts(alone)
        assert sum(one.queries for one in found) == asked
        assert len(engine.hired) == workers
        assert engine.opened == 0, "a run leaves nothing behind"
    assert server.meter.images == 3 * asked


def test_a_lost_worker_costs_only_what_it_had_under_way(server: Sandbox, tmp_path: Any) -> None:
    """Its images are handed out again, and the answers it kept are read, not bought."""
    alone = certified(server, 6, cache=tmp_path / "alone")
    asked, fatal = server.meter.images, begun(3, times=1)
    engine = Threads(2, fatal=fatal)
    found = certified(server, 6, engine, cache=tmp_path / "shared")
    assert facts(found) == facts(alone)
    assert len(engine.hired) == 3
    assert server.meter.images == 2 * asked


def test_an_image_that_ends_every_worker_ends_the_run(server: Sandbox) -> None:
    """After five workers the image is named, and no sixth is sacrificed."""
    engine = Threads(1, fatal=begun(1, times=6))
    with pytest.raises(ProviderError, match="5 workers were lost"):
        certified(server, 3, engine)
    assert len(engine.hired) == 5


def test_events_are_heard_of_every_image_in_its_place(server: Sandbox) -> None:
    """A start, the answers from number 0 on, the certificate; each with the image's number in the run."""
    heard = list[Event]()
    certified(server, 5, Threads(2), observers=(heard.append,))
    for index in range(5):
        of = [one for one in heard if getattr(one, "index", None) == index]
        assert isinstance(of[0], ImageStarted)
        assert isinstance(of[-1], ImageCertified)
        numbers = [answer.number for one in of if isinstance(one, AnswersCounted) for answer in one.answers]
        assert numbers == [*range(len(numbers))]
        assert len(numbers) == of[-1].certificate.n


def test_an_error_is_raised_in_the_turn_of_its_image(server: Sandbox) -> None:
    """Those before it are certified; those after it are not begun."""

    def images() -> Iterator[Any]:
        yield from pictures(2)
        yield b"no image"
        pytest.fail("nothing is read behind an image that cannot be")

    with asking(server.options()) as api:
        results = api.certify_many(images(), n=30, engine=Threads(2))
        assert [next(results).n for _ in range(2)] == [one.n for one in certified(server, 2)]
        with pytest.raises(ImageError):
            next(results)


def test_what_a_worker_raises_is_raised_here(server: Sandbox) -> None:
    """A key that is refused is the same error, with the same text, as in one process."""
    with asking({**server.options(), "key": "wrong"}) as api, pytest.raises(ProviderError) as alone:
        list(api.certify_many(pictures(2), n=30))
    with asking({**server.options(), "key": "wrong"}) as api, pytest.raises(ProviderError) as many:
        list(api.certify_many(pictures(2), n=30, engine=Threads(2)))
    assert (type(many.value), str(many.value)) == (type(alone.value), str(alone.value))


def test_the_driver_holds_few_images(server: Sandbox) -> None:
    """No more are read, and not certified, than workers have and are about to have."""
    done, held = 0, list[int]()

    def images() -> Iterator[Any]:
        for number, image in enumerate(pictures(60, side=8), start=1):
            held.append(number - done)
            yield image

    class Counting(Threads):
        def wait(self, workers: Iterable[Any], seconds: float) -> list[tuple[Any, Message]]:
            nonlocal done
            heard = super().wait(workers, seconds)
            done += sum(isinstance(message, Done) for _, message in heard)
            return heard

    with asking(server.options(), concurrency=1) as api:
        results = api.certify_many(images(), n=30, engine=Counting(2))
        next(results)
        results.close()  # type: ignore[attr-defined]
    assert 0 < max(held) < 40


def test_pure_work_is_done_again_where_it_is_slow(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is paid an idle worker takes over from one that says nothing, and the run ends."""
    monkeypatch.setattr(dispatch, "_SLOW_SECONDS", 0.5)
    options = {"denoiser": None, "seed": 0, "device": "cpu", "cache": tmp_path}
    engine = Threads(2, deaf=0)
    with SmoothedAPI("torchvision", model="cifar10", **options) as api:
        found = list(api.certify_many(pictures(9, side=32), n=20, engine=engine))
    assert len(found) == 9
    assert engine.hired[0].given
    assert {*engine.hired[0].given} <= {*engine.hired[1].given}


def test_pure_work_need_not_be_kept(tmp_path: Any) -> None:
    """A model in each worker, nothing paid and no answer on the disk: the certificates of one process."""
    options = {"denoiser": None, "seed": 0, "device": "cpu", "cache": False}

    def found(engine: Any = None) -> list[Certificate]:
        with SmoothedAPI("torchvision", model="cifar10", **options) as api:
            return list(api.certify_many(pictures(4, side=32), n=20, engine=engine))

    assert facts(found(Threads(2))) == facts(found())
    with closing(FolderStorage(home())) as storage:
        assert storage.contents().answers == 0


class GivesUp(Threads):
    """Two workers, the first of them deaf; it is lost when the other one has had nothing to do for a few looks."""

    def __init__(self) -> None:
        super().__init__(2, deaf=0)
        self.others, self._done, self._idle = list[int](), 0, 0

    def wait(self, workers: Iterable[Any], seconds: float) -> list[tuple[Any, Message]]:
        deaf, other = self.hired[:2]
        if other.given and self._done == len(other.given) and not deaf.lost:
            self._idle += 1
            if self._idle == 5:
                self.others = list(other.given)
                deaf.lose()
        heard = super().wait(workers, seconds)
        self._done += sum(isinstance(message, Done) for _, message in heard)
        return heard


def test_a_paid_request_is_never_made_again_because_it_is_slow(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image waits for its worker as long as there is one; once that is lost another one has it."""
    monkeypatch.setattr(dispatch, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(dispatch, "_SLOW", 0.0)  # every look finds them late
    engine = GivesUp()
    with asking(server.options()) as api:
        assert len(list(api.certify_many(pictures(12), n=30, engine=engine))) == 12
    assert 0 < len(engine.others) == 12 - len(engine.hired[0].given) < 12
    assert not {*engine.hired[0].given} & {*engine.others}


def test_a_budget_is_spent_on_the_earliest_images(server: Sandbox) -> None:
    """One that does not pay all pays the same images as in one process, and not a query more than it has."""
    budget = Budget(queries=100, run="small")
    found = certified(server, 6, Threads(3), budget=budget)
    assert server.meter.images <= 100
    assert [one.stopped == "budget" for one in found] == sorted(one.stopped == "budget" for one in found)
    assert sum(one.stopped != "budget" for one in found) >= 2


def test_an_account_whose_own_budget_is_spent_leaves_the_rest_to_the_others(
    server: Sandbox, tmp_path: Any
) -> None:
    """What it has paid for is read by the next; each spends what it may, and the certificates are whole."""
    alone = certified(server, 5, cache=tmp_path / "alone")
    paid = server.meter.images
    accounts = [Account(name="one", usd=0.02), Account(name="two", usd=10.0)]
    own = Budget(usd=0.02, run="r#one")
    engine = Threads(2, accounts)
    found = certified(server, 5, engine, cache=tmp_path / "shared", account="one", budget=own)
    assert facts(found) == facts(alone)
    assert server.meter.images == 2 * paid
    spent = {
        name: FolderStorage(home(), cache=tmp_path / "shared")
        .budget(Budget(), run=f"r#{name}", provider="", micro_usd=0)
        .spent()[1]
        for name in ("one", "two")
    }
    assert spent["one"] <= 20_000
    assert sum(spent.values()) == 1000 * paid


def test_accounts_that_have_all_spent_their_budgets_end_the_run(server: Sandbox, tmp_path: Any) -> None:
    """Every image has a certificate, those that nobody could pay for one that says so."""
    accounts = [Account(name=name, usd=0.05) for name in ("one", "two")]
    own = Budget(usd=0.05, run="r#one")
    found = certified(server, 12, Threads(2, accounts), cache=tmp_path, account="one", budget=own)
    assert len(found) == 12
    assert {one.stopped == "budget" for one in found} == {True, False}
    assert server.meter.images <= 100


def test_a_run_that_is_left_keeps_what_was_paid(server: Sandbox, tmp_path: Any) -> None:
    """Closing the results ends the workers when their answers are kept: nothing is bought again."""
    with asking(server.options(), cache=tmp_path / "shared") as api:
        results = api.certify_many(pictures(8), n=30, engine=Threads(2))
        next(results)
        results.close()  # type: ignore[attr-defined]
    certified(server, 8, cache=tmp_path / "shared")
    left = server.meter.images
    certified(server, 8, cache=tmp_path / "alone")
    assert left == server.meter.images - left


def test_a_claim_keeps_its_workers(server: Sandbox, tmp_path: Any) -> None:
    """They are handed the images that are sure to be needed, and wait while it depends on others whether more are."""
    images = [(pixels, "dog" if number % 4 == 0 else "cat") for number, pixels in enumerate(pictures(40))]

    def claimed(name: str, engine: Any = None) -> Any:
        with asking(server.options(), cache=tmp_path / name) as api:
            return evaluate(api, images, radii=(0.0,), n=40, at_least=0.4, engine=engine)

    alone, engine = claimed("alone"), Threads(2)
    asked = server.meter.images
    many = claimed("many", engine)
    assert facts(many.run.certificates) == facts(alone.run.certificates)
    assert many.claim["state"] == alone.claim["state"] != "open"
    assert 0 < many.left == alone.left
    assert server.meter.images == 2 * asked
    assert (len(engine.hired), engine.opened) == (2, 0)


def test_images_teach_one_another_whoever_has_them(server: Sandbox, tmp_path: Any) -> None:
    """With a learned prior: the ninth image waits for the first eight, and its certificate is that of one process."""
    images = pictures(12, side=8)

    def learned(name: str, engine: Any = None) -> list[Certificate]:
        with asking(server.options(), cache=tmp_path / name, prior="learn") as api:
            return list(api.certify_many(images, radius=0.1, n=60, engine=engine))

    alone, engine = learned("alone"), Threads(3, fatal=begun(9, times=1))
    asked = server.meter.images
    found = learned("many", engine)
    assert facts(found) == facts(alone)
    assert [one.prior is not None for one in alone] == [index >= 8 for index in range(12)]
    assert len(engine.hired) == 4, "one was lost with an image that had been taught"
    assert server.meter.images == 2 * asked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"store": "memory"}, "answers that are kept"),
        ({"cache": False}, "answers that are kept"),
        ({"reuse": "ball"}, "wait for any other"),
    ],
)
def test_what_workers_cannot_share_is_refused(server: Sandbox, options: dict[str, Any], words: str) -> None:
    """In one line, before anything is asked."""
    with asking(server.options(), **options) as api, pytest.raises(ConfigurationError, match=words):
        list(api.certify_many(pictures(1), n=30, engine=Threads(1)))
    assert server.meter.requests == 0


def test_a_folder_of_another_machine_is_refused(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not see the folder of the driver, on its machine, are told of databases."""
    places = iter(range(10))
    monkeypatch.setattr(FolderStorage, "place", lambda self: ("boot", next(places)))
    with asking(server.options()) as api, pytest.raises(ConfigurationError, match="several machines"):
        list(api.certify_many([np.zeros((8, 8, 3), np.uint8)], n=30, engine=Threads(1)))
    assert server.meter.requests == 0
