"""Clarifai's adapter through the real SDK, against servers made of the SDK's own messages."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
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
from api_smoothing.adapters.clarifai import adapter as clarifai
from api_smoothing.adapters.clarifai import errors as clarifai_errors
from api_smoothing.errors import ConfigurationError, CredentialsError, DriftError, MissingExtraError

grpc = pytest.importorskip("grpc")
pytest.importorskip("clarifai_grpc")
service_pb2 = pytest.importorskip("clarifai_grpc.grpc.api.service_pb2")
service_pb2_grpc = pytest.importorskip("clarifai_grpc.grpc.api.service_pb2_grpc")
codes = pytest.importorskip("clarifai_grpc.grpc.api.status.status_code_pb2").StatusCode
error_details = pytest.importorskip("google.rpc.error_details_pb2")
status_pb2 = pytest.importorskip("google.rpc.status_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")

Response = service_pb2.MultiOutputResponse
KEY = "planted-token-0123456789abcdef"
VERSION = "aa7f35c01e0642fda5cf400f543e7c40"


def output(*concepts: tuple[str, float], version: str = VERSION) -> Any:
    """An image's answer, with ids made of the names."""
    one = Response().outputs.add(status={"code": 10000}, model={"model_version": {"id": version}}, data={})
    for name, value in concepts:
        one.data.concepts.add(id=f"ai_{name}" if name else "", name=name, value=value)
    return one


def failed(code: int, description: str = "", details: str = "") -> Any:
    """An image's failure."""
    return Response().outputs.add(status={"code": code, "description": description, "details": details})


def response(*outputs: Any, code: int = 10000, description: str = "", details: str = "") -> Any:
    """A response, successful unless it has another `code`."""
    return Response(
        status={"code": code, "description": description, "details": details}, outputs=list(outputs)
    )


def clarifai_service(reply: Reply | None = None) -> GrpcService:
    """Clarifai's method, which says "cat" of every image unless it is told otherwise."""
    return GrpcService(
        name="clarifai.api.V2",
        method="PostModelOutputs",
        read=service_pb2.PostModelOutputsRequest.FromString,
        write=lambda answer: answer.SerializeToString(),
        reply=reply or (lambda request, context: response(*[output(("cat", 0.75))] * len(request.inputs))),
    )


@pytest.fixture
def service() -> Iterator[GrpcService]:
    with running(clarifai_service()) as service:
        yield service


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the user's token or settings."""
    for name in [name for name in os.environ if name.startswith("CLARIFAI_")]:
        monkeypatch.delenv(name)


def adapter(service: GrpcService, **options: Any) -> clarifai.Clarifai:
    return clarifai.load(**{"endpoint": service.endpoint, "key": KEY, "timeout": 60.0, **options})


def always(answer: Any) -> Callable[[Any, Any], Any]:
    return lambda request, context: answer


def test_it_is_an_adapter(service: GrpcService) -> None:
    """The loader returns what the engine calls an adapter."""
    assert isinstance(adapter(service), Adapter)


def test_answers_have_the_id_of_their_request(service: GrpcService) -> None:
    """All that one response holds have what Clarifai calls the request, for evidence."""
    answer = response(output(("cat", 0.75)), output(("dog", 0.5)))
    answer.status.req_id = "0123abcd"
    service.reply = always(answer)
    found = adapter(service).label([image(), image()])
    assert [one.request_id for one in found if isinstance(one, Answer)] == ["0123abcd"] * 2


def test_card_states_limits_and_quotas() -> None:
    """128 images a request, 15 requests a second; a rate of images is a second quota."""
    card = clarifai.load().card
    assert (card.batch, card.max_labels, card.labels) == (128, 50, None)
    assert (card.price, card.drift) == ("clarifai/general", "version")
    assert card.quotas == (Quota(unit="request", count=15),)
    assert card.queries_per_second == 15 * 128
    slow = clarifai.load(rate=30).card
    assert slow.quotas == (Quota(unit="image", count=30), Quota(unit="request", count=15))


