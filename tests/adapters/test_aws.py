"""Rekognition through boto3, against a server of raw HTTP answers and against moto."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wire import Wire

from api_smoothing import adapters
from api_smoothing.adapters import Answer, EncodedImage, Label
from api_smoothing.adapters._transport.service import BrokenContract
from api_smoothing.adapters.aws import adapter as aws
from api_smoothing.errors import ConfigurationError, CredentialsError, MissingExtraError
from api_smoothing.png import encode_png

boto3 = pytest.importorskip("boto3")
raised = pytest.importorskip("botocore.exceptions")

KEY, SECRET, TOKEN = (
    "AKIAPLANTEDKEYID0000",
    "planted/secret+access/key=0123456789",
    "planted-session-token-98765",
)
KEYS: dict[str, Any] = {"region": "us-east-1", "access_key_id": KEY, "secret_access_key": SECRET}
ARN = "arn:aws:rekognition:us-east-1:123456789012:project/pets/version/pets.2026-01-01T00.00.00/1767225600000"
HONEST = {"LabelModelVersion": "3.0", "Labels": [{"Name": "Cat", "Confidence": 99.0, "Parents": []}]}


def image_of(number: int = 0) -> EncodedImage:
    pixels = np.full((80, 80, 3), number, dtype=np.uint8)
    return EncodedImage(data=encode_png(pixels), height=80, width=80)


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire(
        (200, HONEST), content_type="application/x-amz-json-1.1", half=b'{"LabelModelVersion": "3.0", '
    )
    yield server
    server.close()


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")  # what a user may have set for other programs


def adapter_at(wire: Wire, **options: Any) -> aws.RekognitionAdapter:
    return aws.load(endpoint=wire.endpoint, **{**KEYS, **options})


def error_of(adapter: aws.RekognitionAdapter) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        adapter.label([image_of()])
    return caught.value


# --- answers ---------------------------------------------------------------------------------------------------


def test_recorded_answer_is_read_as_it_stands(wire: Wire, shared: Path) -> None:
    """Scores are in [0, 1], parents are kept, and all four tied labels are there."""
    recorded = json.loads((shared / "fixtures/recorded/aws_detectlabels_v3_car.json").read_text())
    wire.answer = (200, recorded)
    (answer,) = adapter_at(wire).label([image_of()])
    assert answer.model_version == "3.0"
    assert [label.name for label in answer.labels[:4]] == ["Car", "Sedan", "Transportation", "Vehicle"]
    assert {label.score for label in answer.labels[:4]} == {1.0}
    assert answer.labels[1].parents == ("Car", "Transportation", "Vehicle")
    assert len(answer.labels) == len(recorded["Labels"])


def test_an_answer_has_the_id_of_its_request(wire: Wire) -> None:
    """What AWS calls the request, for evidence; two answers that differ in it alone are equal."""
    wire.answer = (200, HONEST, {"x-amzn-RequestId": "0f0c1a2b-0000-4000-8000-1234567890ab"})
    (answer,) = adapter_at(wire).label([image_of()])
    assert answer.request_id == "0f0c1a2b-0000-4000-8000-1234567890ab"
    assert answer == Answer(labels=answer.labels, model_version=answer.model_version)


def test_labels_come_best_first_and_aliases_are_none(wire: Wire) -> None:
    """DetectLabels promises no order; an alias is another name, not another label."""
    entries = [
        {"Name": "Animal", "Confidence": 70.5},
        {"Name": "Cat", "Confidence": 98.0, "Parents": [{"Name": "Animal"}], "Aliases": [{"Name": "Kitty"}]},
    ]
    wire.answer = (200, {"LabelModelVersion": "3.0", "Labels": entries})
    (answer,) = adapter_at(wire).label([image_of()])
    assert answer.labels == (
        Label(name="Cat", score=0.98, parents=("Animal",)),
        Label(name="Animal", score=0.705),
    )


def test_honest_empty_list_is_an_answer_without_labels(wire: Wire) -> None:
    """ "Nothing found" is an answer, and counts as one."""
    wire.answer = (200, {"LabelModelVersion": "3.0", "Labels": []})
    assert adapter_at(wire).label([image_of()]) == [Answer(labels=(), model_version="3.0")]


def test_custom_labels_have_the_arn_as_their_version(wire: Wire) -> None:
    """`model` selects DetectCustomLabels, whose answers name no version: the ARN is it."""
    wire.answer = (200, {"CustomLabels": [{"Name": "tabby", "Confidence": 61.0}]})
    adapter = adapter_at(wire, model=ARN, max_labels=7)
    (answer,) = adapter.label([image_of()])
    assert answer == Answer(labels=(Label(name="tabby", score=0.61),), model_version=ARN)
    sent = json.loads(wire.requests[0].body)
    assert wire.requests[0].headers["X-Amz-Target"] == "RekognitionService.DetectCustomLabels"
    assert (sent["ProjectVersionArn"], sent["MaxResults"], sent["MinConfidence"]) == (ARN, 7, 0)
    assert adapter.card.price == "aws/detect-custom-labels"
    assert ARN in adapter.card.fingerprint


def test_moderation_labels_have_one_parent_and_a_version_of_their_own(wire: Wire) -> None:
    """A moderation label names its parent as text, empty at the top."""
    entries = [
        {"Name": "Violence", "Confidence": 80.0, "ParentName": ""},
        {"Name": "Weapons", "Confidence": 80.0, "ParentName": "Violence"},
    ]
    wire.answer = (200, {"ModerationLabels": entries, "ModerationModelVersion": "7.0"})
    (answer,) = adapter_at(wire, operation="detect-moderation-labels", min_confidence=0.5).label([image_of()])
    assert answer.model_version == "7.0"
    assert [label.parents for label in answer.labels] == [(), ("Violence",)]
    sent = json.loads(wire.requests[0].body)
    assert sent.keys() == {"Image", "MinConfidence"}
    assert sent["MinConfidence"] == 50


def version_and(labels: object) -> dict[str, object]:
    return {"LabelModelVersion": "3.0", "Labels": labels}


JUNK: dict[str, Any] = {
    "empty": b"",
    "object": {},
    "null": None,
    "list": [],
    "text": b'"ok"',
    "html": b"<html><body>Welcome to the airport</body></html>",
    "truncated": json.dumps(HONEST).encode()[:-20],
    "not-utf-8": b"\xff\xfe\x00",
    "no-labels": {"LabelModelVersion": "3.0"},
    "labels-null": version_and(None),
    "labels-object": version_and({}),
    "labels-text": version_and(""),
    "label-null": version_and([None]),
    "label-text": version_and(["Cat"]),
    "label-empty": version_and([{}]),
    "label-unnamed": version_and([{"Name": "", "Confidence": 9.0}]),
    "label-unscored": version_and([{"Name": "Cat"}]),
    "score-text": version_and([{"Name": "Cat", "Confidence": "99"}]),
    "score-true": version_and([{"Name": "Cat", "Confidence": True}]),
    "score-nan": b'{"LabelModelVersion": "3.0", "Labels": [{"Name": "Cat", "Confidence": NaN}]}',
    "score-above": version_and([{"Name": "Cat", "Confidence": 100.5}]),
    "parent-unnamed": version_and([{"Name": "Cat", "Confidence": 9.0, "Parents": [{}]}]),
    "no-version": {"Labels": HONEST["Labels"]},
    "version-null": {"Labels": [], "LabelModelVersion": None},
    "version-empty": {"Labels": [], "LabelModelVersion": ""},
    "version-number": {"Labels": [], "LabelModelVersion": 3},
}


@pytest.mark.parametrize("media_type", ["application/x-amz-json-1.1", "text/html"])
def test_success_with_junk_is_never_an_answer(wire: Wire, media_type: str) -> None:
    """HTTP 200 without labels and version breaks the contract; it was sent, once, and can be no vote."""
    adapter = adapter_at(wire)
    for name, body in JUNK.items():
        wire.answer = (200, body, {"Content-Type": media_type})
        wire.requests.clear()
        error = error_of(adapter)
        verdict = adapter.verdict(error)
        assert isinstance(error, BrokenContract), name
        assert (verdict.kind, verdict.sent) == ("broken", True), name
        assert wire.count() == 1, name


@pytest.mark.parametrize("options", [{"model": ARN}, {"operation": "detect-moderation-labels"}])
def test_junk_is_no_answer_to_the_other_operations(wire: Wire, options: dict[str, Any]) -> None:
    """Each operation wants its own list."""
    adapter = adapter_at(wire, **options)
    bodies: list[Any] = [{}, HONEST, {"CustomLabels": None}, {"ModerationLabels": []}]
    for body in bodies:
        wire.answer = (200, body)
        assert isinstance(error_of(adapter), BrokenContract)


def test_body_shorter_than_announced_is_no_answer(wire: Wire) -> None:
    """boto3 does not compare the length of a body with what its header said."""
    body = json.dumps(HONEST).encode()
    wire.answer = (200, body[:-2], {"Content-Length": str(len(body)), "Connection": "close"})
    adapter = adapter_at(wire)
    assert adapter.verdict(error_of(adapter)).kind == "broken"
    assert wire.count() == 1


# --- requests --------------------------------------------------------------------------------------------------


def test_request_is_what_the_service_documents(wire: Wire) -> None:
    """The bytes of the PNG travel unchanged, with the target, the limits and the filters asked for."""
    adapter = adapter_at(
        wire, max_labels=9, min_confidence=0.55, only=["Cat", "Dog", "Cat"], session_token=TOKEN
    )
    image = image_of(7)
    adapter.label([image])
    (request,) = wire.requests
    sent = json.loads(request.body)
    assert (request.method, request.path) == ("POST", "/")
    assert request.headers["X-Amz-Target"] == "RekognitionService.DetectLabels"
    assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert base64.b64decode(sent.pop("Image")["Bytes"], validate=True) == image.data
    assert sent == {
        "MaxLabels": 9,
        "MinConfidence": 55.0,
        "Settings": {"GeneralLabels": {"LabelInclusionFilters": ["Cat", "Dog"]}},
    }
    signature = request.headers["Authorization"]
    assert re.match(
        rf"AWS4-HMAC-SHA256 Credential={KEY}/\d{{8}}/us-east-1/rekognition/aws4_request,", signature
    )
    assert request.headers["X-Amz-Security-Token"] == TOKEN
    assert adapter.card.labels == ("Cat", "Dog")


def test_plain_request_has_no_filters(wire: Wire) -> None:
    """Without options the service gets the image, our limit and no threshold of its own."""
    adapter_at(wire).label([image_of()])
    sent = json.loads(wire.requests[0].body)
    sent.pop("Image")
    assert sent == {"MaxLabels": 50, "MinConfidence": 0.0}


def test_threads_share_one_client_and_get_their_own_answers(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 threads make one session and one request a call, and none gets another's answer."""
    made, real = [], boto3.Session

    def session(**options: Any) -> Any:
        made.append(options)
        return real(**options)

    monkeypatch.setattr(boto3, "Session", session)
    name_of: Callable[[bytes], str] = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731

    def echo(body: bytes) -> tuple[int, object]:
        data = base64.b64decode(json.loads(body)["Image"]["Bytes"])
        return 200, version_and([{"Name": name_of(data), "Confidence": 50.0}])

    wire.answer = echo
    adapter = adapter_at(wire)
    images = [image_of(i) for i in range(128)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda image: adapter.label([image])[0], images))
    assert [answer.labels[0].name for answer in answers] == [name_of(image.data) for image in images]
    assert len(wire.requests) == 128
    assert len(made) == 1


