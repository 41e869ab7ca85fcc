"""Many images at once: each gets what it would get alone, in order, with full batches and nothing asked in vain."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_service import GREY, CountingService, api_of, draw, error_of, is_canary, says
from PIL import Image

from api_smoothing import Budget, Certificate, SmoothedAPI
from api_smoothing.adapters.base import EncodedImage, Verdict
from api_smoothing.engine import scheduler
from api_smoothing.engine.sending import Stream
from api_smoothing.engine.sending.sender import ATTEMPTS
from api_smoothing.errors import DriftError, ImageError, ProviderError
from api_smoothing.events import Event, ImageCertified, ImageStarted, VotesCounted
from api_smoothing.images import LATER


def pictures(count: int) -> list[np.ndarray[Any, Any]]:
    return [GREY + np.uint8(3 * k) for k in range(count)]


def mostly(share: float) -> Any:
    """Says dog about that share of what it is sent, by the pixels alone."""
    return lambda first, images: [says("dog" if draw(image) < share else "cat") for image in images]


def apart(service: CountingService, **options: Any) -> SmoothedAPI:
    """An object that shares no answer with another."""
    return api_of(service, **{"store": "memory", **options})


def plain(found: Certificate) -> Certificate:
    return replace(found, created="", image="")


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("concurrency", [1, 5, "auto"])
def test_images_get_what_they_would_get_alone(batch: int, concurrency: Any) -> None:
    """Certificates are those of one image after the other, in order, whatever is under way together."""
    with apart(CountingService(mostly(0.9), batch=batch)) as api:
        want = [plain(api.certify(picture, radius=0.1, n=200)) for picture in pictures(9)]
    with apart(CountingService(mostly(0.9), batch=batch), concurrency=concurrency) as api:
        assert [plain(found) for found in api.certify_many(pictures(9), radius=0.1, n=200)] == want
    assert len({found.n for found in want}) > 1


def test_images_that_come_later_are_waited_for_while_others_are_asked_about() -> None:
    """The certificate of the first is there before the second is; numbers and votes are as if all had been there."""
    with apart(CountingService(mostly(0.9), batch=8)) as api:
        want = [plain(found) for found in api.certify_many(pictures(2), radius=0.1, n=200)]
    done, starts = list[Certificate](), list[int]()

    def images() -> Iterator[Any]:
        first, second = pictures(2)
        yield LATER
        yield first
        while not done:
            yield LATER
        yield second

    def hear(event: Event) -> None:
        if isinstance(event, ImageStarted):
            starts.append(event.index)

    with apart(CountingService(mostly(0.9), batch=8), observers=(hear,)) as api:
        for found in api.certify_many(images(), radius=0.1, n=200):
            done.append(plain(found))
    assert (done, starts) == (want, [0, 1])


def test_a_service_is_asked_for_nothing_that_is_not_counted() -> None:
    """However many images are open, each query that is paid is a vote of its certificate."""
    service = CountingService(mostly(0.8), batch=8)
    with apart(service, concurrency="auto") as api:
        found = list(api.certify_many(pictures(20), radius=0.1, n=300))
    assert service.seen == sum(certificate.n for certificate in found)


def test_requests_are_filled_with_queries_of_different_images() -> None:
    """Near their thresholds images need a query or two at a time; together they fill the batches they pay for."""
    service = CountingService(mostly(0.75), batch=8)
    alone = CountingService(mostly(0.75), batch=8)
    with apart(alone) as api:
        for picture in pictures(12):
            api.certify(picture, radius=0.1, n=400)
    with apart(service, concurrency="auto") as api:
        list(api.certify_many(pictures(12), radius=0.1, n=400))
    assert service.seen == alone.seen
    assert len(service.requests) < 1.05 * service.seen / 8 < len(alone.requests)


class Bright(torch.nn.Module):
    """Two scores an image, of its brightness; `counter` gets the rows it computes."""

    def __init__(self, counter: list[int]) -> None:
        super().__init__()
        self.seen = counter.append

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen(len(x))
        mean = 60 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([mean, -mean], 1)


def test_a_network_computes_little_more_than_what_is_counted() -> None:
    """Rows of many images fill its fixed batches; near their thresholds each needs but one or two at a time."""
    alone, together = list[int](), list[int]()
    options = {"denoiser": None, "seed": 1, "cache": False, "size": 8}
    images = [np.full((8, 8, 3), 126 + k % 5, np.uint8) for k in range(40)]
    for k, image in enumerate(images):
        image[0, 0, 0] = k
    with SmoothedAPI(Bright(alone), **options) as api:
        want = [plain(api.certify(image, radius=0.05, n=500)) for image in images]
    with SmoothedAPI(Bright(together), **options) as api:
        found = [plain(result) for result in api.certify_many(images, radius=0.05, n=500)]
    assert found == want
    counted = sum(certificate.n for certificate in found)
    assert sum(together) < 1.1 * counted


def test_room_left_in_a_batch_is_filled_with_what_may_be_needed_next() -> None:
    """One image of a local network takes few passes; what was computed beside is kept, and no query of this answer."""
    rows = list[int]()
    with SmoothedAPI(Bright(rows), denoiser=None, seed=1, size=8, outputs="logits") as api:
        first = api.certify(np.full((8, 8, 3), 200, np.uint8), radius=0.1)
        assert first.queries == first.n < sum(rows) == 64
        later = api.certify(np.full((8, 8, 3), 200, np.uint8), n=60)
        assert (later.queries, later.cached, sum(rows)) == (0, 60, 64)


def test_a_function_is_asked_for_exactly_what_is_counted() -> None:
    """A callable sees no query that is no vote, though it runs here and is free."""
    seen = [0]

    def function(x: torch.Tensor) -> list[str]:
        seen[0] += len(x)
        return ["cat"] * len(x)

    with SmoothedAPI(function, denoiser=None, seed=1) as api:
        found = list(api.certify_many(pictures(5), radius=0.1))
    assert seen[0] == sum(certificate.n for certificate in found)


def test_the_budget_is_spent_on_the_earliest_images() -> None:
    """With a budget that ends within the images, results are those of one after the other, to the last query."""
    budget = Budget(queries=700)
    with apart(CountingService(mostly(0.85)), budget=budget) as api:
        want = [plain(api.certify(picture, radius=0.1, n=200)) for picture in pictures(12)]
    service = CountingService(mostly(0.85))
    with apart(service, budget=budget, concurrency="auto") as api:
        found = [plain(result) for result in api.certify_many(pictures(12), radius=0.1, n=200)]
    assert found == want
    assert {result.stopped for result in found} >= {"target", "budget"}
    assert service.seen <= 700


def failing(share: float, *, seed: int = 0) -> Any:
    """Says what the pixels say, but that share of the first four attempts fails, by the pixels and the attempt."""
    tried: Counter[bytes] = Counter()

    def one(image: EncodedImage) -> Any:
        tried[image.data] += 1
        salt = b"%d %d" % (seed, tried[image.data])
        if tried[image.data] < ATTEMPTS and draw(replace(image, data=image.data + salt)) < share:
            return Verdict(kind="transient", message="down")
        return says("dog" if draw(image) < 0.85 else "cat")

    return lambda first, images: [one(image) for image in images]


def test_failed_attempts_of_the_earliest_are_paid_before_later_images(no_waits: None) -> None:
    """Each query of the first image fails once, and is paid twice: what is left pays the second, and not the third."""
    tried: Counter[bytes] = Counter()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        found: list[Any] = []
        for image in images:
            tried[image.data] += 1
            down = image.height == 9 and tried[image.data] == 1
            found.append(Verdict(kind="transient", message="down") if down else says("dog"))
        return found

    service = CountingService(reply)
    images = [np.full((9, 9, 3), 90, np.uint8), *pictures(2)]
    with apart(service, budget=Budget(queries=120), concurrency=60) as api:
        found = list(api.certify_many(images, n=40))
    assert [(result.stopped, result.n, result.queries) for result in found] == [
        ("n", 40, 80),
        ("n", 40, 40),
        ("budget", 0, 0),
    ]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_whatever_fails_and_whatever_the_budget_images_get_what_they_would_get_alone(
    batch: int, share: float, no_waits: None
) -> None:
    """Wherever the budget ends, and however many attempts it has paid that failed, no later image has taken from it."""
    for seed, queries in enumerate((90, 170, 390, 700)):
        found = []
        for concurrency in (1, 40):
            service = CountingService(failing(share, seed=seed), batch=batch)
            options: dict[str, Any] = {"budget": Budget(queries=queries), "concurrency": concurrency}
            with apart(service, **options) as api:
                asked = {"n": 30} if seed % 2 else {"radius": 0.1, "n": 60}
                results = [*api.certify_many(pictures(6), **asked)]
            # Which of the votes of an image the last of the money has bought is a matter of time.
            found.append([plain(r) if r.stopped != "budget" else None for r in results])
            assert service.seen <= queries
        assert found[0] == found[1]


def test_an_error_is_raised_in_its_turn() -> None:
    """Images before one that cannot be read are certified first; those after it are not paid for."""
    service = CountingService(mostly(0.95))
    with apart(service, concurrency="auto") as api:
        results = api.certify_many([*pictures(3), b"no picture", *pictures(9)], radius=0.1)
        found = list(islice(results, 3))
        assert [result.label for result in found] == ["dog"] * 3
        with pytest.raises(ImageError):
            next(results)
    assert service.seen == sum(result.n for result in found)


def test_a_service_that_fails_for_good_ends_the_run() -> None:
    """What was certified before comes out, then one line; nothing that was answered is asked again."""
    down = threading.Event()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if first >= 100 and not down.is_set():
            raise RuntimeError(Verdict(kind="fatal", message="the key was revoked"))
        return mostly(0.95)(first, images)

    service = CountingService(reply)
    with api_of(service, concurrency=4) as api:
        error = error_of(lambda: list(api.certify_many(pictures(9), radius=0.1)))
    assert isinstance(error, ProviderError)
    asked = service.seen
    assert asked <= 100 + 4
    down.set()
    with api_of(service, concurrency=4) as api:
        found = list(api.certify_many(pictures(9), radius=0.1))
    assert service.seen - 100 - (asked - 100) == sum(result.queries for result in found)
    assert sum(result.cached for result in found) == 100


def test_an_image_whose_last_answer_comes_in_while_the_run_ends_has_its_certificate() -> None:
    """The end of a run waits for what is under way, and what that completes is handed out before the error."""
    together = threading.Barrier(2)
    asked = {8: 0, 9: 0}

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        side = images[0].height
        asked[side] += 1
        if (side, asked[side]) in {(8, 20), (9, 1)}:
            together.wait(60)
            if side == 9:
                raise RuntimeError(Verdict(kind="fatal", message="the key was revoked"))
            time.sleep(0.2)
        return [says("dog")]

    with apart(CountingService(reply), concurrency=2) as api:
        results = api.certify_many([GREY, np.full((9, 9, 3), 90, np.uint8)], n=20)
        assert next(results).label == "dog"
        with pytest.raises(ProviderError, match="revoked"):
            next(results)


def test_an_answer_beside_one_that_has_to_be_asked_again_counts_when_the_run_ends() -> None:
    """A request of two images waits to repeat the query of one when the run ends: the other image has its last vote."""
    change, parked, dark, beside = threading.Condition(), list[int](), [0], [0]
    n = 14  # so few that one failure voids them: queries of an image follow one another, beside those of others

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        own = [np.asarray(Image.open(BytesIO(image.data))).mean() < 128 for image in images]
        with change:
            if any(own):
                dark[0] += 1
                change.notify_all()
                if dark[0] == n:
                    beside[0] = len(own) - 1
                    return [
                        says("dog") if mine else Verdict(kind="throttled", retry_after=30.0) for mine in own
                    ]
            elif first and not parked and (before := dark[0]) < n:  # the others do not run ahead of the first
                parked.append(first)
                assert change.wait_for(lambda: dark[0] > before, 60)
                parked.clear()
            if dark[0] == n:
                raise RuntimeError(Verdict(kind="fatal", message="the key was revoked"))
        return [says("dog")] * len(images)

    images = [np.full((8, 8, 3), level, np.uint8) for level in (0, *range(200, 220))]
    with apart(CountingService(reply, batch=4), concurrency=2) as api:
        results = api.certify_many(images, n=n)
        assert next(results).label == "dog"
        with pytest.raises(ProviderError, match="revoked"):
            next(results)
    assert beside[0]


def test_what_a_model_of_this_process_has_answered_is_kept_when_an_image_raises(tmp_path: Path) -> None:
    """Its answers are written down together at the end, those of the image that raised among them."""
    rows = [0]

    def function(x: torch.Tensor) -> list[str]:
        rows[0] += len(x)
        return ["cat"] * len(x)

    bad = threading.Event()

    def observer(event: Event) -> None:
        if isinstance(event, VotesCounted) and event.n >= 40 and not bad.is_set():
            bad.set()
            raise ValueError("an observer that breaks")

    options: dict[str, Any] = {"denoiser": None, "seed": 1, "cache": tmp_path, "fingerprint": "f"}
    with (
        SmoothedAPI(function, observers=[observer], **options) as api,
        pytest.raises(ValueError, match="breaks"),
    ):
        api.certify(GREY, n=40)
    assert rows[0] == 40
    with SmoothedAPI(function, **options) as api:
        assert api.certify(GREY, n=40).cached == 40


def test_an_image_whose_queries_fail_does_not_disturb_the_others() -> None:
    """One picture that the service refuses is reported as failed; the others are certified as ever."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [Verdict.REFUSED if image.height == 9 else says("dog") for image in images]

    bad = np.full((9, 9, 3), 90, np.uint8)
    with apart(CountingService(reply, batch=4), concurrency="auto") as api:
        some = pictures(6)
        found = list(api.certify_many([*some[:3], bad, *some[3:]], n=60))
    assert [result.stopped for result in found] == ["n", "n", "n", "failed", "n", "n", "n"]
    assert [result.label for result in found[4:]] == ["dog"] * 3


