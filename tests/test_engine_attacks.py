"""Attacks on the engine that asks paid providers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.cli import main
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.engine.collecting import take_all
from api_smoothing.engine.sending import sender as attempt
from api_smoothing.engine.sending.drift import Canary, _name
from api_smoothing.engine.sending.outcome import Limiter
from api_smoothing.engine.storage import rate
from api_smoothing.engine.storage.answers import DiskCache, MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import Ledger
from api_smoothing.engine.storage.paid import CLAIM_SECONDS
from api_smoothing.engine.storage.rate import RateLimiter
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import (
    ApiSmoothError,
    ConfigurationError,
    DriftError,
    ProviderError,
)
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

GREY = np.full((8, 8, 3), 128, np.uint8)
IMAGE = EncodedImage(data=b"", height=1, width=1)
TRANSIENT = RuntimeError(Verdict(kind="transient", message="down"))
Reply = Callable[[int, Sequence[EncodedImage]], Sequence[Any]]


def says(name: str, score: float = 0.9, version: str | None = None) -> Answer:
    return Answer(labels=(Label(name=name, score=score),), model_version=version)


class Service:
    """A service that counts the images it is sent; `reply` gets the number of the first of them."""

    def __init__(self, reply: Reply | None = None, **card: Any) -> None:
        self.card = AdapterCard(**{"name": "service", "fingerprint": "service-1", **card})
        self.seen = 0
        self._reply, self._lock = reply, threading.Lock()

    def label(self, images: Any, /) -> Sequence[Any]:
        with self._lock:
            first, self.seen = self.seen, self.seen + len(images)
        return [says("dog")] * len(images) if self._reply is None else self._reply(first, images)

    def verdict(self, error: Exception, /) -> Verdict:
        found = error.args[0] if error.args else None
        return found if isinstance(found, Verdict) else Verdict.FATAL


def smoothed(service: Service, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(service, **{"denoiser": None, "seed": 1, "concurrency": 1, **options})


def sender_of(service: Service, *, limiter: Limiter | None = None, **parts: Any) -> attempt.Sender:
    given = {
        "account": InMemoryBudget(Budget()),
        "answers": StreamAnswers(MemoryCache(), "s", shared=False),
        **parts,
    }
    return attempt.Sender(stream="s", adapter=service, limiter=limiter, **given)


def error_of(call: Callable[[], object]) -> Exception | None:
    """The error of one line that `call` raises, or what SQLite raises in its place."""
    try:
        call()
    except (ApiSmoothError, sqlite3.Error) as error:
        return error
    return None


def is_canary(images: Sequence[EncodedImage]) -> bool:
    return images[0].height == 224


def draw(image: EncodedImage) -> float:
    return int.from_bytes(hashlib.sha256(image.data).digest()[:4], "big") / 2**32


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = attempt.Sender.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", lambda seconds: None)


# ---------------------------------------------------------------- a budget is never exceeded


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two images, without a proxy."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for k in range(2):
        Image.fromarray(np.full((96, 96, 3), (90 + k, 150, 235), np.uint8)).save(f"{k}.png")
    return tmp_path


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """What the command line takes for the real service of "http"."""
    pytest.importorskip("requests")
    with Sandbox("http", classifier=scripted_brain({"cat": 1.0})) as running:
        place = f'endpoint = "{running.endpoint}"'
        settings = 'provider = "http"\nmodel = "sandbox-json"\ndenoiser = "none"\nseed = 1\nrate = 10000\n'
        (folder / "api-smooth.toml").write_text(f"{settings}options = {{{place}}}\n")
        monkeypatch.setenv("SANDBOX_KEY", running.key)
        yield running


def test_an_error_after_sending_is_not_refunded() -> None:
    """Only what an adapter says was never sent is given back; the class of an error says nothing about that."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise ConfigurationError("the service knows no such model")

    service = Service(reply)
    for _ in range(5):
        with smoothed(service, budget=Budget(queries=3, run="r")) as api, suppress(ConfigurationError):
            api.predict(GREY, n=1)
    assert service.seen <= 3


def test_what_is_no_answer_is_not_asked_for_ever() -> None:
    """An adapter that gives something else in place of an answer breaks its contract, once."""
    service = Service(lambda first, images: [None] * len(images))
    with smoothed(service, budget=Budget(queries=50)) as api:
        error = error_of(lambda: api.certify(GREY, n=20))
    assert (service.seen, type(error)) == (1, ProviderError)