@pytest.mark.parametrize("images", [[], [image_of(), image_of()]])
def test_a_call_takes_one_image(wire: Wire, images: list[EncodedImage]) -> None:
    """Nothing is sent for a batch the service does not have."""
    with pytest.raises(ConfigurationError, match="one encoded image"):
        adapter_at(wire).label(images)
    assert wire.requests == []


# --- errors ----------------------------------------------------------------------------------------------------

ERRORS = [
    (400, "ThrottlingException", "throttled"),
    (500, "ThrottlingException", "throttled"),
    (400, "ProvisionedThroughputExceededException", "throttled"),
    (400, "TooManyRequestsException", "throttled"),
    (400, "AccessDeniedException", "fatal"),
    (400, "UnrecognizedClientException", "fatal"),
    (400, "InvalidSignatureException", "fatal"),
    (400, "ExpiredTokenException", "fatal"),
    (400, "MissingAuthenticationTokenException", "fatal"),
    (400, "LimitExceededException", "fatal"),
    (400, "ResourceNotFoundException", "fatal"),
    (400, "ResourceNotReadyException", "fatal"),
    (400, "ValidationException", "fatal"),
    (400, "InvalidImageFormatException", "refused"),
    (400, "ImageTooLargeException", "refused"),
    (400, "InvalidParameterException", "refused"),
    (400, "InvalidS3ObjectException", "refused"),
    (400, "SomethingNewException", "refused"),
    (500, "InternalServerError", "transient"),
    (503, "ServiceUnavailableException", "transient"),
    (400, "RequestTimeoutException", "transient"),
]