def test_drift_that_one_image_sees_is_raised_in_its_turn() -> None:
    """Where versions change under one image, those before it have their certificates."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog", version="1" if image.height == 8 or first % 2 else "2") for image in images]

    service = CountingService(reply, drift="version")
    with apart(service, concurrency=3) as api:
        results = api.certify_many([*pictures(2), np.full((9, 9, 3), 7, np.uint8), *pictures(2)], n=40)
        assert [result.label for result in islice(results, 2)] == ["dog", "dog"]
        with pytest.raises(DriftError):
            next(results)


def test_every_image_has_its_canary() -> None:
    """A service that tells no version is asked the canary before and after each image, also when many are open."""
    canaries = [0]

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        canaries[0] += is_canary(images)
        return [says("house" if is_canary(images) else "dog")]

    with apart(CountingService(reply, drift="canary"), concurrency=6) as api:
        found = list(api.certify_many(pictures(5), n=30))
    assert canaries[0] == 2 * len(found) == 10
    assert [result.queries for result in found] == [32] * 5


def test_the_same_picture_twice_is_asked_once() -> None:
    """A picture that comes again gets the same answers, though both could be open at once."""
    service = CountingService(mostly(0.9))
    picture = pictures(1)[0]
    with apart(service, concurrency="auto") as api:
        first, second = api.certify_many([picture, picture], n=50)
    assert (service.seen, second.cached, second.queries) == (50, 50, 0)
    assert first.votes == second.votes


def test_whoever_stops_listening_stops_the_queries() -> None:
    """After a loop over certificates is left, what was under way comes in and is kept; nothing more leaves."""
    service = CountingService(mostly(0.9))
    with api_of(service, concurrency=4) as api:
        for _ in api.certify_many(pictures(50), n=40):
            break
        asked = service.seen
        time.sleep(0.1)
        assert service.seen == asked < 40 * 50
        found = list(api.certify_many(pictures(50), n=40))
    assert sum(result.queries for result in found) == 40 * 50 - asked


def test_images_are_taken_as_they_are_needed() -> None:
    """From a long series only as many images are read as keep the service busy, so that memory stays flat."""
    service, taken = CountingService(), [0]

    def series() -> Iterator[Any]:
        for k in range(100_000):
            taken[0] += 1
            assert taken[0] <= service.seen / 20 + 40, "beside those that were asked about"
            picture = GREY.copy()
            picture[0, 0] = k % 256, k // 256, 0
            yield picture

    with apart(service, concurrency=4) as api:
        assert len(list(islice(api.certify_many(series(), n=20), 32))) == 32


def test_pictures_of_different_sizes_are_never_in_one_batch() -> None:
    """Without a size each picture is asked about as it is; networks get batches of one shape."""
    shapes: set[tuple[int, ...]] = set()

    def function(x: torch.Tensor) -> list[str]:
        shapes.add(tuple(x.shape[2:]))
        return ["cat"] * len(x)

    images = [np.full((8 + k % 3, 8, 3), 50 + k, np.uint8) for k in range(9)]
    with SmoothedAPI(function, denoiser=None, seed=1) as api:
        assert [result.label for result in api.certify_many(images, n=30)] == ["cat"] * 9
    assert shapes == {(8, 8), (9, 8), (10, 8)}


def test_events_come_with_their_images() -> None:
    """Each image is told as started once, and as certified in order, with its own index."""
    told: list[Event] = []
    with apart(CountingService(mostly(0.9)), concurrency=4, observers=[told.append]) as api:
        list(api.certify_many(pictures(6), radius=0.1, n=100))
    assert [event.index for event in told if isinstance(event, ImageStarted)] == list(range(6))
    assert [event.index for event in told if isinstance(event, ImageCertified)] == list(range(6))


def test_two_runs_share_what_they_ask(tmp_path: Path) -> None:
    """Two objects over the same pictures at once pay for each answer once."""
    service = CountingService(mostly(0.9))
    found: list[list[Certificate]] = []

    def run() -> None:
        with api_of(service, concurrency=4, cache=tmp_path) as api:
            found.append(list(api.certify_many(pictures(5), n=50)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.seen == 250
    assert all(result.queries + result.cached == 50 for results in found for result in results)
    assert [result.votes for result in found[0]] == [result.votes for result in found[1]]


def test_images_that_are_done_keep_no_pixels_while_an_earlier_one_goes_on() -> None:
    """A stubborn first image lets many others end before it: what waits for their turn is their results."""
    waits = threading.Event()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if first == 2:  # of the first image, and not the request for which all others wait
            waits.wait(60)
        return [says("dog")]

    held = 0

    def streams() -> int:
        gc.collect()
        return sum(type(thing) is Stream for thing in gc.get_objects())

    before = streams()  # of other tests

    def series() -> Iterator[Any]:
        nonlocal held
        yield np.full((8, 8, 3), 255, np.uint8)
        for k in range(150):
            yield np.full((8, 8, 3), k, np.uint8)
        held = streams() - before
        waits.set()

    with apart(CountingService(reply), concurrency=4) as api:
        assert len(list(api.certify_many(series(), n=20))) == 151
    assert held < 120


@pytest.mark.parametrize("concurrency", [1, 4])
def test_nobody_waits_for_others_when_there_are_none(
    concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only images that another process is asking about are looked at again later: each certificate cost a wait."""
    monkeypatch.setattr(scheduler, "_POLL", 30.0)
    began = time.monotonic()
    with apart(CountingService(), concurrency=concurrency) as api:
        assert len(list(api.certify_many(pictures(4), n=20))) == 4
    assert time.monotonic() - began < 30.0
