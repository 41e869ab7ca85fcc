"""Google Cloud Vision's adapter through the real SDK, against servers made of the SDK's own messages."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from grpc_service import (
    KIND_OF_STATUS,
    GrpcService,
    Reply,
    aborts,
    certificate,
    counted,
    failure,
    image,
    recorded,
    running,
)

from api_smoothing.adapters._transport.service import BrokenContract
from api_smoothing.adapters.base import Adapter, Answer, Label, Quota, Verdict
from api_smoothing.adapters.google import adapter as google
from api_smoothing.errors import ConfigurationError, CredentialsError, MissingExtraError

grpc = pytest.importorskip("grpc")
vision = pytest.importorskip("google.cloud.vision")
error_details = pytest.importorskip("google.rpc.error_details_pb2")
status_pb2 = pytest.importorskip("google.rpc.status_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")

Request = vision.BatchAnnotateImagesRequest
Response = vision.BatchAnnotateImagesResponse
KEY = "planted-key-0123456789abcdef"


def labelled(*descriptions: str) -> Any:
    """A response with one image for each description, labelled with it."""
    labels = [[{"mid": f"/m/{d}", "description": d, "score": 0.9}] if d else [] for d in descriptions]
    return Response(responses=[{"label_annotations": one} for one in labels])


#: What Google's other features say of an image: none of it is an answer to a request for labels.
OF_ANOTHER_KIND = {
    "objects": {"localized_object_annotations": [{"mid": "/m/1", "name": "Couch", "score": 0.9}]},
    "text": {"text_annotations": [{"description": "STOP"}]},
    "full-text": {"full_text_annotation": {"text": "STOP"}},
    "web": {"web_detection": {"web_entities": [{"entity_id": "/m/1", "score": 0.9, "description": "Couch"}]}},
    "safe-search": {"safe_search_annotation": {"adult": 1}},
    "faces": {"face_annotations": [{"detection_confidence": 0.9}]},
    "logos": {"logo_annotations": [{"description": "Acme", "score": 0.9}]},
    "landmarks": {"landmark_annotations": [{"description": "Tower", "score": 0.9}]},
    "colours": {"image_properties_annotation": {"dominant_colors": {"colors": [{"score": 0.9}]}}},
    "crops": {"crop_hints_annotation": {"crop_hints": [{"confidence": 0.9}]}},
    "products": {"product_search_results": {"results": [{"score": 0.9}]}},
}


def google_service(reply: Reply | None = None) -> GrpcService:
    """Google's method, which says "cat" of every image unless it is told otherwise."""
    return GrpcService(
        name="google.cloud.vision.v1.ImageAnnotator",
        method="BatchAnnotateImages",
        read=Request.deserialize,
        write=Response.serialize,
        reply=reply or (lambda request, context: labelled(*["cat"] * len(request.requests))),
    )


@pytest.fixture
def service() -> Iterator[GrpcService]:
    with running(google_service()) as service:
        yield service


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the user's credentials, or looks for a metadata server."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def adapter(service: GrpcService, **options: Any) -> google.GoogleVision:
    return google.load(**{"endpoint": service.endpoint, "key": KEY, "timeout": 60.0, **options})


def rich(status: str, text: str, *details: Any) -> bytes:
    """A google.rpc.Status with details, as it travels."""
    message = status_pb2.Status(code=grpc.StatusCode[status].value[0], message=text)
    for detail in details:
        message.details.add().Pack(detail)
    return bytes(message.SerializeToString())


def test_it_is_an_adapter(service: GrpcService) -> None:
    """The loader returns what the engine calls an adapter."""
    assert isinstance(adapter(service), Adapter)