def test_fingerprint_covers_what_can_change_an_answer() -> None:
    """Model, owner, version, concepts and endpoint are in the fingerprint, a port only when it has no name."""
    loads: list[dict[str, Any]] = [
        {},
        {"model": "other"},
        {"user_id": "me"},
        {"app_id": "mine"},
        {"version": VERSION},
        {"max_labels": 10},
        {"only": ["cat", "dog"]},
        {"only": ["cat,dog"]},
        {"endpoint": "https://clarifai.example.com"},
    ]
    assert len({clarifai.load(**options).card.fingerprint for options in loads}) == len(loads)
    named = [clarifai.load(endpoint=f"127.0.0.1:{port}", endpoint_id="sandbox").card for port in (1, 2)]
    assert named[0] == named[1]
    one, other = (clarifai.load(only=only).card.fingerprint for only in (["a", "b"], ["b", "a"]))
    assert one == other


def test_the_environment_sets_owner_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual variables name the endpoint, and the owner of a model that is named; arguments come first."""
    plain = clarifai.load().card.fingerprint
    monkeypatch.setenv("CLARIFAI_USER_ID", "me")
    monkeypatch.setenv("CLARIFAI_APP_ID", "mine")
    assert clarifai.load().card.fingerprint == plain
    assert "/me/mine/own/" in clarifai.load(model="own").card.fingerprint
    assert "/you/mine/own/" in clarifai.load(model="own", user_id="you").card.fingerprint
    monkeypatch.setenv("CLARIFAI_GRPC_BASE", "clarifai.example.com")
    assert clarifai.load().card.fingerprint.endswith("@clarifai.example.com:443")
    assert clarifai.load(endpoint="localhost:1").card.fingerprint.endswith("@localhost:1")


@pytest.mark.parametrize(
    "options",
    [
        {"max_labels": 0},
        {"max_labels": 201},
        {"only": "cat"},
        {"only": [""]},
        {"only": [f"x{i}" for i in range(201)]},
        {"rate": -1},
        {"timeout": 0},
        {"endpoint": "http://clarifai.example.com"},
        {"endpoint": "https://user:planted@clarifai.example.com"},
    ],
)
def test_settings_out_of_range_are_one_line(options: dict[str, Any]) -> None:
    """A wrong setting is an error of one line that does not quote a password."""
    with pytest.raises(ConfigurationError) as caught:
        clarifai.load(**options)
    assert "\n" not in str(caught.value)
    assert "planted" not in str(caught.value)


def test_answers_keep_the_order_of_the_images(service: GrpcService) -> None:
    """128 images are one request, and each answer is its own image's."""
    service.reply = lambda request, context: response(
        *[output((one.data.image.base64.decode(), 0.5)) for one in request.inputs]
    )
    names = [f"n{i}" for i in range(128)]
    answers = adapter(service).label([image(name.encode()) for name in names])
    assert [answer.labels[0].name for answer in answers if isinstance(answer, Answer)] == names
    assert len(service.calls) == 1


def test_request_says_what_was_asked_for(service: GrpcService) -> None:
    """Raw bytes, model, owner, version, number of concepts, token and deadline arrive as they were set."""
    ask = adapter(service, model="own", user_id="me", app_id="mine", version=VERSION, max_labels=7)
    ask.label([image(b"\x89PNG"), image(b"b")])
    (call,) = service.calls
    request = call.request
    assert [one.data.image.base64 for one in request.inputs] == [b"\x89PNG", b"b"]
    assert (request.user_app_id.user_id, request.user_app_id.app_id) == ("me", "mine")
    assert (request.model_id, request.version_id) == ("own", VERSION)
    assert request.model.output_info.output_config.max_concepts == 7
    assert call.metadata["authorization"] == f"Key {KEY}"
    assert call.seconds_left is not None
    assert 0 < call.seconds_left < 61  # on the wire it is rounded up