@pytest.mark.usefixtures("no_waits")
def test_a_service_that_is_down_costs_one_canary() -> None:
    """When the canary fails for good the run ends, whatever the number of workers."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise TRANSIENT

    service = Service(reply, drift="canary")
    with smoothed(service, concurrency=8) as api, pytest.raises(ProviderError):
        api.certify(GREY, n=200)
    assert service.seen <= attempt.ATTEMPTS


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("method", ["auto", "clopper-pearson"])
@pytest.mark.parametrize("drift", ["none", "canary"])
def test_failures_that_decide_end_the_run(method: Any, drift: str) -> None:
    """When more than 5 % of n have failed the certificate is void; no further query is paid for it."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if is_canary(images):
            return [says("house")]
        raise TRANSIENT

    service = Service(reply, drift=drift)
    with smoothed(service, method=method) as api:
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
        service = Service(reply, max_labels=4)
        with smoothed(service, cache=False) as api:
            found = getattr(api, ask)(GREY, radius=0.05, n=1000)
        found = found if ask == "certify" else found[0]
        assert (found.stopped, found.reached) == ("failed", False)
        assert (found.failed, service.seen < 400) == (51, True)


def test_a_large_budget_does_not_delay_the_first_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of a billion queries costs no more looks into the cache than a small one."""
    looks, read = [0], MemoryCache.read

    def counted(self: MemoryCache, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        looks[0] += len(indices)
        assert looks[0] < 100_000
        return read(self, stream, indices)

    monkeypatch.setattr(MemoryCache, "read", counted)
    with smoothed(Service(), budget=Budget(queries=10**9), cache=False) as api:
        assert api.certify(GREY, radius=0.1).reached


@pytest.mark.parametrize(
    "budget", [{"usd": float("inf")}, {"queries": 2.5}, {"usd": "2"}], ids=["inf", "fraction", "text"]
)
def test_a_budget_is_a_number(budget: dict[str, Any]) -> None:
    """What cannot be a budget is refused in one line."""
    with pytest.raises(ConfigurationError):
        smoothed(Service(), budget=Budget(**budget)).predict(GREY, n=5)


# ---------------------------------------------------------------- no answer is lost or paid twice


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts the open files of this process")
def test_open_files_do_not_grow_with_the_work() -> None:
    """A run over many images needs no more open files than one over few."""
    service = Service(quotas=(Quota(unit="image", count=10_000),))
    with smoothed(service, concurrency=8) as api:
        api.certify(GREY, radius=0.1)
        before = len(os.listdir("/dev/fd"))
        for k in range(3):
            api.certify(GREY + np.uint8(k + 1), radius=0.1)
        assert len(os.listdir("/dev/fd")) < before + 60


@pytest.mark.parametrize("method", ["fixed", "clopper-pearson"])
def test_the_estimated_budget_suffices(method: str) -> None:
    """A budget of exactly what the estimate says completes a run in which nothing fails."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("house" if is_canary(images) else "dog" if draw(images[0]) > 0.08 else "cat")]

    service = Service(reply, drift="canary")
    needed = smoothed(service, method=method).estimate(1, n=100).queries_high
    with smoothed(service, method=method, budget=Budget(queries=needed)) as api:
        assert api.certify(GREY, n=100).stopped == "n"


@pytest.mark.usefixtures("no_waits")
def test_a_spent_budget_is_no_error() -> None:
    """Votes are paid only as long as they can be confirmed; then the certificate says "budget"."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if not is_canary(images) and first >= 20:
            raise TRANSIENT
        return [says("house" if is_canary(images) else "dog")]

    with smoothed(Service(reply, drift="canary"), budget=Budget(queries=30)) as api:
        assert api.certify(GREY, n=28).stopped == "budget"


HOLDER = """
import sys, time
from pathlib import Path
from api_smoothing.engine.storage.answers import DiskCache
DiskCache(Path(sys.argv[1])).claim("s", [1])
print("claimed", flush=True)
time.sleep(60)
"""


def ledger_at(path: Path) -> Ledger:
    return Ledger(path, Budget(), run="r", provider="p", micro_usd=1)


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_the_claims_of_a_zombie_lapse(tmp_path: Path) -> None:
    """A claim ends with its process, also where the parent has not collected it, as in a container without init."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    time.sleep(0.3)  # it is dead by then, and nobody has waited for it
    try:
        assert DiskCache(tmp_path).claim("s", [1]).granted == (1,)
    finally:
        holder.wait()


