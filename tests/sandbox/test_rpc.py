"""What the services of the sandbox that speak gRPC have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from rpc_clients import (
    ASKS,
    MODULES,
    Ask,
    channel_to,
    classifier,
    expected,
    failure_of,
    picture,
    said,
)

from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import KINDS, Sandbox

grpc = pytest.importorskip("grpc")


PICTURES = 3  # in each request that meets a fault


@contextmanager
def asking(provider: str, **settings: Any) -> Iterator[tuple[Sandbox, Ask]]:
    """A sandbox, and a client of it that the provider's SDK makes."""
    pytest.importorskip(MODULES[provider])
    with Sandbox(provider, classifier=classifier, **settings) as sandbox, channel_to(sandbox) as channel:
        yield sandbox, ASKS[provider](sandbox, channel)


@pytest.mark.parametrize(("provider", "batch"), [("google", 16), ("clarifai", 128)])
def test_a_full_batch_is_answered_in_order(provider: str, batch: int) -> None:
    """Each image of the largest batch gets its own labels, in the place in which it was sent."""
    numbers = [7 * i % 251 for i in range(batch)]
    with asking(provider) as (sandbox, ask):
        answer = said(ask([picture(number) for number in numbers]))
    assert answer == [expected(provider, number) for number in numbers]
    (request,) = sandbox.meter.log()
    assert (request.images, request.billed, request.fault) == (batch, batch, None)


@pytest.mark.parametrize("provider", ASKS)
def test_threads_get_their_own_answers(provider: str) -> None:
    """32 threads on one connection each get the answer to their own image, and every call is in the meter."""
    with asking(provider) as (sandbox, ask), ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda number: said(ask([picture(number)]))[0], range(160)))
        assert answers == [expected(provider, number) for number in range(160)]
        assert sandbox.meter.requests == sandbox.meter.billed == 160
        price = {"google": 1500, "clarifai": 1200}[provider]
        assert sandbox.meter.micro_usd == 160 * price


@pytest.mark.parametrize("provider", ASKS)
def test_settings_may_change_while_it_runs(provider: str) -> None:
    """Classifier and key are read anew for every request."""
    with asking(provider) as (sandbox, ask):
        ask([picture(1)])
        sandbox.classifier = lambda images: [{"ship": 1.0} for _ in images]
        sandbox.key = "another"
        assert "ship" in {name.lower() for _, name, _ in said(ask([picture(1)]))[0]}


@pytest.mark.parametrize("provider", ASKS)
def test_latency_is_waited_for_without_holding_others_up(provider: str) -> None:
    """No answer comes before the latency has passed; the waits of calls in flight overlap."""
    with ThreadPoolExecutor(32) as threads, asking(provider, latency=0.4) as (sandbox, ask):
        start = time.monotonic()
        ask([picture(1)])
        assert time.monotonic() - start >= 0.4
        sandbox.latency = 3600
        held = [threads.submit(failure_of, lambda: ask([picture(1)], timeout=300)) for _ in range(32)]
        while sandbox.meter.requests < 33:
            time.sleep(0.01)
        assert not any(call.done() for call in held)
        sandbox.stop()


@pytest.mark.parametrize("provider", ASKS)
def test_a_request_beyond_the_rate_is_throttled_and_not_billed(provider: str) -> None:
    """At a rate of one in 100 seconds the first request is answered, and the second one is not."""
    with asking(provider, rate=0.01) as (sandbox, ask):
        ask([picture(1)])
        if provider == "google":
            assert failure_of(lambda: ask([picture(1)])).code().name == "RESOURCE_EXHAUSTED"
        else:
            answer = ask([picture(1)])
            assert (answer.status.code, len(answer.outputs)) == (11005, 0)
        assert [(request.billed, request.fault) for request in sandbox.meter.log()] == [(1, None), (0, None)]


def test_google_counts_images_and_clarifai_requests() -> None:
    """The rate is one of images at Google, and of requests, however large, at Clarifai."""
    images = [picture(number) for number in range(4)]
    with asking("google", rate=3) as (_, ask):
        assert failure_of(lambda: ask(images)).code().name == "RESOURCE_EXHAUSTED"
    with asking("clarifai", rate=3) as (_, ask):
        assert ask(images).status.code == 10000