def test_a_closed_set_is_asked_of_the_server(service: GrpcService) -> None:
    """`only` selects concepts by id where it is one, else by name; any other concept breaks the contract."""
    service.reply = lambda request, context: response(output(("dog", 0.9), ("cat", 0.1)))
    ask = adapter(service, only=["dog", "ai_cat"], max_labels=1)
    (answer,) = ask.label([image()])
    assert isinstance(answer, Answer)
    assert [label.name for label in answer.labels] == ["dog", "cat"]
    config = service.calls[0].request.model.output_info.output_config
    assert [(one.id, one.name) for one in config.select_concepts] == [("", "dog"), ("ai_cat", "")]
    assert config.max_concepts == 2
    assert (ask.card.labels, ask.card.max_labels) == (None, 2)
    assert adapter(service, only=["dog", "cat"]).card.labels == ("dog", "cat")
    assert isinstance(failure(adapter(service, only=["dog"]))[0], BrokenContract)


def test_labels_have_ids_and_come_best_first(service: GrpcService) -> None:
    """A label has Clarifai's id; equal scores are ordered by id; no more than asked for; floats as written."""
    concepts = [("b", 0.5), ("a", 0.5), ("c", 0.9), ("d", 0.1)]
    service.reply = lambda request, context: response(output(*concepts))
    (answer,) = adapter(service, max_labels=3).label([image()])
    labels = tuple(Label(name=n, id=f"ai_{n}", score=s) for n, s in [("c", 0.9), ("a", 0.5), ("b", 0.5)])
    assert answer == Answer(labels=labels, model_version=VERSION)


def test_nothing_found_is_an_answer_without_labels(service: GrpcService) -> None:
    """Data without concepts, from a named version, says "nothing"; it is no failure."""
    service.reply = lambda request, context: response(output())
    assert adapter(service).label([image()]) == [Answer(labels=(), model_version=VERSION)]


def without(field_name: str) -> Any:
    one = output(("cat", 0.5))
    one.ClearField(field_name)
    return one


#: What models of other types say of an image: none of it is an answer in concepts.
OF_ANOTHER_KIND = {
    "regions": {"regions": [{"id": "r", "data": {"concepts": [{"id": "c", "name": "cat", "value": 0.9}]}}]},
    "embeddings": {"embeddings": [{"vector": [0.5, 0.25], "num_dimensions": 2}]},
    "text": {"text": {"raw": "a cat"}},
    "colours": {"colors": [{"raw_hex": "#fff", "value": 0.5}]},
    "clusters": {"clusters": [{"id": "k", "score": 0.5}]},
    "image": {"image": {"url": "https://example.com/generated.png"}},
}


def of_another_kind(data: dict[str, Any]) -> Any:
    return json_format.ParseDict({"data": data}, output())


def test_one_unreadable_output_fails_alone(service: GrpcService) -> None:
    """The neighbours of an output that breaks the contract are answers."""
    good = output(("cat", 0.5))
    for bad in (without("data"), output(("cat", 99.0)), of_another_kind(OF_ANOTHER_KIND["regions"])):
        service.reply = always(response(good, bad, good))
        first, broken, last = adapter(service).label([image()] * 3)
        assert isinstance(first, Answer)
        assert first == last
        assert isinstance(broken, Verdict)
        assert (broken.kind, broken.sent) == ("broken", True)