def test_card_states_limits_and_quotas() -> None:
    """Both quotas are 1800 a minute, spread over seconds; bytes leave room for base64 in 10 MB of JSON."""
    card = google.load().card
    assert card.quotas == (Quota(unit="image", count=30), Quota(unit="request", count=30))
    assert card.queries_per_second == 30
    assert card.max_request_bytes is not None
    assert 16 * (-(-card.max_request_bytes // 16 // 3) * 4 + 300) <= 10_000_000
    assert (card.price, card.drift, card.labels, card.max_labels) == (
        "google/label-detection",
        "canary",
        None,
        50,
    )
    safe = google.load(feature="safe-search").card
    assert (safe.price, safe.labels, safe.max_labels) == ("google/safe-search", google.SAFE_SEARCH, 5)


def test_fingerprint_covers_what_can_change_an_answer() -> None:
    """Feature, model, number of labels and endpoint are in the fingerprint, a port only when it has no name."""
    loads: list[dict[str, Any]] = [
        {},
        {"model": "builtin/latest"},
        {"max_labels": 10},
        {"feature": "safe-search"},
        {"endpoint": "https://eu-vision.googleapis.com"},
        {"endpoint": "127.0.0.1:1"},
    ]
    assert len({google.load(**options).card.fingerprint for options in loads}) == len(loads)
    named = [google.load(endpoint=f"127.0.0.1:{port}", endpoint_id="sandbox").card for port in (1, 2)]
    assert named[0] == named[1]
    assert "sandbox" in named[0].quota_key
    assert google.load(model="builtin/stable").card == google.load().card


@pytest.mark.parametrize(
    "options",
    [
        {"model": "builtin/newest"},
        {"feature": "faces"},
        {"max_labels": 0},
        {"rate": 0},
        {"rate": float("nan")},
        {"timeout": 0},
        {"endpoint": "http://vision.example.com"},
        {"endpoint": "https://user:planted@vision.example.com"},
        {"endpoint": "https://vision.example.com/v1"},
        {"endpoint": "127.0.0.1:http"},
        {"endpoint": "ftp://127.0.0.1"},
        {"endpoint": "https://"},
        {"endpoint": "vision.example.com 127.0.0.1"},
    ],
)
def test_settings_out_of_range_are_one_line(options: dict[str, Any]) -> None:
    """A wrong setting is an error of one line that does not quote a password."""
    with pytest.raises(ConfigurationError) as caught:
        google.load(**options)
    assert "\n" not in str(caught.value)
    assert "planted" not in str(caught.value)


def test_answers_keep_the_order_of_the_images(service: GrpcService) -> None:
    """Sixteen images are one request, and each answer is its own image's."""
    service.reply = lambda request, context: labelled(*[r.image.content.decode() for r in request.requests])
    names = [f"n{i}" for i in range(16)]
    answers = adapter(service).label([image(name.encode()) for name in names])
    assert [answer.labels[0].name for answer in answers if isinstance(answer, Answer)] == names
    assert len(service.calls) == 1


def test_request_says_what_was_asked_for(service: GrpcService) -> None:
    """The bytes, feature, number of labels, model, key and deadline arrive as they were set."""
    adapter(service, model="builtin/latest", max_labels=7).label([image(b"a"), image(b"b")])
    (call,) = service.calls
    assert [one.image.content for one in call.request.requests] == [b"a", b"b"]
    feature = call.request.requests[0].features[0]
    assert feature.type_ == vision.Feature.Type.LABEL_DETECTION
    assert (feature.max_results, feature.model) == (7, "builtin/latest")
    assert call.metadata["x-goog-api-key"] == KEY
    assert call.seconds_left is not None
    assert 0 < call.seconds_left < 61  # on the wire it is rounded up


def test_labels_are_keyed_by_mid_and_best_first(service: GrpcService) -> None:
    """A label has the mid as id and the description as name; equal scores are ordered by id, whatever came."""
    annotations = [
        {"mid": "/m/b", "description": "Second", "score": 0.5},
        {"mid": "/m/a", "description": "First", "score": 0.5},
        {"mid": "/m/c", "description": "Best", "score": 1.0},
        {"mid": "/m/d", "description": "Last", "score": 0.1},
    ]
    service.reply = lambda request, context: Response(responses=[{"label_annotations": annotations}])
    (answer,) = adapter(service, max_labels=3).label([image()])
    assert isinstance(answer, Answer)
    assert answer.labels == (
        Label(name="Best", id="/m/c", score=1.0),
        Label(name="First", id="/m/a", score=0.5),
        Label(name="Second", id="/m/b", score=0.5),
    )
    assert answer.model_version is None


def test_nothing_found_is_an_answer_without_labels(service: GrpcService) -> None:
    """A response that holds one empty answer for one image says "nothing"; it is no failure."""
    service.reply = lambda request, context: labelled("")
    assert adapter(service).label([image()]) == [Answer(labels=())]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        labelled("cat"),
        labelled("cat", "cat", "cat"),
        b"<!DOCTYPE html><html>Sign in</html>",
        Response.serialize(labelled("cat", "cat"))[:-3],
        Response(responses=[{"label_annotations": [{"description": "", "score": 0.5}]}] * 2),
        Response(responses=[{"label_annotations": [{"description": "a", "score": 1.5}]}] * 2),
        Response(responses=[{"label_annotations": [{"description": "a", "score": float("nan")}]}] * 2),
        Response(responses=[{"label_annotations": [{"description": "a", "score": -0.5}]}] * 2),
        Response(responses=[{"label_annotations": [{"description": "a"}]}] * 2),
        *(Response(responses=[other] * 2) for other in OF_ANOTHER_KIND.values()),
        Response.serialize(Response(responses=[{}] * 2)).replace(b"\n\x00", b"\n\x03\xf8\x07\x01"),
    ],
    ids=[
        "empty",
        "one-few",
        "one-many",
        "html",
        "truncated",
        "nameless",
        "over",
        "nan",
        "under",
        "unscored",
        *OF_ANOTHER_KIND,
        "unknown-field",
    ],
)
def test_a_response_out_of_contract_is_never_an_answer(service: GrpcService, junk: Any) -> None:
    """Success with anything but one sound answer an image raises, and can be no vote."""
    service.reply = lambda request, context: junk
    _, verdict = failure(adapter(service), images=2)
    assert verdict.kind == "broken"
    assert verdict.sent
    assert verdict.message
    assert len(service.calls) == 1