@pytest.mark.parametrize("provider", ASKS)
def test_a_port_is_not_shared(provider: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is a configuration error, and gRPC adds nothing to it."""
    with asking(provider) as (sandbox, _):
        port = int(sandbox.endpoint.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"port {port} cannot be used"):
            Sandbox(provider, classifier=classifier, port=port).start()
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("provider", ASKS)
def test_held_calls_leave_room_and_end_with_the_server(provider: str) -> None:
    """80 calls without an answer do not keep the next one waiting; stopping the server ends them all."""
    with ThreadPoolExecutor(80) as threads, asking(provider) as (sandbox, ask):
        sandbox.faults.inject("timeout", 40)
        sandbox.faults.inject("drip", 40)
        held = [threads.submit(failure_of, lambda: ask([picture(1)], timeout=300)) for _ in range(80)]
        while sandbox.meter.requests < 80:
            time.sleep(0.01)
        assert said(ask([picture(1)]))[0]
        assert not any(call.done() for call in held)
        sandbox.stop()
        assert {call.result(timeout=100).code().name for call in held} == {"UNAVAILABLE"}
        assert (sandbox.meter.requests, sandbox.meter.billed) == (81, 81)


@pytest.mark.parametrize("provider", ASKS)
def test_a_reset_spares_the_other_calls(provider: str) -> None:
    """Only the call that met the reset fails, as with a lost connection; one in flight beside it goes on."""
    with ThreadPoolExecutor(1) as thread, asking(provider) as (sandbox, ask):
        sandbox.faults.inject("timeout")
        held = thread.submit(failure_of, lambda: ask([picture(1)], timeout=300))
        while not sandbox.meter.requests:
            time.sleep(0.01)
        sandbox.faults.inject("reset")
        error = failure_of(lambda: ask([picture(1)]))
        assert (error.code().name, error.details()) == ("UNAVAILABLE", "recvmsg:Connection reset by peer")
        assert said(ask([picture(1)]))[0]
        assert not held.done()
        sandbox.stop()


#: For every fault: the status of the call, or that of the answer, and the images billed of PICTURES.
GOOGLE_FAULTS = {
    "throttle": ("RESOURCE_EXHAUSTED", 0),
    "throttle-retry-after": ("RESOURCE_EXHAUSTED", 0),
    "throttle-coded": ("RESOURCE_EXHAUSTED", 0),
    "500": ("INTERNAL", 3),
    "502": ("UNAVAILABLE", 3),
    "503": ("UNAVAILABLE", 3),
    "504": ("DEADLINE_EXCEEDED", 3),
    "reset": ("UNAVAILABLE", 3),
    "timeout": ("DEADLINE_EXCEEDED", 3),
    "drip": ("DEADLINE_EXCEEDED", 3),
    "empty": ("OK", 3),
    "missing-key": ("OK", 3),
    "truncated": ("INTERNAL", 3),  # what gRPC makes of bytes that are no message
    "html": ("INTERNAL", 3),
    "wrong-count": ("OK", 3),
    "bad-image": ("OK", 2),
    "expired-key": ("INVALID_ARGUMENT", 0),
    "quota": ("RESOURCE_EXHAUSTED", 0),
    "version": ("OK", 3),
    "billed-400": ("INVALID_ARGUMENT", 3),
}
CLARIFAI_FAULTS: dict[str, tuple[str | int, int]] = {
    **GOOGLE_FAULTS,
    "throttle": (11005, 0),
    "throttle-coded": (11005, 0),
    "empty": (0, 3),
    "missing-key": (10000, 3),
    "wrong-count": (10000, 3),
    "bad-image": (10010, 2),
    "expired-key": (11009, 0),
    "quota": (11004, 0),
    "version": (10000, 3),
}
FAULTS: dict[str, Mapping[str, tuple[str | int, int]]] = {
    "google": GOOGLE_FAULTS,
    "clarifai": CLARIFAI_FAULTS,
}


def test_every_fault_is_expected_to_look_like_something() -> None:
    """The tables here cover the faults there are."""
    assert set(GOOGLE_FAULTS) == set(CLARIFAI_FAULTS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("provider", ASKS)
def test_a_fault_takes_one_request(provider: str, kind: str) -> None:
    """Each fault has its form, is seen as one request, and billed as the pessimist expects; then all is well."""
    status, billed = FAULTS[provider][kind]
    images = [picture(number) for number in range(PICTURES)]
    with asking(provider) as (sandbox, ask):
        sandbox.faults.inject(kind)
        call = lambda: ask(images, timeout=6 if kind in ("timeout", "drip") else 60)  # noqa: E731
        if isinstance(status, str) and status != "OK":
            assert failure_of(call).code().name == status
        else:
            answer = call()
            assert provider == "google" or answer.status.code == status
        (request,) = sandbox.meter.log()
        assert (request.images, request.billed, request.fault) == (PICTURES, billed, kind)
        assert len(said(ask(images))) == PICTURES
        assert (sandbox.meter.requests, sandbox.meter.billed) == (2, billed + PICTURES)


@pytest.mark.parametrize("provider", ASKS)
@pytest.mark.parametrize("batch", [1, 2, 16])
def test_half_of_an_answer_is_never_a_message(provider: str, batch: int) -> None:
    """A truncated answer cannot be read, not even where the cut falls between two images."""
    with asking(provider) as (sandbox, ask):
        for numbers in ([5] * batch, range(batch), [255] * batch):
            sandbox.faults.inject("truncated")
            images = [picture(number) for number in numbers]
            assert failure_of(lambda images=images: ask(images)).code().name == "INTERNAL"


def test_one_answer_too_few(google: tuple[Sandbox, Ask], clarifai: tuple[Sandbox, Ask]) -> None:
    """A wrong count leaves out the last image, and the answers to the others are right."""
    for (sandbox, ask), provider in ((google, "google"), (clarifai, "clarifai")):
        sandbox.faults.inject("wrong-count", 2)
        assert said(ask([picture(1), picture(2)])) == [expected(provider, 1)]
        assert said(ask([picture(1)])) == []
