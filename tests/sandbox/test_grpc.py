"""The gRPC sandboxes, asked by the providers' own SDKs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.errors import ConfigurationError
from api_smoothing.png import encode_png
from api_smoothing.sandbox import KINDS, Sandbox
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.server import declaration_of
from api_smoothing.sandbox.vocabulary import labels_of
from api_smoothing.sandbox.window import SlidingWindow

grpc = pytest.importorskip("grpc")

GOOGLE, CLARIFAI = "google.cloud.vision", "clarifai_grpc"
MODULES = {"google": GOOGLE, "clarifai": CLARIFAI}
PICTURES = 3  # in each request that meets a fault


def picture(number: int) -> bytes:
    """A PNG whose first value tells `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    pixels[0, 0, 0] = number
    return encode_png(pixels)


def scores_of(number: int) -> dict[str, float]:
    """What the classifier thinks of `picture(number)`: of number 255, nothing."""
    first, second = CLASSES[number % 10], CLASSES[(number // 10) % 10]
    return {} if number == 255 else {second: 0.25, first: 0.9}


def classifier(images: Sequence[NDArray[np.uint8]]) -> list[Mapping[str, float]]:
    assert all(image.shape == (12, 9, 3) for image in images)
    return [scores_of(int(image[0, 0, 0])) for image in images]


@contextmanager
def channel_to(sandbox: Sandbox) -> Iterator[Any]:
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
    ]
    with grpc.insecure_channel(sandbox.endpoint, options) as channel:
        yield channel


Ask = Callable[..., Any]


def google_ask(sandbox: Sandbox, channel: Any) -> Ask:
    from google.cloud import vision
    from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorGrpcTransport

    client = vision.ImageAnnotatorClient(transport=ImageAnnotatorGrpcTransport(channel=channel))

    def ask(
        images: Sequence[bytes],
        *,
        results: int = 0,
        features: Sequence[int] = (4,),
        timeout: float = 20.0,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Any:
        wanted = [vision.Feature(type_=feature, max_results=results) for feature in features]
        requests = [
            vision.AnnotateImageRequest(image=vision.Image(content=data), features=wanted) for data in images
        ]
        if metadata is None:
            metadata = [("x-goog-api-key", sandbox.key)]
        return client.batch_annotate_images(requests=requests, retry=None, timeout=timeout, metadata=metadata)

    return ask


def clarifai_ask(sandbox: Sandbox, channel: Any) -> Ask:
    from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
    from clarifai_grpc.grpc.api import resources_pb2 as resources
    from clarifai_grpc.grpc.api import service_pb2, service_pb2_grpc

    # Making one of its own channels, which retry, is what lets the SDK make a stub for any channel.
    ClarifaiChannel.get_insecure_grpc_channel("127.0.0.1", 1).close()
    stub = service_pb2_grpc.V2Stub(channel)

    def ask(
        images: Sequence[bytes],
        *,
        timeout: float = 20.0,
        metadata: Sequence[tuple[str, str]] | None = None,
        user: str = "clarifai",
        model: str = "general-image-recognition",
        version: str = "",
        select: Sequence[Mapping[str, str]] = (),
        **config: Any,
    ) -> Any:
        chosen = [resources.Concept(**concept) for concept in select]
        output = resources.OutputInfo(output_config=resources.OutputConfig(select_concepts=chosen, **config))
        request = service_pb2.PostModelOutputsRequest(
            user_app_id=resources.UserAppIDSet(user_id=user, app_id="main"),
            model_id=model,
            version_id=version,
            inputs=[
                resources.Input(data=resources.Data(image=resources.Image(base64=data))) for data in images
            ],
            model=resources.Model(output_info=output),
        )
        if metadata is None:
            metadata = [("authorization", f"Key {sandbox.key}")]
        return stub.PostModelOutputs(request, timeout=timeout, metadata=metadata)

    return ask


ASKS = {"google": google_ask, "clarifai": clarifai_ask}


@contextmanager
def asking(provider: str, **settings: Any) -> Iterator[tuple[Sandbox, Ask]]:
    """A sandbox, and a client of it that the provider's SDK makes."""
    pytest.importorskip(MODULES[provider])
    with Sandbox(provider, classifier=classifier, **settings) as sandbox, channel_to(sandbox) as channel:
        yield sandbox, ASKS[provider](sandbox, channel)


@pytest.fixture
def google() -> Iterator[tuple[Sandbox, Ask]]:
    with asking("google") as pair:
        yield pair


@pytest.fixture
def clarifai() -> Iterator[tuple[Sandbox, Ask]]:
    with asking("clarifai") as pair:
        yield pair


def recorded(shared: Path, name: str) -> Any:
    """A recorded response of the real service; skips without it."""
    path = shared / "fixtures" / "recorded" / name
    if not path.is_file():
        pytest.skip(f"{name} is not among the reference data")
    return json.loads(path.read_text("utf-8"))


def failure_of(ask: Callable[[], Any]) -> Any:
    """The gRPC error of a call that fails; Google's SDK wraps it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - two SDKs, two trees of errors
        ask()
    error = caught.value
    return error if isinstance(error, grpc.RpcError) else error.__cause__


def said(response: Any) -> list[list[tuple[str, str, float]]]:
    """The labels of each image: id, name and score."""
    if hasattr(response, "responses"):
        return [
            [(label.mid, label.description, label.score) for label in one.label_annotations]
            for one in response.responses
        ]
    return [[(c.id, c.name, c.value) for c in output.data.concepts] for output in response.outputs]


def expected(provider: str, number: int, version: str | None = None, most: int | None = None) -> list[Any]:
    """The labels of `picture(number)`: at most `most`, by default the provider's own default."""
    labels = labels_of(provider, scores_of(number), version)[
        : most or {"google": 10, "clarifai": 20}[provider]
    ]
    return [(label.id, label.name, pytest.approx(label.score, abs=1e-6)) for label in labels]


# What both have in common.


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
    with asking(provider, latency=0.4) as (_, ask), ThreadPoolExecutor(32) as threads:

        def seconds(number: int) -> float:
            start = time.monotonic()
            ask([picture(number)])
            return time.monotonic() - start

        start = time.monotonic()
        assert min(threads.map(seconds, range(32))) >= 0.4
        assert time.monotonic() - start < 32 * 0.4 / 2


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


def test_a_window_slides() -> None:
    """Never more than the rate in any one second, wherever it starts; refused requests do not count."""
    window = SlidingWindow()
    times = [0.0, 0.5, 0.6, 0.9, 1.0, 1.4, 1.5, 1.55, 1.6]
    assert [window.admits(at, 1, 3.0) for at in times] == [True] * 3 + [False, True, False, True, False, True]
    assert not window.admits(9.0, 4, 3.0)
    assert window.admits(9.0, 3, 3.0)
    assert window.admits(9.0, 99, None)


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
        deadline = time.monotonic() + 20
        while sandbox.meter.requests < 80 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert said(ask([picture(1)]))[0]
        assert not any(call.done() for call in held)
        sandbox.stop()
        assert {call.result(timeout=20).code().name for call in held} == {"UNAVAILABLE"}
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


# Faults.

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
        call = lambda: ask(images, timeout=0.5 if kind in ("timeout", "drip") else 20)  # noqa: E731
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


@pytest.mark.parametrize("kind", ["empty", "missing-key"])
def test_google_without_its_list_of_responses(google: tuple[Sandbox, Ask], kind: str) -> None:
    """Google's answers leave empty lists out: what is missing is the list of responses, not its content."""
    sandbox, ask = google
    sandbox.faults.inject(kind)
    assert len(ask([picture(1)]).responses) == 0


def test_clarifai_without_its_labels(clarifai: tuple[Sandbox, Ask]) -> None:
    """A Clarifai answer without its key has outputs that succeeded, but neither concepts nor version."""
    sandbox, ask = clarifai
    sandbox.faults.inject("missing-key")
    (output,) = ask([picture(1)]).outputs
    assert output.status.code == 10000
    assert not output.HasField("data")
    assert not output.model.model_version.id


def test_one_answer_too_few(google: tuple[Sandbox, Ask], clarifai: tuple[Sandbox, Ask]) -> None:
    """A wrong count leaves out the last image, and the answers to the others are right."""
    for (sandbox, ask), provider in ((google, "google"), (clarifai, "clarifai")):
        sandbox.faults.inject("wrong-count", 2)
        assert said(ask([picture(1), picture(2)])) == [expected(provider, 1)]
        assert said(ask([picture(1)])) == []


def test_google_says_why_it_refuses(google: tuple[Sandbox, Ask]) -> None:
    """Reasons and limits come as error details: the minute's quota, the day's, a wait, a key that expired."""
    from google.api_core import exceptions

    sandbox, ask = google

    def error(kind: str) -> Any:
        sandbox.faults.inject(kind)
        with pytest.raises(exceptions.GoogleAPICallError) as caught:
            ask([picture(1)])
        return caught.value

    throttled, waiting, quota, expired = map(
        error, ("throttle", "throttle-retry-after", "quota", "expired-key")
    )
    assert {throttled.reason, waiting.reason, quota.reason} == {"RATE_LIMIT_EXCEEDED"}
    assert throttled.metadata["quota_unit"] == waiting.metadata["quota_unit"] == "1/min/{project}"
    assert quota.metadata["quota_unit"] == "1/d/{project}"
    assert "per day" in quota.message
    assert [detail.retry_delay.seconds for detail in waiting.details if hasattr(detail, "retry_delay")] == [1]
    assert not any(hasattr(detail, "retry_delay") for detail in throttled.details)
    assert (expired.reason, expired.domain) == ("API_KEY_INVALID", "googleapis.com")


# Google.


def test_google_obeys_max_results(google: tuple[Sandbox, Ask]) -> None:
    """maxResults cuts the list, its default is 10, and topicality repeats the score."""
    sandbox, ask = google
    scores = dict.fromkeys(CLASSES, 0.5)
    sandbox.classifier = lambda images: [scores for _ in images]
    names = [label.name for label in labels_of("google", scores)]
    assert len(names) > 10
    for results, most in ((1, 1), (3, 3), (0, 10), (200, len(names))):
        labels = ask([picture(1)], results=results).responses[0].label_annotations
        assert [label.description for label in labels] == names[:most]
        assert all(label.topicality == label.score for label in labels)


def test_google_finds_nothing_without_saying_so(google: tuple[Sandbox, Ask]) -> None:
    """An image without labels has an empty response in its place."""
    _, ask = google
    first, second = ask([picture(255), picture(1)]).responses
    assert type(first).to_dict(first, always_print_fields_with_no_presence=False) == {}
    assert second.label_annotations


def test_google_takes_sixteen_images(google: tuple[Sandbox, Ask]) -> None:
    """The seventeenth image refuses the request, which is not billed."""
    sandbox, ask = google
    error = failure_of(lambda: ask([picture(1)] * 17))
    assert (error.code().name, error.details()) == ("INVALID_ARGUMENT", "Too many images per request")
    (request,) = sandbox.meter.log()
    assert (request.images, request.billed) == (17, 0)


@pytest.mark.parametrize("features", [(), (1,), (4, 11)])
def test_google_serves_two_features(google: tuple[Sandbox, Ask], features: Sequence[int]) -> None:
    """A request for no feature, or for one that the sandbox does not have, is refused and never half answered."""
    sandbox, ask = google
    error = failure_of(lambda: ask([picture(1)], features=features))
    assert error.code().name == ("UNIMPLEMENTED" if features else "INVALID_ARGUMENT")
    assert sandbox.meter.billed == 0


def test_google_safe_search(google: tuple[Sandbox, Ask]) -> None:
    """SafeSearch gives five likelihoods that depend on the image; labels come only if asked for."""
    from google.cloud import vision

    sandbox, ask = google
    responses = ask([picture(number) for number in (36, 43, 54, 75, 67, 1)], features=(6,)).responses
    names = ("adult", "spoof", "medical", "violence", "racy")
    found = [tuple(int(getattr(one.safe_search_annotation, name)) for name in names) for one in responses]
    assert {value for values in found for value in values} == {1, 3, 5}
    assert len(set(found)) == len(found)
    assert not any(one.label_annotations for one in responses)
    both = ask([picture(1)], features=(4, 6)).responses[0]
    assert both.label_annotations
    assert both.safe_search_annotation.adult == vision.Likelihood.VERY_UNLIKELY
    sandbox.faults.inject("version")
    changed = ask([picture(36)], features=(6,)).responses[0].safe_search_annotation
    assert (changed.adult, changed.spoof, changed.racy) == (4, 2, 1)


def test_google_spoils_one_image_inside_a_success(google: tuple[Sandbox, Ask]) -> None:
    """A damaged image has its error in its own place; the others are answered and billed."""
    sandbox, ask = google
    for images in ([picture(1), b"no image", picture(2)], [picture(1), picture(3)[:200], picture(2)]):
        first, second, third = ask(images).responses
        assert (second.error.code, second.error.message) == (3, "Bad image data.")
        assert not second.label_annotations
        assert not first.error.code
        assert not third.error.code
        assert said(ask(images))[2] == expected("google", 2)
    assert sandbox.meter.billed == 8


def test_google_answers_have_the_recorded_shape(google: tuple[Sandbox, Ask], shared: Path) -> None:
    """Labels and errors have exactly the fields of recorded responses, a general label above the car."""
    _, ask = google
    theirs = recorded(shared, "google_labels_car.json")["responses"]
    response = ask([picture(1)])
    ours = json.loads(type(response).to_json(response, always_print_fields_with_no_presence=False))[
        "responses"
    ]
    assert [set(one) for one in ours] == [set(one) for one in theirs]
    fields = {frozenset(label) for label in theirs[0]["labelAnnotations"]}
    assert {frozenset(label) for label in ours[0]["labelAnnotations"]} == fields
    mids = [label["mid"] for label in ours[0]["labelAnnotations"]]
    assert mids.index("/m/01prls") < mids.index("/m/0k4j")
    failed = ask([b"no image"])
    theirs = recorded(shared, "google_per_image_error.json")
    assert json.loads(type(failed).to_json(failed, always_print_fields_with_no_presence=False)) == theirs


def test_a_new_google_model_shows_only_in_words_and_scores(google: tuple[Sandbox, Ask]) -> None:
    """After a change of version the ids are the same, names and scores are not, and no field tells."""
    sandbox, ask = google
    before = said(ask([picture(1)]))[0]
    sandbox.faults.inject("version")
    answer = ask([picture(1)])
    after = said(answer)[0]
    assert [mid for mid, _, _ in after] == [mid for mid, _, _ in before]
    assert all(old[1] != new[1] and old[2] > new[2] for old, new in zip(before, after, strict=True))
    assert said(ask([picture(1)]))[0] == after
    assert sandbox.version not in str(answer)


@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        ((), "PERMISSION_DENIED", "unregistered callers"),
        ([("authorization", "Bearer ya29.token")], "UNAUTHENTICATED", "invalid authentication credentials"),
        ([("x-goog-api-key", "planted-wrong-key")], "INVALID_ARGUMENT", "API key not valid"),
    ],
)
def test_google_wants_its_key(
    google: tuple[Sandbox, Ask], metadata: Sequence[tuple[str, str]], code: str, text: str
) -> None:
    """Without the key nothing is answered, billed or echoed."""
    sandbox, ask = google
    sandbox.faults.inject("version")
    error = failure_of(lambda: ask([picture(1)], metadata=metadata))
    assert error.code().name == code
    assert text in error.details()
    assert "planted" not in str(error.details()) + str(sandbox.meter.log())
    assert [(request.billed, request.fault) for request in sandbox.meter.log()] == [(0, None)]


# Clarifai.


def test_clarifai_names_its_version(clarifai: tuple[Sandbox, Ask]) -> None:
    """Every output names the model version; it changes with the sandbox's, and with it the scores."""
    sandbox, ask = clarifai
    before = ask([picture(1)] * 2)
    assert {output.model.model_version.id for output in before.outputs} == {
        declaration_of("clarifai").version
    }
    sandbox.faults.inject("version")
    after = ask([picture(1)] * 2)
    assert {output.model.model_version.id for output in after.outputs} == {sandbox.version}
    assert sandbox.version != declaration_of("clarifai").version
    assert said(after)[0] == expected("clarifai", 1, sandbox.version) != said(before)[0]


def test_clarifai_keeps_to_a_pinned_version(clarifai: tuple[Sandbox, Ask]) -> None:
    """A version that is pinned goes on answering after a newer one has come; an unknown one does not exist."""
    sandbox, ask = clarifai
    before = ask([picture(1)])
    sandbox.faults.inject("version")
    ask([picture(1)])
    pinned = ask([picture(1)], version=declaration_of("clarifai").version)
    assert said(pinned) == said(before)
    assert pinned.outputs[0].model.model_version.id == declaration_of("clarifai").version
    assert ask([picture(1)], version="0" * 32).status.code == 21200


def test_clarifai_bounds_its_concepts(clarifai: tuple[Sandbox, Ask]) -> None:
    """max_concepts cuts the list at 1 to 200, 20 by default; min_value leaves out what scores less."""
    sandbox, ask = clarifai
    sandbox.classifier = lambda images: [dict.fromkeys(CLASSES, 0.5) for _ in images]
    known = len(labels_of("clarifai", dict.fromkeys(CLASSES, 0.5)))
    assert known > 20
    for most, count in ((0, 20), (1, 1), (25, 25), (200, known)):
        assert len(said(ask([picture(1)], max_concepts=most))[0]) == count
    assert ask([picture(1)], max_concepts=201).status.code == 21202
    kept = said(ask([picture(1)], max_concepts=200, min_value=0.6))[0]
    assert 0 < len(kept) < known
    assert all(value >= 0.6 for _, _, value in kept)


def test_clarifai_answers_just_the_concepts_selected(clarifai: tuple[Sandbox, Ask]) -> None:
    """Selected concepts, by name or id, come all and alone, best first, likely or not."""
    _, ask = clarifai
    ids = {name: id for id, name, _ in said(ask([picture(35)], max_concepts=200))[0]}
    select = [{"name": "frog"}, {"name": "cat"}, {"id": ids["dog"]}]
    answer = said(ask([picture(35)], select=select))[0]
    assert [name for _, name, _ in answer] == ["dog", "cat", "frog"]
    assert answer[0][2] > answer[1][2] > answer[2][2] == 0
    assert ask([picture(1)], select=[{"name": "no such thing"}]).status.code == 21202


def test_clarifai_takes_128_inputs_of_the_model_it_has(clarifai: tuple[Sandbox, Ask]) -> None:
    """Requests with too many inputs, none, or for another model are refused with a code, and not billed."""
    sandbox, ask = clarifai
    one = [picture(1)]
    answers = [ask(one * 129), ask([]), ask(one, model="another"), ask(one, user="another")]
    assert [answer.status.code for answer in answers] == [40001, 40001, 21200, 21200]
    assert not any(answer.outputs for answer in answers)
    assert [request.status for request in sandbox.meter.log()] == ["40001", "40001", "21200", "21200"]
    assert (sandbox.meter.images, sandbox.meter.billed) == (131, 0)


@pytest.mark.parametrize(
    ("bad", "code"),
    [((), 10000), ((1,), 10010), ((0, 2), 10010), ((0, 1, 2), 10020)],
)
def test_clarifai_mixes_successes_and_failures(
    clarifai: tuple[Sandbox, Ask], bad: Sequence[int], code: int
) -> None:
    """Damaged images fail in their own places: some make a mixed status, all of them a failure."""
    sandbox, ask = clarifai
    answer = ask([b"no image" if i in bad else picture(i) for i in range(3)])
    assert answer.status.code == code
    assert [output.status.code for output in answer.outputs] == [
        47104 if i in bad else 10000 for i in range(3)
    ]
    assert [output.HasField("data") for output in answer.outputs] == [i not in bad for i in range(3)]
    assert sandbox.meter.billed == 3 - len(bad)


def test_clarifai_finds_nothing_and_says_so(clarifai: tuple[Sandbox, Ask]) -> None:
    """An image without concepts has data and a version all the same."""
    _, ask = clarifai
    (output,) = ask([picture(255)]).outputs
    assert output.HasField("data")
    assert not output.data.concepts
    assert output.model.model_version.id == declaration_of("clarifai").version


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), 11102),
        ([("authorization", "planted-wrong-key")], 11102),
        ([("authorization", "Key planted-wrong-key")], 11008),
    ],
)
def test_clarifai_wants_its_key(
    clarifai: tuple[Sandbox, Ask], metadata: Sequence[tuple[str, str]], code: int
) -> None:
    """Without the key nothing is answered, billed or echoed."""
    sandbox, ask = clarifai
    answer = ask([picture(1)], metadata=metadata)
    assert answer.status.code == code
    assert not answer.outputs
    assert "planted" not in str(answer) + str(sandbox.meter.log())
    assert sandbox.meter.billed == 0


def test_clarifai_answers_have_the_recorded_shape(clarifai: tuple[Sandbox, Ask], shared: Path) -> None:
    """Every field of a recorded answer is in ours, with the same constant values."""
    from google.protobuf.json_format import MessageToDict

    _, ask = clarifai
    theirs = recorded(shared, "clarifai_metro_north_v_aa7f35c0.json")
    ours = MessageToDict(
        ask([picture(1)], max_concepts=3), preserving_proto_field_name=True, use_integers_for_enums=True
    )

    def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for inner in value:
                yield from leaves(inner, f"{path}[]")
        else:
            yield path, value

    assert {path for path, _ in leaves(theirs)} <= {path for path, _ in leaves(ours)}
    for path in (".status", ".outputs[].status", ".outputs[].model.model_version.status"):
        assert dict(leaves(theirs))[f"{path}.code"] == dict(leaves(ours))[f"{path}.code"]
    for path in (".status.description", ".outputs[].model.id", ".outputs[].data.concepts[].app_id"):
        assert dict(leaves(theirs))[path] == dict(leaves(ours))[path]
    assert len(ours["outputs"][0]["data"]["concepts"]) == len(theirs["outputs"][0]["data"]["concepts"])