def test_safe_search_is_five_labels_in_fixed_order(service: GrpcService) -> None:
    """Likelihoods become documented scores."""
    found = {"adult": 1, "spoof": 2, "medical": 3, "violence": 4, "racy": 5}
    service.reply = lambda request, context: Response(responses=[{"safe_search_annotation": found}])
    (answer,) = adapter(service, feature="safe-search").label([image()])
    assert isinstance(answer, Answer)
    expected = [("adult", 0.1), ("spoof", 0.3), ("medical", 0.5), ("violence", 0.7), ("racy", 0.9)]
    assert [(label.name, label.score) for label in answer.labels] == expected
    assert service.calls[0].request.requests[0].features[0].type_ == vision.Feature.Type.SAFE_SEARCH_DETECTION


KNOWN = {"adult": 1, "spoof": 2, "medical": 3, "violence": 4, "racy": 5}


@pytest.mark.parametrize("category", google.SAFE_SEARCH)
@pytest.mark.parametrize("how", ["unknown", "missing", "alone", "none"])
def test_a_likelihood_that_is_not_known_is_not_a_low_one(
    service: GrpcService, category: str, how: str
) -> None:
    """Where one of the five is UNKNOWN or left out, the answer does not know, fails alone, and is no vote."""
    annotation = {
        "unknown": {**KNOWN, category: 0},
        "missing": {name: likelihood for name, likelihood in KNOWN.items() if name != category},
        "alone": {category: 5},
        "none": {},
    }[how]
    ask = adapter(service, feature="safe-search")
    both = [{"safe_search_annotation": annotation}, {"safe_search_annotation": KNOWN}]
    service.reply = lambda request, context: Response(responses=both)
    verdict, answer = ask.label([image(), image()])
    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.sent) == ("broken", True)
    assert isinstance(answer, Answer)
    assert len(answer.labels) == 5
    service.reply = lambda request, context: Response(responses=both[:1])
    assert isinstance(failure(ask)[0], BrokenContract)