def test_a_concept_of_only_that_is_not_scored_is_not_absent(service: GrpcService) -> None:
    """`only` asks for the score of each of its concepts; an output without one of them is no answer."""
    service.reply = always(response(output(("dog", 0.9))))
    assert isinstance(failure(adapter(service, only=["dog", "cat"]))[0], BrokenContract)
    service.reply = always(response(output()))
    assert isinstance(failure(adapter(service, only=["dog", "cat"]))[0], BrokenContract)
    service.reply = always(response(output(("dog", 0.0), ("cat", 0.0))))
    (answer,) = adapter(service, only=["dog", "cat"]).label([image()])
    assert isinstance(answer, Answer)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        response(),
        response(output(("cat", 0.5))),
        response(*[output(("cat", 0.5))] * 3),
        response(code=10010),
        response(output(("cat", 0.5)), code=10010),
        response(*[without("data")] * 2),
        response(*[without("model")] * 2),
        response(*[without("status")] * 2),
        response(*[output(("cat", 0.5), version="")] * 2),
        response(*[output(("", 0.5))] * 2),
        response(*[output(("cat", 1.5))] * 2),
        response(*[output(("cat", float("nan")))] * 2),
        Response(outputs=[output(("cat", 0.5))] * 2),
        b"<!DOCTYPE html><html>Sign in</html>",
        response(*[output(("cat", 0.5))] * 2).SerializeToString()[:-3],
        response(*[output(("cat", 0.0), ("dog", 0.0))] * 2),
        *(response(*[of_another_kind(data)] * 2) for data in OF_ANOTHER_KIND.values()),
    ],
    ids=[
        *("empty", "none", "one-few", "one-many", "mixed-none", "mixed-few", "no-data", "no-model"),
        *("no-own-status", "no-version", "nameless", "over", "nan", "no-status", "html", "truncated"),
        *("unscored", *OF_ANOTHER_KIND),
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


def test_a_response_without_a_status_says_so(service: GrpcService) -> None:
    """What is no response of Clarifai's is called a broken contract, not an error of Clarifai's."""
    service.reply = always(b"")
    error, verdict = failure(adapter(service))
    assert isinstance(error, BrokenContract)
    assert "no status" in verdict.message


def test_another_version_than_the_pinned_one_is_drift(service: GrpcService) -> None:
    """An answer of a version that was not asked for stops everything; without a pin it is just reported."""
    service.reply = lambda request, context: response(output(("cat", 0.5), version="new"))
    (answer,) = adapter(service).label([image()])
    assert isinstance(answer, Answer)
    assert answer.model_version == "new"
    with pytest.raises(DriftError, match=VERSION):
        adapter(service, version=VERSION).label([image()])


@pytest.mark.parametrize(("status", "kind"), KIND_OF_STATUS.items())
def test_every_status_is_one_request_and_has_a_verdict(service: GrpcService, status: str, kind: str) -> None:
    """Nothing is repeated, whatever the status; the vendor's own channel would send UNAVAILABLE five times."""
    service.reply = aborts(status)
    _, verdict = failure(adapter(service))
    assert (verdict.kind, verdict.sent) == (kind, True)
    assert "it says so" in verdict.message
    assert len(service.calls) == 1


def test_the_vendors_channel_would_repeat(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: the same call over a channel that may retry is seen more than once."""
    channels = pytest.importorskip("clarifai_grpc.channel.clarifai_channel")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service.reply = aborts("UNAVAILABLE", times=100)
    channel = channels.ClarifaiChannel.get_insecure_grpc_channel(base="127.0.0.1", port=service.port)
    with channel, pytest.raises(grpc.RpcError):
        service_pb2_grpc.V2Stub(channel).PostModelOutputs(service_pb2.PostModelOutputsRequest(), timeout=10)
    assert len(service.calls) > 1


def test_retry_info_is_the_wait(service: GrpcService) -> None:
    """A gRPC throttle says how long to wait in its details; malformed details say nothing."""
    status = status_pb2.Status(code=8, message="slow")
    status.details.add().Pack(error_details.RetryInfo(retry_delay={"seconds": 2, "nanos": 500_000_000}))
    for details, wait in ((status.SerializeToString(), 2.5), (b"\xff\xff\xff", None), (None, None)):
        service.reply = aborts("RESOURCE_EXHAUSTED", "slow", details)
        _, verdict = failure(adapter(service))
        assert (verdict.kind, verdict.retry_after) == ("throttled", wait)
        service.reply = aborts("UNAVAILABLE", "busy", details)
        _, verdict = failure(adapter(service))
        assert (verdict.kind, verdict.retry_after) == ("transient", wait)
    service.reply = aborts("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)")
    assert failure(adapter(service))[1].kind == "refused"


CODES = {
    "fatal": [
        *(
            "CONN_ACCOUNT_ISSUES",
            "CONN_TOKEN_INVALID",
            "CONN_CREDENTIALS_INVALID",
            "CONN_EXCEED_HOURLY_LIMIT",
        ),
        *("CONN_EXCEED_MONTHLY_LIMIT", "CONN_EXCEEDS_LIMITS", "CONN_INSUFFICIENT_SCOPES", "CONN_KEY_INVALID"),
        *("CONN_KEY_NOT_FOUND", "CONN_AUTH_METHOD_DISABLED", "CONN_DOES_NOT_EXIST", "CONN_NO_GDPR_CONSENT"),
        *(
            "MODEL_DOES_NOT_EXIST",
            "MODEL_PERMISSION_DENIED",
            "MODEL_INVALID_ARGUMENT",
            "MODEL_INVALID_REQUEST",
        ),
        *("MODEL_UNTRAINED", "MODEL_DEPLOYMENT_FAILED", "MODEL_NOT_DEPLOYED", "NOT_IMPLEMENTED", "MOVED"),
        *("CONN_METHOD_NOT_ALLOWED", "RPC_UNKNOWN_METHOD", "USER_CONSENT_FACE"),
        *("LICENSE_DOES_NOT_EXIST", "LICENSE_NEED_UPDATE", "LICENSE_EXPIRED", "LICENSE_REVOKED"),
        *("LICENSE_DELETED", "LICENSE_VOLUME_EXCEEDED"),
        *("BILLING_INVALID_INFO", "BILLING_MISSING_TOKENS", "BILLING_UNCATEGORIZED"),
    ],
    "refused": [
        *("INPUT_DOWNLOAD_FAILED", "INPUT_DUPLICATE", "INPUT_UNSUPPORTED_FORMAT", "INPUT_DOES_NOT_EXIST"),
        *("INPUT_PERMISSION_DENIED", "INPUT_INVALID_ARGUMENT", "INPUT_OVER_LIMIT", "INPUT_INVALID_URL"),
        *(
            "ALL_INPUT_INVALID_BYTES",
            "MP_IMAGE_DECODE_ERROR",
            "MP_IMAGE_PROCESSING_ERROR",
            "MP_INVALID_ARGUMENT",
        ),
        *("MP_DOWNLOAD_MAX_SIZE_EXCEEDED_ERROR", "FILETYPE_UNSUPPORTED", "RPC_MAX_MESSAGE_SIZE_EXCEEDED"),
        *("CONN_BAD_REQUEST_FORMAT", "CONN_INVALID_REQUEST", "CONN_INVALID_RANGE", "INPUT_INVALID_REQUEST"),
        *("PREDICT_INVALID_REQUEST", "CONCEPTS_INVALID_REQUEST", "BAD_REQUEST"),
    ],
    "throttled": ["CONN_THROTTLED"],
    "transient": [
        *(
            "FAILURE",
            "TRY_AGAIN",
            "MODEL_DEPLOYING",
            "MODEL_QUEUED_FOR_DEPLOYMENT",
            "MODEL_BUSY_PLEASE_RETRY",
        ),
        *("MODEL_LOADING", "MODEL_PREDICTION_FAILED", "RPC_REQUEST_QUEUE_FULL", "RPC_SERVER_UNAVAILABLE"),
        *("RPC_REQUEST_TIMEOUT", "RPC_CANCELED", "INTERNAL_SERVER_ISSUE", "INTERNAL_UNEXPECTED_TIMEOUT"),
        *("INTERNAL_RESOURCE_EXHAUSTED", "INTERNAL_UNCATEGORIZED", "MODEL_UNCATEGORIZED", "SERVER_ERROR"),
        *("REQUEST_DISABLED_FOR_MAINTENANCE", "RUNNER_NEEDS_RETRY", "DATABASE_DEADLOCK_DETECTED"),
    ],
}


@pytest.mark.parametrize("kind", CODES)
def test_status_codes_mean_what_their_names_say(service: GrpcService, kind: str) -> None:
    """Each code of the SDK's enum, of the request and of one image in it, has the verdict of its name."""
    ask = adapter(service)
    for name in CODES[kind]:
        code = codes.Value(name)
        service.reply = always(response(code=code, description="it says so"))
        _, whole = failure(ask)
        service.reply = always(response(failed(code, "it says so"), output(("cat", 0.5)), code=10010))
        part, answer = ask.label([image(), image()])
        assert isinstance(part, Verdict)
        assert isinstance(answer, Answer)
        assert (name, whole.kind, part.kind) == (name, kind, kind)
        assert "it says so" in whole.message
        assert str(code) in whole.message
    assert len(service.calls) == 2 * len(CODES[kind])


def test_every_code_that_is_not_transient_exists() -> None:
    """The tables hold no code that the SDK's enum does not know, and none twice."""
    tables = [
        clarifai_errors.KEY_CODES,
        clarifai_errors.QUOTA_CODES,
        clarifai_errors.MODEL_CODES,
        clarifai_errors.REFUSED_CODES,
    ]
    listed = [code for table in tables for code in table]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(codes.values())
    assert sorted(listed) == sorted(codes.Value(n) for kind in ("fatal", "refused") for n in CODES[kind])


def test_a_code_of_tomorrow_is_transient(service: GrpcService) -> None:
    """A code that the SDK does not know yet has a verdict, too."""
    service.reply = lambda request, context: response(code=98765)
    assert failure(adapter(service))[1].kind == "transient"


def test_a_failed_batch_is_split_and_a_single_failure_tried_again(service: GrpcService) -> None:
    """FAILURE of several images is refused, which has the batch split; of one image it may pass."""
    service.reply = lambda request, context: response(code=10020, description="Failure")
    ask = adapter(service)
    assert failure(ask, images=2)[1].kind == "refused"
    assert failure(ask, images=1)[1].kind == "transient"
    service.reply = lambda request, context: response(*[failed(10020)] * 2, code=10020)
    assert failure(ask, images=2)[1].kind == "refused"
    service.reply = lambda request, context: response(output(("cat", 0.5)), failed(47104), code=10020)
    assert failure(ask, images=2)[1].kind == "refused"


def test_a_failed_request_that_explains_each_image_is_believed(service: GrpcService) -> None:
    """Where every image has its own code, that counts; but not against a wrong token."""
    service.reply = lambda request, context: response(failed(47104), failed(21355), code=10020)
    ask = adapter(service)
    kinds = [one.kind for one in ask.label([image(), image()]) if isinstance(one, Verdict)]
    assert kinds == ["refused", "transient"]
    service.reply = lambda request, context: response(failed(30002), failed(30002), code=11001)
    assert failure(ask, images=2)[1].kind == "fatal"


def test_one_bad_image_fails_alone(service: GrpcService) -> None:
    """In a mixed response the good answers stay, in their places."""
    good, bad = output(("cat", 0.5)), failed(30002, "Download failed", "cannot decode")
    service.reply = lambda request, context: response(good, bad, good, code=10010, description="Mixed")
    first, middle, last = adapter(service).label([image()] * 3)
    assert first == last
    assert isinstance(first, Answer)
    assert isinstance(middle, Verdict)
    assert middle.kind == "refused"
    assert "cannot decode" in middle.message


def test_an_answer_that_never_comes_ends_at_the_deadline(service: GrpcService) -> None:
    """Every request has a deadline, after which it may have been paid for."""
    over = threading.Event()
    service.reply = lambda request, context: over.wait(100) and response(output())
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
        return response(output())

    service.reply = stop
    _, verdict = failure(adapter(service))
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert len(service.calls) == 1


def test_what_could_not_connect_was_not_sent() -> None:
    """Nobody listens: the request cannot have cost anything, and the same adapter may try again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ask = clarifai.load(endpoint=f"127.0.0.1:{free.getsockname()[1]}", key=KEY, timeout=5.0)
        for _ in range(2):
            _, verdict = failure(ask)
            assert (verdict.kind, verdict.sent) == ("transient", False)
    assert "cannot connect" in verdict.message


def test_connecting_beforehand_sends_nothing(service: GrpcService) -> None:
    """`connect` does all that needs no request, may fail where a call would be tried again, and names no token."""
    ask = adapter(service)
    ask.connect()
    ask.connect()
    assert not service.calls
    ask.label([image()])
    assert len(service.calls) == 1
    clarifai.load(endpoint="127.0.0.1:1", key=KEY).connect()
    with pytest.raises(CredentialsError, match="CLARIFAI_PAT"):
        clarifai.load(endpoint="127.0.0.1:1").connect()


def test_large_batches_pass(service: GrpcService) -> None:
    """A request above gRPC's default limit of 4 MB leaves, and an answer above it is read."""
    service.stop()
    service.start(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    long = output(("cat", 0.5))
    long.input.data.image.base64 = bytes(5_000_000)  # as if the service sent the image back
    service.reply = always(response(long))
    (answer,) = adapter(service).label([image(bytes(5_000_000))])
    assert isinstance(answer, Answer)


def test_sixteen_threads_share_one_client(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls from many threads all get their own answer, over one client."""
    made = counted(monkeypatch, grpc, "insecure_channel")
    service.reply = lambda request, context: response(
        output((request.inputs[0].data.image.base64.decode(), 0.5))
    )
    ask = adapter(service)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: ask.label([image(b"n%d" % i)])[0], range(64)))
    assert [a.labels[0].name for a in answers if isinstance(a, Answer)] == [f"n{i}" for i in range(64)]
    assert (len(made), len(service.calls)) == (1, 64)


def test_a_forked_process_makes_its_own_client(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel is used only in the process that made it."""
    made = counted(monkeypatch, grpc, "insecure_channel")
    ask = adapter(service)
    ask.label([image()])
    ask.label([image()])
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    ask.label([image()])
    assert len(made) == 2


def test_loopback_ignores_proxies(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables do not divert calls to this machine."""
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(adapter(service).label([image()])[0], Answer)


def test_no_secret_leaves_with_an_error(service: GrpcService, caplog: pytest.LogCaptureFixture) -> None:
    """A service that quotes the token gets it into no message, representation, card or log."""
    ask = adapter(service)
    seen = [repr(ask), repr(ask.card), str(ask.card.fingerprint)]
    text = f"authorization: Key {KEY}"
    replies: list[Callable[[Any, Any], Any]] = [
        aborts("PERMISSION_DENIED", text),
        aborts("INTERNAL", text),
        lambda request, context: response(code=11001, description=text),
        lambda request, context: response(code=10020, details=text),
    ]
    with caplog.at_level(logging.DEBUG):
        for reply in replies:
            service.reply = reply
            error, verdict = failure(ask)
            seen += [str(error), repr(error), repr(verdict)]
        service.reply = lambda request, context: response(failed(30002, text, text), code=10010)
        seen += [repr(ask.label([image()]))]
    assert "authorization" in seen[-1]
    seen += [record.getMessage() for record in caplog.records]
    assert not [line for line in seen if "planted" in line]


def test_a_json_channel_elsewhere_changes_nothing(service: GrpcService) -> None:
    """The SDK's stubs depend on the channel it made last in the process; the adapter does not."""
    channels = pytest.importorskip("clarifai_grpc.channel.clarifai_channel")
    pytest.importorskip("requests")
    channels.ClarifaiChannel.get_json_channel()
    assert isinstance(adapter(service).label([image()])[0], Answer)


def test_a_missing_sdk_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK the adapter can be made, and the call says what to install."""
    monkeypatch.setitem(sys.modules, "clarifai_grpc.grpc.api.resources_pb2", None)
    with pytest.raises(MissingExtraError, match=r"api-smooth\[clarifai\]"):
        clarifai.load(key=KEY).label([image()])


def test_importing_and_loading_imports_no_sdk() -> None:
    """The module, a card and a look at credentials need no SDK, no torch and no network."""
    code = (
        "import sys; from api_smoothing.adapters.clarifai import adapter; adapter.load(); adapter.credentials();"
        "print([m for m in ('grpc', 'torch', 'clarifai_grpc', 'google.protobuf') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_credentials_are_found_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is there or its variable is named."""
    assert not clarifai.credentials().found
    assert "CLARIFAI_PAT" in clarifai.credentials().source
    monkeypatch.setenv("CLARIFAI_PAT", KEY)
    assert clarifai.credentials().found
    assert "planted" not in repr(clarifai.credentials())


def test_missing_or_unusable_tokens_name_the_variable(service: GrpcService) -> None:
    """Without a token, or with one that cannot be a header, nothing is sent and the error says what to do."""
    for key in (None, " ", "planted\ntoken", "plänted"):
        with pytest.raises(CredentialsError) as caught:
            adapter(service, key=key).label([image()])
        assert "CLARIFAI_PAT" in str(caught.value)
        assert "api-smooth providers check clarifai" in str(caught.value)
        assert "nted" not in str(caught.value)
    assert not service.calls


def test_the_token_of_the_environment_is_used(service: GrpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLARIFAI_PAT stands in for a token that is not given."""
    monkeypatch.setenv("CLARIFAI_PAT", f" {KEY}\n")
    adapter(service, key=None).label([image()])
    assert service.calls[0].metadata["authorization"] == f"Key {KEY}"


def test_https_endpoints_are_spoken_to_over_tls_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS, with certificates of one's own, the token arrives, and a failing call is one request too."""
    public, private = certificate()
    secure = clarifai_service(reply=aborts("UNAVAILABLE"))
    secure.start(grpc.ssl_server_credentials([(private, public)]))
    monkeypatch.setenv("CLARIFAI_ROOT_CERTIFICATES_PATH", str(tmp_path / "roots.pem"))
    ask = clarifai.load(endpoint=f"https://localhost:{secure.port}", key=KEY, timeout=10.0)
    with pytest.raises(ConfigurationError, match="CLARIFAI_ROOT_CERTIFICATES_PATH"):
        ask.label([image()])
    (tmp_path / "roots.pem").write_bytes(public)
    try:
        _, verdict = failure(ask)
    finally:
        secure.stop()
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert [call.metadata["authorization"] for call in secure.calls] == [f"Key {KEY}"]


def test_a_recorded_answer_is_read(service: GrpcService, shared: Path) -> None:
    """A response of the real service gives its concepts, their ids, and the version."""
    body = recorded(shared, "clarifai_metro_north_v_aa7f35c0.json")
    service.reply = lambda request, context: json_format.ParseDict(body, Response())
    (answer,) = adapter(service, version=VERSION).label([image()])
    assert isinstance(answer, Answer)
    assert answer.model_version == VERSION
    assert [label.name for label in answer.labels] == ["train", "railway", "subway system"]
    assert answer.labels[0].id == "ai_HLmqFqBf"
    assert answer.labels[0].score == pytest.approx(0.9996053576469421, abs=1e-7)


@pytest.mark.parametrize("kind", ["body", "docs_2024"])
def test_a_recorded_throttle_is_a_throttle(service: GrpcService, shared: Path, kind: str) -> None:
    """The real service's complaint about the rate is no answer; its window of a second is the wait."""
    body = recorded(shared, "clarifai_throttle.json")[kind]
    service.reply = lambda request, context: json_format.ParseDict(body, Response())
    _, verdict = failure(adapter(service), images=3)
    assert (verdict.kind, verdict.retry_after) == ("throttled", 1.0)