def test_a_claim_of_an_earlier_process_with_our_number_lapses(tmp_path: Path) -> None:
    """After kill -9 in a container the new process has the old one's pid; it does not wait for itself."""
    DiskCache(tmp_path).claim("s", [1])
    with sqlite3.connect(tmp_path / "paid.db") as db:
        db.execute("UPDATE claims SET pid = ?, holder = 'another process'", (os.getpid(),))
    assert DiskCache(tmp_path).claim("s", [1]).granted == (1,)


@pytest.mark.parametrize("end", ["write", "release"])
def test_a_claim_that_could_not_be_ended_does_not_block_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """After a disk that was full for a moment the same process can ask again."""
    cache = DiskCache(tmp_path)
    service = Service(lambda first, images: [Verdict.REFUSED if end == "release" else says("dog")])
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
    service, answers = Service(), StreamAnswers(DiskCache(tmp_path), "s", shared=True)

    class SlowQuota:
        def wait(self, images: int, stop: threading.Event) -> None:
            late[0] += CLAIM_SECONDS + 1
            sender_of(service, answers=StreamAnswers(DiskCache(tmp_path), "s", shared=True)).send(
                [1], [IMAGE]
            )

        def spare(self, images: int) -> None: ...

        def pause(self, seconds: float) -> None: ...

    sender_of(service, limiter=SlowQuota(), answers=answers).send([1], [IMAGE])
    assert service.seen == 1


def test_a_broken_cache_does_not_eat_the_budget() -> None:
    """What was reserved and never sent is returned, whatever went wrong in between."""

    class Broken(MemoryCache):
        def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
            raise ConfigurationError("an entry this program did not write")

    purse = InMemoryBudget(Budget(queries=10))
    sender = sender_of(Service(), account=purse, answers=StreamAnswers(Broken(), "s", shared=True))
    with pytest.raises(ConfigurationError):
        sender.send([0, 1], [IMAGE, IMAGE])
    assert purse.affordable() == 10


def test_after_an_answer_was_lost_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers cannot be kept, no more are paid for than were under way."""

    def full(self: MemoryCache, stream: str, answers: Any) -> dict[int, Answer]:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(MemoryCache, "write", full)
    service = Service()
    sender = sender_of(service)
    for index in range(3):
        error_of(partial(sender.send, [index], [IMAGE]))
    assert service.seen == 1


@pytest.mark.parametrize("fatal", [False, True], ids=["halted", "fatal"])
def test_nothing_leaves_after_the_end(fatal: bool) -> None:
    """After Ctrl-C, or after an error that ends the run, requests that waited for their turn are not sent."""
    turn = threading.Event()

    class Closed:
        def wait(self, images: int, stop: threading.Event) -> None:
            turn.wait(10)

        def spare(self, images: int) -> None: ...

        def pause(self, seconds: float) -> None: ...

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise RuntimeError(Verdict(kind="fatal", message="revoked"))

    service = Service(reply if fatal else None)
    sender = sender_of(service, limiter=Closed())
    sender._gate._open = True

    def send(index: int) -> None:
        with suppress(ProviderError):
            sender.send([index], [IMAGE])

    threads = [threading.Thread(target=send, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    if fatal:
        sender._stopped = ProviderError("another request failed for good")
    else:
        sender.halt()
    turn.set()
    for thread in threads:
        thread.join()
    assert service.seen == 0


def test_an_interrupted_canary_does_not_wait_out_its_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the canary is throttled ends the run at once."""
    monkeypatch.setattr(attempt, "_pause", lambda job, state: 2.0)

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        timer.start()
        raise TRANSIENT

    with smoothed(Service(reply, drift="canary")) as api:
        from api_smoothing import images

        loaded = images.load(GREY)
        asked = api._inquiry(loaded, api._noise_stream(loaded))
        timer = threading.Timer(0.1, asked.ask.__self__._sender.halt)  # type: ignore[attr-defined]
        began = time.monotonic()
        with pytest.raises((ProviderError, RuntimeError)):
            take_all(asked.votes, asked.ask, 1)
    assert time.monotonic() - began < 1.5