def test_an_answer_without_the_annotation_is_no_safe_search(service: GrpcService) -> None:
    """Labels, or nothing, where SafeSearch was asked for break the contract."""
    ask = adapter(service, feature="safe-search")
    for said in ("", "cat"):
        service.reply = lambda request, context, said=said: labelled(said)
        assert isinstance(failure(ask)[0], BrokenContract)


@pytest.mark.parametrize(("status", "kind"), KIND_OF_STATUS.items())
def test_every_status_is_one_request_and_has_a_verdict(service: GrpcService, status: str, kind: str) -> None:
    """The SDK repeats nothing, whatever the status; what it means is the adapter's to say."""
    service.reply = aborts(status)
    _, verdict = failure(adapter(service))
    assert (verdict.kind, verdict.sent) == (kind, True)
    assert "it says so" in verdict.message
    assert len(service.calls) == 1


def test_every_error_of_the_sdk_has_a_verdict() -> None:
    """No error class of google.api_core is without a meaning, those of its HTTP transport included."""
    exceptions = pytest.importorskip("google.api_core.exceptions")
    judge = google.load().verdict
    classes: list[Any] = [exceptions.GoogleAPICallError]
    for one in classes:
        classes += one.__subclasses__()
    kinds = {one.__name__: judge(one("it says so")).kind for one in classes}
    assert {"fatal", "transient", "throttled", "refused"} == set(kinds.values())
    assert (kinds["TooManyRequests"], kinds["BadGateway"], kinds["Forbidden"]) == (
        "throttled",
        "transient",
        "fatal",
    )
    assert judge(RuntimeError("a bug")).kind == "fatal"


@pytest.mark.parametrize(
    ("details", "wait"),
    [
        ([error_details.RetryInfo(retry_delay={"seconds": 2, "nanos": 500_000_000})], 2.5),
        (
            [
                error_details.ErrorInfo(
                    reason="RATE_LIMIT_EXCEEDED", metadata={"quota_limit": "LabelsPerMinute"}
                )
            ],
            None,
        ),
    ],
)
def test_a_throttle_says_how_long_to_wait(
    service: GrpcService, details: list[Any], wait: float | None
) -> None:
    """RetryInfo among the details becomes the wait; a limit per minute is a matter of rate."""
    text = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'"
    service.reply = aborts("RESOURCE_EXHAUSTED", text, rich("RESOURCE_EXHAUSTED", text, *details))
    _, verdict = failure(adapter(service))
    assert (verdict.kind, verdict.retry_after) == ("throttled", wait)
    if wait is not None:
        service.reply = aborts("UNAVAILABLE", "busy", rich("UNAVAILABLE", "busy", *details))
        _, verdict = failure(adapter(service))
        assert (verdict.kind, verdict.retry_after) == ("transient", wait)


@pytest.mark.parametrize(
    ("status", "text", "details", "kind"),
    [
        ("RESOURCE_EXHAUSTED", "Quota exceeded for limit 'Requests per day'", [], "fatal"),
        (
            "RESOURCE_EXHAUSTED",
            "Quota exceeded",
            [
                error_details.ErrorInfo(
                    reason="RATE_LIMIT_EXCEEDED", metadata={"quota_limit": "ImagesPerDayPerProject"}
                )
            ],
            "fatal",
        ),
        ("PERMISSION_DENIED", "no", [error_details.ErrorInfo(reason="RATE_LIMIT_EXCEEDED")], "throttled"),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)", [], "refused"),
        ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [], "fatal"),
        ("INVALID_ARGUMENT", "no", [error_details.ErrorInfo(reason="API_KEY_INVALID")], "fatal"),
        ("INVALID_ARGUMENT", "Too many images per request.", [], "refused"),
        ("UNAVAILABLE", "The API key service is busy.", [], "transient"),
        (
            "UNAVAILABLE",
            "Getting metadata from plugin failed with error: ('invalid_grant: Bad',)",
            [],
            "fatal",
        ),
        ("UNAVAILABLE", "Getting metadata from plugin failed with error: timed out", [], "transient"),
    ],
)
def test_one_status_can_mean_several_things(
    service: GrpcService, status: str, text: str, details: list[Any], kind: str
) -> None:
    """A day's quota, a wrong key, a message too large and a revoked login are told apart from their status."""
    service.reply = aborts(status, text, rich(status, text, *details))
    assert failure(adapter(service))[1].kind == kind
    assert len(service.calls) == 1