def test_error_codes(wire: Wire) -> None:
    """Each documented error has its verdict, whatever its HTTP status, after exactly one request."""
    adapter = adapter_at(wire)
    for status, code, kind in ERRORS:
        wire.answer = (status, {"__type": f"com.amazonaws.rekognition#{code}", "message": "the reason"})
        wire.requests.clear()
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.kind, verdict.sent, verdict.retry_after) == (kind, True, None), code
        assert code in verdict.message
        assert "\n" not in verdict.message
        if kind == "fatal":
            assert re.search(r"; .*\b(allow|check|see|start|test with)\b", verdict.message), verdict.message
        assert wire.count() == 1, code


STATUSES = [
    (429, b"", "throttled"),
    (500, b"", "transient"),
    (502, b"<html>Bad Gateway</html>", "transient"),
    (503, b"", "transient"),
    (504, b"", "transient"),
    (408, b"", "transient"),
    (401, b"", "fatal"),
    (403, b"<html>Forbidden</html>", "fatal"),
    (404, b"", "fatal"),
    (413, b"", "refused"),
    (400, b"", "refused"),
]


def test_bare_statuses(wire: Wire) -> None:
    """Where a proxy answers without a code, the status decides; there is no second request."""
    adapter = adapter_at(wire)
    for status, body, kind in STATUSES:
        wire.answer = (status, body, {"Content-Type": "text/html"})
        wire.requests.clear()
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.kind, verdict.sent) == (kind, True), status
        assert wire.count() == 1, status