def test_two_homes_that_share_a_cache_pay_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares the answers shares the claims on them."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        time.sleep(0.02)
        return [says("dog")] * len(images)

    service, apis = Service(reply), []
    for name in ("one", "two"):
        monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / name))
        apis.append(smoothed(service, cache=tmp_path / "votes", concurrency=4))
    threads = [threading.Thread(target=api.predict, args=(GREY,), kwargs={"n": 30}) for api in apis]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.seen <= 34


def test_paid_answers_wait_for_the_disk_whoever_else_uses_the_folder(tmp_path: Path) -> None:
    """A local run in the same folder does not take the durability from paid answers."""
    paid = DiskCache(tmp_path)
    DiskCache(tmp_path, paid=False).write("local", {0: says("cat")})
    paid.claim("s", [0])  # which does not wait
    waited: list[int] = []

    def keep() -> None:
        paid.write("s", {0: says("dog")})
        waited.extend(paid._answers._database.read("PRAGMA synchronous")[0])
        waited.extend(paid._cache._con.execute("PRAGMA synchronous").fetchone())

    other = threading.Thread(target=keep)
    other.start()
    other.join()
    assert waited == [2, 2]


@pytest.mark.parametrize("bad", [says("\ud83d"), says("dog", np.float32(0.5))], ids=["surrogate", "float32"])
def test_every_answer_can_be_kept(tmp_path: Path, bad: Answer) -> None:
    """Half a character in a label's name, or a number of another kind as its score, does not lose an answer."""
    DiskCache(tmp_path).write("s", {0: bad})


def test_waiting_for_an_answer_costs_nothing() -> None:
    """Queries that another process is asking are denoised at most once here."""

    class Identity:
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

    service, waiting = Service(reply), Identity()
    one = smoothed(service, denoiser=Identity(), concurrency=4)
    two = smoothed(service, denoiser=waiting, concurrency=4)
    first = threading.Thread(target=one.predict, args=(GREY,), kwargs={"n": 4})
    first.start()
    asked.wait()
    two.predict(GREY, n=4)
    first.join()
    assert service.seen == 4
    assert waiting.seen <= 2 * 64  # one micro-batch is 64


def test_a_cache_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Whoever names a folder for paid answers gets it, or is told why not."""
    service = Service(fingerprint="")
    try:
        for _ in range(2):
            smoothed(service, cache=tmp_path).predict(GREY, n=10)
    except ConfigurationError:
        return
    assert service.seen == 10


# ---------------------------------------------------------------- no false certificate


@pytest.mark.parametrize("provider", ["http", "aws"])
def test_a_sandbox_run_never_reaches_the_service(
    provider: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--sandbox asks the server on this machine, whatever endpoint and keys the user's file names."""
    pytest.importorskip("requests" if provider == "http" else "boto3")
    with Sandbox(provider, classifier=scripted_brain({"cat": 1.0})) as service:
        own = {k: v for k, v in service.options().items() if k not in ("endpoint_id", "model")}
        table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in own.items())
        (folder / "api-smooth.toml").write_text(f'denoiser = "none"\nrate = 10000\noptions = {{{table}}}\n')
        main(["certify", "0.png", "--provider", provider, "-n", "30", "--seed", "1", "--sandbox", "--json"])
    assert service.meter.images == 0


class Changing(Service):
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
    with smoothed(service) as api, pytest.raises(DriftError):
        api.certify(GREY, n=100)
    assert {"X", "Y"} == set(service.voted)
    service.until, before = 10**9, len(service.voted)
    with smoothed(service) as api:
        try:
            found = api.certify(GREY, n=100)
        except DriftError:
            return
    assert service.voted[before:] == ["X"] * found.n


def test_a_canary_that_loses_a_race_keeps_its_own_name() -> None:
    """Two processes that see two models at the same moment give them two names."""
    house, barn = says("house"), says("barn")

    class Faster(MemoryCache):
        """Another process writes the first reference just before we do."""

        def write(self, stream: str, answers: Any) -> dict[int, Answer]:
            if stream.endswith("/0"):
                super().write(stream, {0: house})
            return super().write(stream, answers)

    service, cache = Service(lambda first, images: [barn], drift="canary"), Faster()
    canary = Canary(card=service.card, sender=sender_of(service), cache=cache, stream="canary")
    assert canary.name() == _name(barn)