@pytest.mark.parametrize("details", [b"\xff\xff\xff", rich("INTERNAL", "another")])
def test_details_that_do_not_fit_do_not_hide_the_status(service: GrpcService, details: bytes) -> None:
    """The SDK fails on malformed error details; the status is reported all the same."""
    service.reply = aborts("RESOURCE_EXHAUSTED", "slower", details)
    _, verdict = failure(adapter(service))
    assert verdict.kind == "throttled"
    assert "slower" in verdict.message


def test_one_bad_image_fails_alone(service: GrpcService) -> None:
    """An error inside a response is the verdict on its image; its neighbours keep their answers."""
    errors = [
        (3, "Bad image data."),
        (3, "no image"),
        (8, "slow down"),
        (13, "oops"),
        (7, "no"),
        (99, "what"),
    ]
    responses = [{"error": {"code": code, "message": message}} for code, message in errors]
    good = {"label_annotations": [{"mid": "/m/01yrx", "description": "Cat", "score": 0.9}]}
    service.reply = lambda request, context: Response(responses=[good, *responses, good])
    first, *failed, last = adapter(service).label([image()] * 8)
    assert first == last == Answer(labels=(Label(name="Cat", id="/m/01yrx", score=0.9),))
    kinds = [one.kind for one in failed if isinstance(one, Verdict)]
    assert kinds == ["transient", "refused", "throttled", "transient", "fatal", "transient"]


def test_an_answer_that_never_comes_ends_at_the_deadline(service: GrpcService) -> None:
    """Every request has a deadline, after which it may have been paid for."""
    over = threading.Event()
    service.reply = lambda request, context: over.wait(100) and labelled("cat")
    try:
        _, verdict = failure(adapter(service, timeout=6.0))
    finally:
        over.set()
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert len(service.calls) == 1


def test_a_connection_lost_after_the_request_was_read_is_not_repeated(service: GrpcService) -> None:
    """A server that goes away in the middle of a call saw one request, which may have been paid for."""

    def stop(request: Any, context: Any) -> Any:
        ended = threading.Event()
        context.add_callback(ended.set)
        service.server.stop(None)
        ended.wait(60)
        return labelled("cat")

    service.reply = stop
    _, verdict = failure(adapter(service))
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert len(service.calls) == 1


def test_what_could_not_connect_was_not_sent() -> None:
    """Nobody listens: the request cannot have cost anything, and the same adapter may try again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ask = google.load(endpoint=f"127.0.0.1:{free.getsockname()[1]}", key=KEY, timeout=5.0)
        for _ in range(2):
            _, verdict = failure(ask)
            assert (verdict.kind, verdict.sent) == ("transient", False)
    assert "cannot connect" in verdict.message


def test_a_listener_that_says_nothing_may_have_got_the_request() -> None:
    """Once somebody takes connections, what fails counts as sent: nobody can tell."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ask = google.load(endpoint=f"127.0.0.1:{silent.getsockname()[1]}", key=KEY, timeout=6.0)
        _, verdict = failure(ask)
    assert (verdict.kind, verdict.sent) == ("transient", True)


def test_the_text_of_a_failed_connection_is_no_proof(service: GrpcService) -> None:
    """A service can report a connection of its own that failed in the same words; then ours was sent."""
    text = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:443: Connection refused"
    service.reply = aborts("UNAVAILABLE", text)
    assert failure(adapter(service))[1] == Verdict(
        kind="transient", message=f"Google answered UNAVAILABLE: {text}", sent=True
    )