def test_retry_after_is_read_where_a_proxy_sends_it(wire: Wire) -> None:
    """AWS sends none; what sits in front of it may, with whatever status."""
    adapter = adapter_at(wire)
    for status in (400, 408, 409, 423, 429, 500, 503):
        wire.answer = (status, b"", {"Retry-After": "17"})
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.retry_after, verdict.kind == "fatal") == (17.0, False)


def test_recorded_error_is_read(wire: Wire, shared: Path) -> None:
    """The error body of the vendor's guide has its code and its message in the verdict."""
    recorded = json.loads((shared / "fixtures/recorded/aws_error_envelope.json").read_text())
    wire.answer = (recorded["status"], recorded["body"])
    adapter = adapter_at(wire)
    verdict = adapter.verdict(error_of(adapter))
    assert verdict.kind == "refused"
    assert verdict.message.startswith("InvalidS3ObjectException: Unable to get object metadata")


@pytest.mark.parametrize("how", ["reset", "silent", "stall", "drip", "drip-headers"])
def test_broken_connections_are_transient_and_sent(wire: Wire, how: str) -> None:
    """A request that was read may have been billed; a call ends even when its answer never does."""
    wire.answer = how
    adapter = adapter_at(wire, timeout=0.3)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert wire.count() == 1


def test_redirects_are_not_followed(wire: Wire) -> None:
    """A redirect would send the image again, to whoever it names."""
    adapter = adapter_at(wire)
    for status in (301, 302, 303, 307, 308):
        wire.answer = (status, b"", {"Location": f"{wire.endpoint}/elsewhere", "Retry-After": "1"})
        wire.requests.clear()
        verdict = adapter.verdict(error_of(adapter))
        assert verdict.kind == "fatal"  # asked again it would say the same, for another fee
        assert "it sends elsewhere" in verdict.message
        assert wire.count() == 1, status