def test_a_canary_without_clear_labels_vouches_for_nothing() -> None:
    """Where no label of the canary is clear, a change of the model would not show: that is refused or noticed."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("adult", 0.1 if first < 30 else 0.5) if is_canary(images) else says("dog")]

    with smoothed(Service(reply, drift="canary")) as api:
        assert error_of(lambda: api.certify(GREY, n=60)) is not None


def test_an_answer_without_a_version_is_not_counted_with_others() -> None:
    """Where versions are told, an answer that tells none may be of any model."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog", version="3.0" if first < 20 else None)] * len(images)

    with smoothed(Service(reply, drift="version")) as api:
        assert error_of(lambda: api.certify(GREY, n=60)) is not None


def test_a_service_that_tells_its_version_now_and_then_can_be_certified() -> None:
    """Where versions are optional (`version = ["model?"]`), a run in which nothing changes is certified."""
    service = Service(lambda first, images: [says("dog", version="1")] * len(images), drift="canary")
    with smoothed(service) as api:
        assert api.certify(GREY, n=40).label == "dog"


def test_a_run_goes_on_after_drift() -> None:
    """The command given again after drift gets a certificate of the new model for the image."""
    service = Service(
        lambda first, images: [says("dog", version="1" if first < 10 else "2")], drift="version"
    )
    with smoothed(service) as api, pytest.raises(DriftError):
        api.certify(GREY, n=40)
    with smoothed(service) as api:
        assert api.certify(GREY, n=40).model_version == "2"


class _Vision(BaseHTTPRequestHandler):
    """Answers as Rekognition and Azure do, and notes the connection each request comes by."""

    protocol_version = "HTTP/1.1"
    came_by: list[int] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.came_by.append(self.client_address[1])
        tags = {"tagsResult": {"values": [{"name": "cat", "confidence": 0.9}]}, "modelVersion": "2023-10-01"}
        labels = {"Labels": [{"Name": "Cat", "Confidence": 90.0}], "LabelModelVersion": "3.0"}
        size = {"metadata": {"width": 1, "height": 1}}
        body = json.dumps({**tags, **labels, **size}).encode()
        self.send_response(200)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None: ...


FORKER = """
import json, os, signal, sys
from api_smoothing import adapters
from api_smoothing.adapters.base import EncodedImage
adapter = adapters.load(sys.argv[1], **json.loads(sys.argv[2]))
image = EncodedImage(data=b"x", height=96, width=96)
assert adapter.label([image])
child = os.fork()
if child == 0:
    signal.alarm(10)
    adapter.label([image])
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_a_forked_process_has_its_own_connection(provider: str) -> None:
    """After a fork no answer to one process's query can reach the other."""
    pytest.importorskip("boto3" if provider == "aws" else "azure.ai.vision.imageanalysis")
    came_by: list[int] = []
    handler = type("Vision", (_Vision,), {"came_by": came_by})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint": f"http://127.0.0.1:{server.server_port}"}
        keys = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}
        options |= keys if provider == "aws" else {"key": "k"}
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NO_PROXY": "127.0.0.1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-W", "ignore", "-c", FORKER, provider, json.dumps(options)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        server.shutdown()
    if done.returncode or len(came_by) != 2:
        raise RuntimeError(f"the forking program failed: {done.stderr[-500:]}")
    assert came_by[0] != came_by[1]


def test_a_rehearsal_does_not_spend_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command spends in the sandbox is not taken from the same command's budget for the service."""
    pytest.importorskip("requests")
    shipped = (
        resources.files("api_smoothing.adapters.http")
        .joinpath("endpoints/sandbox-json.toml")
        .read_text("utf-8")
    )
    with Sandbox("http", classifier=scripted_brain({"cat": 1.0})) as service:
        monkeypatch.setenv("SANDBOX_KEY", service.key)
        own = shipped.replace("http://127.0.0.1:8080", service.endpoint)
        (folder / "own.toml").write_text(own, "utf-8")
        question = ["-n", "30", "--denoiser", "none", "--seed", "1", "--rate", "10000"]
        command = ["certify", "0.png", "--provider", "http", "--model", "own.toml", *question]
        assert main([*command, "--budget-queries", "30", "--sandbox"]) == 0
        assert main([*command, "--budget-queries", "30"]) == 0
    assert service.meter.images == 30


# ---------------------------------------------------------------- the rate limiter