def test_sixteen_threads_share_one_client(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls from many threads all get their own answer, over one client."""
    made = counted(monkeypatch, vision, "ImageAnnotatorClient")
    service.reply = lambda request, context: labelled(request.requests[0].image.content.decode())
    ask = adapter(service)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: ask.label([image(b"n%d" % i)])[0], range(64)))
    assert [a.labels[0].name for a in answers if isinstance(a, Answer)] == [f"n{i}" for i in range(64)]
    assert (len(made), len(service.calls)) == (1, 64)


def test_a_forked_process_makes_its_own_client(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel is used only in the process that made it."""
    made = counted(monkeypatch, vision, "ImageAnnotatorClient")
    ask = adapter(service)
    ask.label([image()])
    ask.label([image()])
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    ask.label([image()])
    assert len(made) == 2


def test_connecting_beforehand_sends_nothing(service: GrpcService) -> None:
    """`connect` does all that needs no request, and may fail where a call would be tried again."""
    ask = adapter(service)
    ask.connect()
    ask.connect()
    assert not service.calls
    ask.label([image()])
    assert len(service.calls) == 1
    google.load(endpoint="127.0.0.1:1", key=KEY).connect()
    with pytest.raises(CredentialsError):
        google.load(timeout=5.0).connect()


def test_loopback_ignores_proxies(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables do not divert calls to this machine."""
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(adapter(service).label([image()])[0], Answer)


def test_no_secret_leaves_with_an_error(service: GrpcService, caplog: pytest.LogCaptureFixture) -> None:
    """A service that quotes the key and a token gets neither into messages, representations, cards or logs."""
    token = "ya29.planted-token-abcdef"
    text = f"Consumer 'api_key:{KEY}' has been suspended; authorization: Bearer {token}"
    info = error_details.ErrorInfo(reason="CONSUMER_INVALID", metadata={"consumer": f"api_key:{KEY}"})
    ask = adapter(service)
    seen = [repr(ask), repr(ask.card), str(ask.card.fingerprint)]
    with caplog.at_level(logging.DEBUG):
        service.reply = aborts("PERMISSION_DENIED", text, rich("PERMISSION_DENIED", text, info))
        for _ in range(2):
            error, verdict = failure(ask)
            seen += [str(error), repr(error), repr(verdict)]
        service.reply = lambda request, context: Response(responses=[{"error": {"code": 7, "message": text}}])
        seen += [repr(ask.label([image()]))]
    assert "suspended" in seen[-1]
    seen += [record.getMessage() for record in caplog.records]
    assert not [line for line in seen if "planted" in line]


def test_a_missing_sdk_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK the adapter can be made, and the call says what to install."""
    monkeypatch.setitem(sys.modules, "google.cloud.vision", None)
    with pytest.raises(MissingExtraError, match=r"api-smooth\[google\]"):
        google.load(key=KEY).label([image()])


def test_importing_and_loading_imports_no_sdk(tmp_path: Path) -> None:
    """The module, a card and a look at credentials need no SDK, no torch and no network."""
    code = (
        "import sys; from api_smoothing.adapters.google import adapter; adapter.load(); adapter.credentials();"
        "print([m for m in ('grpc', 'torch', 'google.cloud.vision', 'google.auth') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_credentials_are_found_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key file comes first, then gcloud's, then the API key; what is missing is named."""
    absent = google.credentials()
    assert not absent.found
    assert "GOOGLE_APPLICATION_CREDENTIALS" in absent.source
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    assert google.credentials().source == "GOOGLE_API_KEY"
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    (tmp_path / "application_default_credentials.json").write_text("{}")
    assert google.credentials().source == "gcloud auth application-default login"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    assert not google.credentials().found
    (tmp_path / "absent.json").write_text("{}")
    assert google.credentials().source == "GOOGLE_APPLICATION_CREDENTIALS"
    assert google.credentials().found


def test_missing_credentials_name_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, or with a key file that is none, the error is one line with variable and test."""
    for _ in range(2):
        with pytest.raises(CredentialsError) as caught:
            google.load(timeout=5.0).label([image()])
        assert "GOOGLE_APPLICATION_CREDENTIALS" in str(caught.value)
        assert "api-smooth providers check google" in str(caught.value)
        assert "\n" not in str(caught.value)
        (tmp_path / "key.json").write_text('{"private_key": "planted", ')
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert "planted" not in str(caught.value)


def test_a_key_where_its_file_belongs_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key in GOOGLE_APPLICATION_CREDENTIALS is told by the variable it belongs in, and is not repeated."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "AIzaSyPlanted-planted-1")
    with pytest.raises(CredentialsError, match="GOOGLE_API_KEY") as caught:
        google.load(timeout=5.0).label([image()])
    assert "lanted" not in str(caught.value) + google.credentials().source


def test_a_key_with_a_line_break_is_refused_before_it_is_sent(service: GrpcService) -> None:
    """A key that cannot be a header is an error about the key, and is not quoted."""
    with pytest.raises(CredentialsError) as caught:
        adapter(service, key="planted\nkey").label([image()])
    assert "planted" not in str(caught.value)
    assert not service.calls


def test_the_key_of_the_environment_serves_loopback(
    service: GrpcService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOOGLE_API_KEY is used where no key is given; without any, loopback is asked without one."""
    adapter(service, key=None).label([image()])
    monkeypatch.setenv("GOOGLE_API_KEY", f" {KEY}\n")
    adapter(service, key=None).label([image()])
    assert [call.metadata.get("x-goog-api-key") for call in service.calls] == [None, KEY]


def test_https_endpoints_are_spoken_to_over_tls_once(service: GrpcService, tmp_path: Path) -> None:
    """Over TLS the API key arrives, and a failing call is one request there too."""
    public, private = certificate()
    secure = google_service(reply=aborts("UNAVAILABLE"))
    secure.start(grpc.ssl_server_credentials([(private, public)]))
    (tmp_path / "roots.pem").write_bytes(public)
    code = (
        "from api_smoothing.adapters.google import adapter as google\n"
        "from api_smoothing.adapters.base import EncodedImage\n"
        f"ask = google.load(endpoint='https://localhost:{secure.port}', key='{KEY}', timeout=10.0)\n"
        "try: ask.label([EncodedImage(data=b'x', height=1, width=1)])\n"
        "except Exception as error: print(ask.verdict(error).kind)"
    )
    environment = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "roots.pem")}
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    finally:
        secure.stop()
    assert done.stdout.strip() == "transient"
    assert [call.metadata["x-goog-api-key"] for call in secure.calls] == [KEY]


def recorded_response(shared: Path, name: str) -> Any:
    return Response.wrap(json_format.ParseDict(recorded(shared, name), Response.pb(Response())))


def test_a_recorded_answer_is_read(service: GrpcService, shared: Path) -> None:
    """A response of the real service gives its labels, generic parents above the car included."""
    response = recorded_response(shared, "google_labels_car.json")
    service.reply = lambda request, context: response
    (answer,) = adapter(service).label([image()])
    assert isinstance(answer, Answer)
    assert len(answer.labels) == 11
    assert answer.labels[0] == Label(name="Land vehicle", id="/m/01prls", score=0.9961627)
    assert answer.labels[2] == Label(name="Car", id="/m/0k4j", score=0.98701257)


def test_a_recorded_bad_image_is_tried_again(service: GrpcService, shared: Path) -> None:
    """The real service's complaint about one image is transient: users saw it pass on a second try."""
    response = recorded_response(shared, "google_per_image_error.json")
    service.reply = lambda request, context: response
    (verdict,) = adapter(service).label([image()])
    assert isinstance(verdict, Verdict)
    assert verdict.kind == "transient"
    assert "Bad image data." in verdict.message