def test_refused_connection_cost_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listened, so nothing was sent; and the SDK did not knock again."""
    knocks: list[object] = []

    def connect(address: object, *_: object, **__: object) -> socket.socket:
        knocks.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    adapter = adapter_at(wire)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", False)
    assert len(knocks) == 1


def test_closed_port_cost_nothing(wire: Wire) -> None:
    """The same, with a port where really nobody listens."""
    wire.close()
    adapter = adapter_at(wire)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", False)


def test_errors_of_the_sdk_itself() -> None:
    """What boto3 raises without a response: unsent where it cannot have been sent, else sent."""
    url = "https://rekognition.us-east-1.amazonaws.com/"
    expected = {
        raised.NoCredentialsError(): ("fatal", False),
        raised.PartialCredentialsError(provider="env", cred_var="x"): ("fatal", False),
        raised.CredentialRetrievalError(provider="sso", error_msg="x"): ("fatal", False),
        raised.UnauthorizedSSOTokenError(): ("fatal", False),
        raised.NoRegionError(): ("fatal", False),
        raised.ParamValidationError(report="x"): ("fatal", False),
        raised.SSLError(endpoint_url=url, error="[SSL: CERTIFICATE_VERIFY_FAILED]"): ("fatal", False),
        raised.EndpointConnectionError(endpoint_url=url): ("transient", False),
        raised.ConnectTimeoutError(endpoint_url=url): ("transient", False),
        raised.ProxyConnectionError(proxy_url="http://proxy"): ("transient", False),
        raised.ReadTimeoutError(endpoint_url=url): ("transient", True),
        raised.ConnectionClosedError(endpoint_url=url): ("transient", True),
        raised.ResponseStreamingError(error="x"): ("transient", True),
        raised.HTTPClientError(error="x"): ("transient", True),
        raised.ClientError({}, "DetectLabels"): ("transient", True),
        TimeoutError(): ("transient", True),
        ValueError("x"): ("transient", True),
        CredentialsError("x"): ("fatal", False),
    }
    adapter = aws.load()
    for error, (kind, sent) in expected.items():
        verdict = adapter.verdict(error)
        assert (verdict.kind, verdict.sent) == (kind, sent), error
        assert verdict.message, error


# --- the account -----------------------------------------------------------------------------------------------


def test_no_secret_is_ever_said(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the card, a repr, a log or an error, even when the service or the network repeats it."""
    for name, value in {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET, "SESSION_TOKEN": TOKEN}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    given: dict[str, Any] = {"access_key_id": KEY, "secret_access_key": SECRET, "session_token": TOKEN}
    echo = f"x-amz-security-token:{TOKEN}\n{KEY} {SECRET}"
    said = [repr(aws.credentials())]
    choices: list[dict[str, Any]] = [{}, given]
    for options in choices:
        adapter = aws.load(endpoint=wire.endpoint, region="us-east-1", **options)
        for code in ("InvalidSignatureException", "AccessDeniedException", "ThrottlingException", "Unheard"):
            for status in (400, 500):
                wire.answer = (status, {"__type": code, "message": echo})
                verdict = adapter.verdict(error_of(adapter))
                said += [verdict.message, repr(verdict)]
        failing = ValueError(f"Invalid header value b'Credential={KEY} Signature=planted-signature'")
        said += [repr(adapter), repr(adapter.card), repr(adapter._account), repr(adapter.verdict(failing))]
    text = "".join(said) + caplog.text
    for secret in (KEY, SECRET, TOKEN, "planted-signature"):
        assert secret not in text


def test_key_with_a_line_break_is_named_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    """Such a key would end in an error about a header, which holds the header."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY + "\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(CredentialsError, match="line break") as caught:
        aws.load(endpoint=wire.endpoint, region="us-east-1").label([image_of()])
    assert KEY not in str(caught.value)
    assert wire.requests == []


def region_asked(wire: Wire) -> str:
    return str(wire.requests[-1].headers["Authorization"].split("/")[2])


def test_region_comes_from_argument_then_variables_then_profile(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AWS_REGION works here although boto3 does not read it; each source gives way to the one before."""
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n[profile work]\nregion = eu-west-2\n")
    (tmp_path / "credentials").write_text(f"[default]\n{keys}[work]\n{keys}")

    def asked(**options: Any) -> str:
        aws.load(endpoint=wire.endpoint, **options).label([image_of()])
        return region_asked(wire)

    assert asked() == "eu-west-1"
    assert asked(profile="work") == "eu-west-2"
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert asked() == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert asked() == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert asked() == "eu-north-1"
    assert asked(region="ap-south-1") == "ap-south-1"