class Waiting(Exception):
    """A thread of its own would be waiting now."""


def limiter_at(path: Path, clock: Callable[[], float], sleep: Callable[[float], None], *quotas: Quota) -> Any:
    return RateLimiter(path / "rate.db", key="k", quotas=quotas, clock=clock, sleep=sleep)


class Clock:
    """Time that passes in sleep alone, which always takes `late` seconds too long."""

    def __init__(self, late: float = 0.0) -> None:
        self.now, self._late, self.slept = 1e9, late, 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < 1000, "no turn ever comes"
        self.now += seconds + self._late


def busiest(events: Sequence[tuple[float, int]], seconds: float = 1.0) -> int:
    return max(sum(k for at, k in events if start <= at < start + seconds) for start, _ in events)


def test_a_daily_quota_holds_for_threads_that_wait(tmp_path: Path) -> None:
    """Of many threads that ask at one moment no more get a turn at once than the quota has."""

    def sleep(seconds: float) -> None:
        raise Waiting

    limiter = limiter_at(tmp_path, lambda: 1e9, sleep, Quota(unit="image", count=5, seconds=86400.0))
    passed = 0
    for _ in range(40):
        try:
            limiter.wait(1)
            passed += 1
        except Waiting:
            continue
    assert passed <= 5


@pytest.mark.parametrize(("count", "batch"), [(513, 512), (1000, 600), (10_000, 1000)])
def test_large_batches_keep_to_large_quotas(tmp_path: Path, count: int, batch: int) -> None:
    """No second holds more images than the quota, however large the batches are."""
    clock = Clock()
    limiter, events = limiter_at(tmp_path, clock, clock.sleep, Quota(unit="image", count=count)), []
    for _ in range(30):
        limiter.wait(batch)
        events.append((clock.now, batch))
    assert busiest(events) <= count


def test_two_rates_of_one_account_do_not_add_up(tmp_path: Path) -> None:
    """Processes that disagree about one account's rate stay together within the larger one."""
    clock, events = Clock(), []
    limiters = [limiter_at(tmp_path, clock, clock.sleep, Quota(unit="image", count=k)) for k in (30, 20)]
    for limiter in limiters:
        events += [(limiter._book(1), 1) for _ in range(100)]
    assert busiest(sorted(events)) <= 30


def test_a_pause_ends_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """A throttle of seconds before the clock was set back by hours does not stop everything."""
    clock = Clock()
    limiter = limiter_at(tmp_path, clock, clock.sleep, Quota(unit="image", count=5))
    limiter.pause(7.0)
    clock.now -= 50_000.0
    limiter.wait(1)
    assert clock.now < 1e9 - 49_900


def test_a_step_of_the_wall_clock_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the clock does not let more than the quota through in a second of real time."""
    assert rate.__file__ is not None
    true, step = time.time, [0.0]
    spec = importlib.util.spec_from_file_location("rate_under_another_clock", rate.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: true() + step[0])
        spec.loader.exec_module(module)
        limiter = module.RateLimiter(tmp_path / "r.db", key="k", quotas=[Quota(unit="image", count=5)])
        events = []
        for k in range(10):
            step[0] = 100.0 * (k >= 5)
            limiter.wait(1)
            events.append((time.monotonic(), 1))
    assert busiest(events) <= 5


def test_a_machine_that_wakes_late_gets_its_turn(tmp_path: Path) -> None:
    """Threads that always wake 16 ms late, on a busy machine, still send, only less often."""
    clock = Clock(late=0.016)
    limiter = limiter_at(tmp_path, clock, clock.sleep, Quota(unit="image", count=30))
    for _ in range(5):
        limiter.wait(1)


# ---------------------------------------------------------------- no secret anywhere


@pytest.mark.usefixtures("no_waits")
def test_the_text_of_an_exception_is_not_repeated() -> None:
    """An exception that quotes the key in an address does not get into certificates; only its kind does."""

    class Plain(Service):
        def verdict(self, error: Exception, /) -> Verdict:
            return Verdict.TRANSIENT

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise OSError("Max retries exceeded with url: /v1?key=planted-secret-51")

    with smoothed(Plain(reply), cache=False) as api:
        assert "planted-secret-51" not in api.certify(GREY, n=60).to_json()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--options", "key=planted-secret-51", "--budget-queries", "3"],
        ["--options", "key=planted-secret-51,x"],
    ],
    ids=["resume", "malformed"],
)
def test_a_key_among_the_options_is_not_repeated(
    arguments: list[str], server: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key given as an option does not come back in messages, which end up in logs."""
    assert main(["certify", "0.png", "-n", "30", *arguments]) in (2, 3)
    assert "planted-secret-51" not in capsys.readouterr().err


