"""Every adapter against services that do everything wrong: one line, no false vote, nothing paid twice.

The services are real ones on loopback (`hostile_services`), the clients the providers' own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pytest
from hostile_services import (
    ANSWERS,
    GRPC,
    HTTP,
    KEY,
    NEVER,
    PROTOCOLS,
    RPCS,
    Hostile,
    hostile_grpc,
    hostile_http,
)

from api_smoothing import Certificate, SmoothedAPI
from api_smoothing.adapters import Answer, EncodedImage, Verdict
from api_smoothing.errors import ApiSmoothError
from api_smoothing.png import encode_png
from api_smoothing.shown import shown

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_waits")]

GREY = np.full((96, 96, 3), 128, np.uint8)
IMAGE = EncodedImage(data=encode_png(GREY), height=96, width=96)
CASES = [
    (name, way)
    for names, ways in ((PROTOCOLS, HTTP), (RPCS, GRPC))
    for name in names
    for way in ways
    if way not in NEVER.get(name, ())
]
BETWEEN = [
    (name, way)
    for name, way in CASES
    if way
    in ("400", "403", "429", "500", "deep under 200", "junk", "truncated", "reset", "one answer too few")
    or way in ("INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "NaN", "flood")
]
REDIRECTS = [(name, way) for name in PROTOCOLS for way in ("301", "302")]
TOO_LONG = [(name, f"{status}, Retry-After huge") for name in PROTOCOLS for status in (429, 503)]
N = 12


def in_turn(names: Sequence[str], ways: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each way at one service of those that have it, which take turns: what follows a verdict is the same for all."""
    for number, way in enumerate(ways):
        able = [name for name in names if way not in NEVER.get(name, ())]
        if able:
            yield able[number % len(able)], way


ENDS = [*in_turn([*PROTOCOLS], HTTP), *in_turn([*RPCS], GRPC)]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Hostile]]:
    """The services that speak HTTP, each started once."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(hostile_http(name)) for name in PROTOCOLS}


@pytest.fixture(params=CASES, ids=lambda case: " - ".join(case))
def hostile(request: pytest.FixtureRequest, services: dict[str, Hostile]) -> Iterator[tuple[Hostile, str]]:
    """A service in one of its hostile ways, and the way's name."""
    name, way = request.param
    if name in RPCS:
        with hostile_grpc(name, way) as service:
            yield service, way
        return
    service = services[name]
    service.begin(way, HTTP[way])
    yield service, way


def is_one_line(text: str) -> bool:
    return text == " ".join(text.split()) == shown(text) != "" and KEY not in text


def told_by(service: Hostile) -> list[Answer | Verdict | ApiSmoothError]:
    """What one request for two images comes to, where the service takes as many."""
    count = min(2, service.adapter.card.batch)
    try:
        told = [*service.adapter.label([IMAGE] * count)]
    except ApiSmoothError as error:
        return [error]
    except Exception as error:
        return [service.adapter.verdict(error)]
    finally:
        assert service.sees(1 if service.is_unread else count)
    assert len(told) == count
    return told


def certified(service: Hostile) -> tuple[Certificate | ApiSmoothError, int]:
    """What becomes of an image, and the queries that the ledger has of it; any other error is a failure."""
    with SmoothedAPI(service.adapter, denoiser=None, size=96, seed=1, device="cpu") as api:
        before = api._session.account.spent()[0]
        try:
            found: Certificate | ApiSmoothError = api.certify(GREY, n=N)
        except ApiSmoothError as error:
            found = error
        return found, api._session.account.spent()[0] - before


def check_resumes(service: Hostile) -> None:
    """The service has recovered: the image gets its votes, and none of the queries that were answered is sent again."""
    service.recover()
    found, _ = certified(service)
    assert isinstance(found, Certificate)
    assert (found.votes, found.failed) == (N, 0)
    again = [image for image, times in Counter(service.answered).items() if times > 1]
    assert len(again) <= (service.adapter.card.drift == "canary"), (
        "the canary alone is asked about more than once"
    )


def test_what_it_says_is_a_verdict(hostile: tuple[Hostile, str]) -> None:
    """A hostile response is one request, no vote, and a verdict in one line; it is an answer only where it is one."""
    service, way = hostile
    told = told_by(service)
    assert service.requests <= 1
    for one in told:
        if isinstance(one, Answer):
            assert way in ANSWERS
            for label in one.labels:
                assert label.name.encode()
                assert 0 < len(label.name) <= 1000
                assert label.score is None or 0.0 <= label.score <= 1.0
        elif isinstance(one, Verdict):
            assert is_one_line(shown(one.message))
            assert len(one.message) <= 500
            assert one.sent
            assert one.retry_after is None or one.retry_after >= 0.0
        else:
            assert is_one_line(str(one))


@pytest.mark.parametrize("hostile", ENDS, ids=" - ".join, indirect=True)
def test_a_run_ends_in_one_line_for_little(hostile: tuple[Hostile, str]) -> None:
    """A service that is hostile from the start is asked a few times, which are booked, and certifies nothing."""
    service, way = hostile
    first = told_by(service)[0]
    service.begin(way, service.way)
    found, paid = certified(service)
    assert service.is_unread or service.sees(paid)
    if way in ANSWERS and isinstance(first, Answer):
        assert isinstance(found, Certificate)
        assert is_one_line(shown(found.claim))
        return
    if isinstance(found, Certificate):
        assert (found.label, found.votes, found.counts) == (None, 0, {})
        assert is_one_line(shown(found.reason))
    else:
        assert is_one_line(str(found))
    passing = isinstance(first, Verdict) and first.kind in ("transient", "throttled")
    assert service.requests <= (5 if passing else 3)


@pytest.mark.parametrize("hostile", REDIRECTS, ids=" - ".join, indirect=True)
def test_a_redirect_is_one_request(hostile: tuple[Hostile, str]) -> None:
    """It is not followed, and not asked for again: it would say the same."""
    service, _ = hostile
    found, paid = certified(service)
    assert isinstance(found, ApiSmoothError)
    assert "sends elsewhere" in str(found)
    assert service.requests == 1
    assert paid == service.seen


@pytest.mark.parametrize("hostile", TOO_LONG, ids=" - ".join, indirect=True)
def test_a_wait_beyond_reason_is_told_in_words(hostile: tuple[Hostile, str]) -> None:
    """Four hundred digits are more seconds than a float holds: the run ends, and says nothing untrue."""
    service, _ = hostile
    found, _ = certified(service)
    assert isinstance(found, ApiSmoothError)
    assert "asks to wait more than a year" in str(found)
    assert service.requests == 1


@pytest.mark.parametrize("hostile", BETWEEN, ids=" - ".join, indirect=True)
def test_in_between_nothing_is_lost_or_asked_twice(hostile: tuple[Hostile, str]) -> None:
    """Where every third request is spoilt, the others are votes, and no query that was answered is sent again."""
    service, way = hostile
    service.begin(way, service.way, spoils=lambda number: number % 3 == 2)
    found, paid = certified(service)
    assert paid == service.seen
    if isinstance(found, Certificate):
        assert found.failed == 0
        assert found.votes == found.n == N
        assert found.queries == paid
    else:
        assert is_one_line(str(found))
    check_resumes(service)