def test_missing_region_names_the_variable(wire: Wire) -> None:
    """The card is there without a region; the first query says what to set, and nothing is sent."""
    adapter = aws.load(endpoint=wire.endpoint, access_key_id=KEY, secret_access_key=SECRET)
    with pytest.raises(CredentialsError, match=r"AWS_REGION is not set.*api-smooth providers check aws"):
        adapter.label([image_of()])
    assert wire.requests == []


def test_missing_credentials_name_the_variables(wire: Wire) -> None:
    """The first query says what to set, and nothing is sent."""
    adapter = aws.load(endpoint=wire.endpoint, region="us-east-1")
    with pytest.raises(
        CredentialsError, match=r"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.*providers check aws"
    ):
        adapter.label([image_of()])
    assert wire.requests == []


def test_unknown_profile_is_a_credentials_error(wire: Wire) -> None:
    """boto3's own words, with the variable to look at."""
    adapter = aws.load(endpoint=wire.endpoint, region="us-east-1", profile="nobody")
    with pytest.raises(CredentialsError, match=r"nobody.*AWS_PROFILE"):
        adapter.label([image_of()])


def test_credentials_are_looked_up_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Found means keys and region; else the source says what to set."""
    assert not aws.credentials().found
    assert "AWS_ACCESS_KEY_ID" in aws.credentials().source
    (tmp_path / "config").write_text("[profile work]\nsso_session = corp\nregion = eu-west-2\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert aws.credentials() == adapters.Credentials(found=True, source="AWS profile work, region eu-west-2")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    assert not aws.credentials().found
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert not aws.credentials().found
    assert "AWS_REGION" in aws.credentials().source
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert aws.credentials().found
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
    assert aws.credentials().source == "AWS_CONTAINER_CREDENTIALS_FULL_URI, region us-east-1"
    (tmp_path / "config").write_text("this is no ini file")
    assert aws.credentials().found


def test_an_endpoint_from_elsewhere_is_named_or_refused(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Answers must not come from a server that the fingerprint does not name."""
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {wire.endpoint}\n")
    with pytest.raises(ConfigurationError, match="endpoint="):
        aws.load(**KEYS).label([image_of()])
    assert wire.requests == []
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", wire.endpoint)
    adapter = aws.load(**KEYS)
    adapter.label([image_of()])
    assert wire.endpoint.removeprefix("http://") in adapter.card.fingerprint