# ---------------------------------------------------------------- one line, the right exit code


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    """A cache file that is no database is refused with what to do."""
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError):
        DiskCache(tmp_path)


def test_a_ledger_of_another_schema_is_one_line(tmp_path: Path) -> None:
    """A ledger that another version wrote is refused when it is opened, before anything is sent."""
    with sqlite3.connect(tmp_path / "l.db") as db:
        db.execute("CREATE TABLE entries (entry INTEGER PRIMARY KEY, run TEXT)")
    with pytest.raises(ConfigurationError):
        ledger_at(tmp_path / "l.db").reserve("s", [1])


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up ends the run with one line, and not with a request to report a bug."""

    def full(self: Any, work: Any, **options: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    with smoothed(Service()) as api:
        monkeypatch.setattr("api_smoothing.engine.storage.database.Database.write", full)
        assert isinstance(error_of(lambda: api.predict(GREY, n=10)), ApiSmoothError)


def test_presence_without_money_is_exit_3(server: Sandbox) -> None:
    """A presence run that its budget did not allow one query is exit code 3, not done."""
    command = ["certify", "0.png", "-n", "30", "--labels-present", "dog", "--budget-queries", "0"]
    assert main(command) == 3


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("thresholds", [0.5, {"dog": 0.5}], ids=["all", "named"])
def test_presence_on_a_service_that_is_down_has_failed(thresholds: Any) -> None:
    """Where all answers failed, somebody says so, and says what it cost."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise TRANSIENT

    with smoothed(Service(reply, max_labels=4), cache=False) as api:
        found = api.certify_labels(GREY, thresholds=thresholds, radius=0.1)
    assert [(one.stopped, one.queries > 0) for one in found[:1]] == [("failed", True)]


def test_a_label_that_nobody_reports_did_not_reach_its_target() -> None:
    """A named label without a vote says, like the others, whether the radius was reached."""
    with smoothed(Service(max_labels=4), cache=False) as api:
        found = api.certify_labels(GREY, thresholds={"dog": 0.5, "cat": 0.5}, radius=0.1)
    assert [(one.reached, list(one.counts)) for one in found] == [(True, ["dog"]), (False, ["cat"])]


def present(server: Sandbox, budget: int) -> int:
    """Certify two classes, cat for sure and dog on the margin, into one run file."""

    def classifier(images: Sequence[Any]) -> list[dict[str, float]]:
        draws = [hashlib.sha256(image.tobytes()).digest() for image in images]
        return [{"cat": 0.97 * (d[0] < 235), "dog": 0.97 * (d[1] < 20)} for d in draws]

    server.classifier = classifier
    labels = ["--labels", "cifar10", "--labels-present", "cat,dog"]
    run = ["--radius", "0.2", "--budget-queries", str(budget), "--output", "r.jsonl"]
    return main(["certify", "0.png", *labels, *run])


def lines(path: Path = Path("r.jsonl")) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_a_label_that_the_budget_left_open_is_asked_again(server: Sandbox) -> None:
    """With more money the labels that were left open are decided, although another one was given up."""
    assert present(server, 50) == 3
    assert {line["stopped"] for line in lines()} == {"budget", "futile"}
    asked = server.meter.images
    present(server, 5000)
    assert server.meter.images > asked


def test_a_killed_run_file_gets_the_labels_it_lacks(server: Sandbox) -> None:
    """A run killed between two labels of one image writes the second one when it is given again."""
    present(server, 5000)
    complete = {tuple(line["counts"]) for line in lines()}
    path = Path("r.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    present(server, 5000)
    assert {tuple(line["counts"]) for line in lines()} == complete


def test_only_streams_are_listed_as_streams(tmp_path: Path) -> None:
    """The cache lists an image under one setting once, however often its answers were confirmed."""
    service = Service(lambda first, images: [says("house" if is_canary(images) else "dog")], drift="canary")
    with smoothed(service, cache=tmp_path / "votes") as api:
        api.certify(GREY, n=40)
        api.certify(GREY, n=50)
    assert len(list(DiskCache(tmp_path / "votes").streams())) == 1


# ---------------------------------------------------------------- attacks on the first repairs


def test_a_run_under_way_does_not_count_refuted_answers() -> None:
    """Drift that one process has seen voids the same answers for another that is reading them just then."""
    from api_smoothing import images

    service, loaded = Changing(), images.load(GREY)
    with smoothed(service) as other, smoothed(service) as api:
        asked = other._inquiry(loaded, other._noise_stream(loaded))
        assert isinstance(error_of(lambda: api.certify(GREY, n=100)), DriftError)
        service.until = 10**9
        votes = take_all(asked.votes, asked.ask, 100)
        assert isinstance(error_of(asked.votes.finish), DriftError) or not votes


FORKED = """
import os, sys
from pathlib import Path
from api_smoothing.engine.storage.answers import DiskCache
cache = DiskCache(Path(sys.argv[1]))
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.read(read, 1)
    os._exit(len(cache.claim("s", [1, 2]).granted))
cache.claim("s", [1])
os.write(write, b"!")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_respects_the_claims_of_its_parent(tmp_path: Path) -> None:
    """Of two queries, one of which the parent claims after the fork, the child is granted the other alone."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 1


def test_answers_that_come_meanwhile_are_no_failed_attempts() -> None:
    """A query that was never asked has not failed, however often others of its batch were answered by others."""

    class Filling(MemoryCache):
        """Another process answers one more query before each look."""

        def read(self, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
            super().write(stream, {min(indices): says("dog")})
            return super().read(stream, indices)

    answers = StreamAnswers(Filling(), "s", shared=True)
    sender = sender_of(Service(batch=8), answers=answers, sleep=lambda seconds: None)
    assert sender.send(range(8), [IMAGE] * 8) == dict.fromkeys(range(8), says("dog"))


def test_kept_answers_come_back_as_they_were(tmp_path: Path) -> None:
    """A label with half a character in its name is the same class from the cache as from the provider."""
    cache, odd = DiskCache(tmp_path), says("\ud83d")
    cache.write("s", {0: odd})
    assert cache.read("s", [0]) == {0: odd}


def test_a_slow_quota_holds_for_many_threads(tmp_path: Path) -> None:
    """At one image in 100 s, of 300 threads that ask at one moment one gets a turn at once."""

    def sleep(seconds: float) -> None:
        raise Waiting

    limiter, passed = limiter_at(tmp_path, lambda: 1e9, sleep, Quota(unit="image", count=1, seconds=100.0)), 0
    for _ in range(300):
        with suppress(Waiting):
            limiter.wait(1)
            passed += 1
    assert passed <= 1


def test_the_text_of_a_fatal_exception_is_not_repeated() -> None:
    """The line that ends a run names the kind of an exception, never its text, which may quote a key."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise OSError("Max retries exceeded with url: /v1?key=planted-secret-51")

    with smoothed(Service(reply), cache=False) as api:
        error = error_of(lambda: api.certify(GREY, n=60))
    assert isinstance(error, ProviderError)
    assert "planted-secret-51" not in str(error)


@pytest.mark.parametrize(
    ("queries", "question"), [(10**9, {"n": 60}), (900_000, {"radius": 0.1})], ids=["fixed", "target"]
)
def test_no_large_budget_delays_the_first_query(
    queries: int, question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the question, what is looked up before the first query does not grow with the budget."""
    looks, read = [0], MemoryCache.read

    def counted(self: MemoryCache, stream: str, indices: Sequence[int]) -> dict[int, Answer]:
        looks[0] += len(indices)
        assert looks[0] < 100_000
        return read(self, stream, indices)

    monkeypatch.setattr(MemoryCache, "read", counted)
    with smoothed(Service(), budget=Budget(queries=queries), cache=False) as api:
        assert api.certify(GREY, **question).label == "dog"


def test_processes_that_start_together_on_a_new_home_wait_for_each_other(tmp_path: Path) -> None:
    """Whoever finds a ledger that another process is just creating waits for it, for a moment."""
    other = sqlite3.connect(tmp_path / "l.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE first (one)")
    done = threading.Timer(0.3, other.rollback)
    done.start()
    try:
        assert ledger_at(tmp_path / "l.db").reserve("s", [1]).granted == (1,)
    finally:
        done.join()
        other.close()