@pytest.mark.parametrize("variable", ["", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1"])
def test_public_endpoints_need_no_name(monkeypatch: pytest.MonkeyPatch, region: str, variable: str) -> None:
    """Whichever of its own hosts the SDK chooses for a region is the service that the fingerprint names."""
    if variable:
        monkeypatch.setenv(variable, "true")
    client = aws.load(**{**KEYS, "region": region})._connected()
    assert region in client.meta.endpoint_url
    assert client.meta.config.retries["total_max_attempts"] == 1
    assert client.meta.config.max_pool_connections == 64


# --- the card --------------------------------------------------------------------------------------------------


def test_card_has_the_limits_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image a call, at least 80 and at most 10 000 pixels a side, 5 MiB, and the region's rate."""
    card = aws.load(region="us-east-1").card
    assert (card.name, card.accepts, card.batch, card.drift) == ("aws", "png", 1, "version")
    assert (card.min_side, card.max_side, card.max_image_bytes) == (80, 10_000, 5 * 2**20)
    assert (card.labels, card.max_labels, card.price) == (None, 50, "aws/detect-labels")
    assert card.queries_per_second == 50
    assert "us-east-1" in card.fingerprint
    assert "us-east-1" in card.quota_key
    assert aws.load(region="eu-west-1").card.queries_per_second == 5
    custom = aws.load(region="us-east-1", model=ARN).card
    assert custom.max_image_bytes == 4_000_000
    assert custom.quota_key != card.quota_key
    assert adapters.load("aws", region="us-east-1").card == card


@pytest.mark.parametrize("rate", [0.25, 1, 2.5, 30])
def test_rate_replaces_the_quota(rate: float) -> None:
    """The quota allows the rate in the long run, and no more than it in a window."""
    (quota,) = aws.load(rate=rate).card.quotas
    assert quota.unit == "image"
    assert quota.per_second == pytest.approx(rate)
    assert quota.count == max(1, int(rate))


def test_fingerprint_has_everything_that_decides_an_answer() -> None:
    """Every option that can change an answer changes the fingerprint; rate, time limit and keys do not."""
    different: list[dict[str, Any]] = [
        {},
        {"region": "eu-west-1"},
        {"max_labels": 49},
        {"min_confidence": 0.5},
        {"only": ["Cat"]},
        {"model": ARN},
        {"operation": "detect-moderation-labels"},
        {"endpoint": "http://127.0.0.1:1"},
        {"endpoint": "http://127.0.0.1:1/path"},
        {"endpoint": "http://127.0.0.1:1", "endpoint_id": "sandbox"},
    ]
    prints = [aws.load(**{**KEYS, **options}).card.fingerprint for options in different]
    assert len(set(prints)) == len(different)
    same: list[dict[str, Any]] = [
        {"rate": 3.0},
        {"timeout": 5.0},
        {"access_key_id": "AKIAOTHER"},
        {"profile": None},
    ]
    assert {aws.load(**{**KEYS, **options}).card.fingerprint for options in same} == {prints[0]}
    moved = [aws.load(endpoint=f"http://127.0.0.1:{port}", endpoint_id="sandbox").card for port in (1, 2)]
    assert moved[0] == moved[1]
    assert "sandbox" in moved[0].quota_key


@pytest.mark.parametrize(
    "options",
    [
        {"operation": "detect-faces"},
        {"operation": "detect-custom-labels"},
        {"operation": "detect-moderation-labels", "model": ARN},
        {"operation": "detect-moderation-labels", "only": ["Cat"]},
        {"model": "my-model"},
        {"model": ARN, "only": ["Cat"]},
        {"only": [f"label {i}" for i in range(101)]},
        {"only": "Cat"},
        {"max_labels": 0},
        {"min_confidence": 55},
        {"min_confidence": float("nan")},
        {"rate": 0},
        {"rate": float("inf")},
        {"timeout": 0},
        {"access_key_id": KEY},
        {"session_token": TOKEN},
        {"endpoint": "127.0.0.1:80"},
        {"endpoint": "http://user:password@127.0.0.1:80"},
    ],
    ids=lambda options: "+".join(options),
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """One line at once, without a secret, instead of a paid error later."""
    with pytest.raises(ConfigurationError) as caught:
        aws.load(**options)
    assert "\n" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (KEY, TOKEN, "password@"))


def test_unknown_options_are_a_type_error() -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(TypeError):
        aws.load(max_label=3)  # type: ignore[call-arg]


def test_missing_sdk_is_one_line_with_the_cure(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first query says what to install."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[aws\]'"):
        adapter_at(wire).label([image_of()])


def test_loading_imports_no_sdk() -> None:
    """An estimate needs the card, and the card needs neither boto3 nor torch."""
    code = (
        "import sys; from api_smoothing.adapters.aws import adapter as aws;"
        "aws.load(region='us-east-1').card; aws.credentials();"
        "print([m for m in ('boto3', 'botocore', 'torch', 'requests', 'urllib3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a server nobody here wrote --------------------------------------------------------------------------------


@pytest.fixture
def moto_endpoint() -> Iterator[str]:
    server = pytest.importorskip("moto.server", exc_type=ImportError).ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_moto_understands_us(moto_endpoint: str) -> None:
    """An independent implementation of the wire format answers both operations."""
    (answer,) = aws.load(endpoint=moto_endpoint, **KEYS).label([image_of()])
    assert answer.model_version == "3.0"
    assert answer.labels[0].name == "Mobile Phone"
    assert 0.99 < (answer.labels[0].score or 0) <= 1
    (answer,) = aws.load(endpoint=moto_endpoint, model=ARN, **KEYS).label([image_of()])
    assert answer.labels[0].name == "MyLogo"
    assert answer.model_version == ARN
