from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from doors import (
    ANALYZE,
    ARN,
    AWS,
    AZURE,
    CAR,
    CAT,
    DOORS,
    PNG,
    Door,
    Said,
    assert_fits,
    batch,
    chat,
    labels,
    picture,
    rekognition,
    send,
    vision,
)
from PIL import Image

from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import KINDS, Faults, Sandbox

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture
def server(door: Door, sandbox: StartSandbox) -> Sandbox:
    """The door's sandbox, in which every image is a cat."""
    return sandbox(door.provider, classifier=CAT)


@pytest.fixture(scope="session")
def recorded(shared: Path) -> Path:
    """Real answers of the services, as others published them."""
    folder = shared / "fixtures" / "recorded"
    if not folder.is_dir():
        pytest.skip("no recorded answers beside the checkout")
    return folder


# Answers.


def test_every_operation_answers_with_labels(door: Door, server: Sandbox) -> None:
    """A request as the providers document it gets labels, is counted once, and billed once."""
    said = door.ask(server)
    assert said.status == 200
    assert labels(door, said)
    assert (server.meter.requests, server.meter.images, server.meter.billed) == (1, 1, 1)
    assert server.meter.micro_usd == 1000
    [request] = server.meter.log()
    assert (request.fault, request.status) == (None, "200")


def test_rekognition_answers_in_its_recorded_shape(sandbox: StartSandbox, recorded: Path) -> None:
    """Labels, confidences, boxes, parents and the version stand where the recorded answer has them, ties included."""
    real = json.loads((recorded / "aws_detectlabels_v3_car.json").read_text("utf-8"))
    said = AWS.ask(sandbox("aws", classifier=CAR))
    ours = said.body
    by_name = {label["Name"]: label for label in ours["Labels"]}
    for label in real["Labels"]:
        if label["Name"] in ("Car", "Sedan", "Transportation", "Vehicle"):
            assert_fits({**label, "Instances": []}, by_name[label["Name"]])
            assert label["Parents"] == by_name[label["Name"]]["Parents"]
    assert_fits(real["Labels"][0]["Instances"], by_name["Car"]["Instances"])
    assert ours["LabelModelVersion"] == real["LabelModelVersion"]
    top = [label["Name"] for label in ours["Labels"][:4]]
    assert top == [label["Name"] for label in real["Labels"][:4]]
    assert len({label["Confidence"] for label in ours["Labels"][:4]}) == 1
    assert said.headers["content-type"] == "application/x-amz-json-1.1"
    assert uuid.UUID(said.headers["x-amzn-requestid"])


def test_azure_answers_in_its_recorded_shape(sandbox: StartSandbox, recorded: Path) -> None:
    """Body and headers of a success have all the fields of the recorded one, and no others in the body."""
    real = json.loads((recorded / "azure40_tags.json").read_text("utf-8"))
    said = AZURE.ask(sandbox("azure", classifier=CAT))
    assert_fits(real["body"], said.body)
    assert set(said.body) == set(real["body"])
    assert said.body["metadata"] == {"width": 96, "height": 96}
    assert said.headers["content-type"] == real["headers"]["Content-Type"]
    assert said.headers["csp-billing-usage"] == real["headers"]["CSP-Billing-Usage"]
    for name in ("apim-request-id", "request-id", "x-ms-region", "x-content-type-options"):
        assert name in said.headers


def test_azure_32_says_what_its_reference_says(sandbox: StartSandbox) -> None:
    """The older API has tags, some with a hint, request id, format and a model version of its own."""
    said = DOORS["azure 3.2 tag"].ask(sandbox("azure", classifier=CAT))
    body = said.body
    assert said.headers["csp-billing-usage"] == "CognitiveServices.ComputerVision.Transaction=1"
    assert set(body) == {"tags", "requestId", "metadata", "modelVersion"}
    assert body["metadata"] == {"width": 96, "height": 96, "format": "Png"}
    assert body["modelVersion"] == "2021-05-01"
    assert {"name": "cat", "hint": "animal"}.items() <= next(t for t in body["tags"] if "hint" in t).items()


def test_errors_are_worded_as_recorded(sandbox: StartSandbox, recorded: Path) -> None:
    """Azure's 401 and 429 and Rekognition's S3 error have the recorded status, code and message."""
    server = sandbox("azure", classifier=CAT)
    real = json.loads((recorded / "azure40_401.json").read_text("utf-8"))
    said = AZURE.ask(server, key="wrong")
    assert (said.status, said.body) == (real["status"], real["body"])
    assert "apim-request-id" in said.headers
    real = json.loads((recorded / "azure_429_message.json").read_text("utf-8"))
    server.faults.inject("throttle-coded")
    said = AZURE.ask(server)
    assert said.status == real["status"]
    assert said.body["error"]["code"] == real["body"]["error"]["code"]
    words = [w for w in real["body"]["error"]["message"].split() if w.isalpha() and w != "seconds"]
    assert [w for w in words if w not in said.body["error"]["message"]] == []

    server = sandbox("aws", classifier=CAT)
    real = json.loads((recorded / "aws_error_envelope.json").read_text("utf-8"))
    signed = {**AWS.headers, "Authorization": AWS.form.format(server.key)}
    said = send(
        server, "/", json.dumps({"Image": {"S3Object": {"Bucket": "b", "Name": "n"}}}).encode(), signed
    )
    assert said.status == real["status"]
    assert set(said.body) == set(real["body"])
    for field in ("__type", "Code", "Message"):
        assert said.body[field] == real["body"][field]
    assert said.headers["x-amzn-errortype"] == real["body"]["__type"]


def test_rekognition_obeys_its_settings(sandbox: StartSandbox) -> None:
    """MaxLabels cuts from below, MinConfidence (by default 55) and the filters of names and categories hold."""
    server = sandbox("aws", classifier=lambda images: [{"cat": 0.9, "dog": 0.3} for _ in images])

    def names(**settings: Any) -> list[str]:
        return [
            label["Name"]
            for label in rekognition("DetectLabels", "Labels", **settings).ask(server).body["Labels"]
        ]

    def chosen(**filters: list[str]) -> list[str]:
        return names(MinConfidence=0, Settings={"GeneralLabels": filters})

    everything = names(MinConfidence=0)
    assert {"Cat", "Dog", "Animal"} < set(everything)
    assert "Dog" not in names()
    assert names(MinConfidence=0, MaxLabels=3) == everything[:3]
    assert set(chosen(LabelInclusionFilters=["Dog", "Truck"])) == {"Dog"}
    assert set(chosen(LabelExclusionFilters=["Dog"])) == {*everything} - {"Dog"}
    assert chosen(LabelCategoryInclusionFilters=["Vehicles and Automotive"]) == []
    assert set(chosen(LabelCategoryInclusionFilters=["Animals and Pets"])) == {*everything}
    for wrong in ({"MaxLabels": -1}, {"MinConfidence": 101}):
        said = rekognition("DetectLabels", "Labels", **wrong).ask(server)
        assert (said.status, said.body["__type"]) == (400, "ValidationException")
    custom = rekognition(
        "DetectCustomLabels", "CustomLabels", ProjectVersionArn=ARN, MinConfidence=0, MaxResults=5
    )
    confidences = [label["Confidence"] for label in custom.ask(server).body["CustomLabels"]]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[:2] == [90, 30]
    assert rekognition("DetectCustomLabels", "", ProjectVersionArn="arn:nonsense").ask(server).status == 400


def test_the_label_endpoint_takes_images_in_every_documented_form(sandbox: StartSandbox) -> None:
    """Bytes, a multipart form, one base64 text and a list of them get the same labels for the same image."""
    server = sandbox("http")
    bearer = {"Authorization": f"Bearer {server.key}"}
    single = send(server, "/v1/label", PNG, {**bearer, "Content-Type": "image/png"}).body
    assert set(single) == {"labels", "model_version"}
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + PNG + b"\r\n--xyz--\r\n"
    )
    assert (
        send(server, "/v1/label", form, {**bearer, "Content-Type": "multipart/form-data; boundary=xyz"}).body
        == single
    )
    text = json.dumps({"image": base64.b64encode(PNG).decode()}).encode()
    kind = {**bearer, "Content-Type": "application/json"}
    assert send(server, "/v1/label", text, kind).body == single
    many = send(server, "/v1/label", batch(picture(seed=1), PNG, picture(seed=2)), kind).body
    assert many["model"] == {"version": "1"}
    assert many["answers"][1]["labels"] == single["labels"]
    assert len(many["answers"]) == 3
    alike = send(server, "/v1/label", PNG, {"X-API-Key": server.key, "Content-Type": "image/png"})
    assert alike.body == single
    assert send(server, "/v1/label", batch(*[PNG] * 17), kind).status == 400


def test_one_unreadable_image_spares_its_batch(sandbox: StartSandbox) -> None:
    """In a batch it has an error in the place of its labels, is not billed, and the others are answered."""
    server = sandbox("http", classifier=CAT)
    kind = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    answers = send(server, "/v1/label", batch(PNG, b"no image", PNG), kind).body["answers"]
    assert [set(answer) for answer in answers] == [{"labels"}, {"error"}, {"labels"}]
    assert (server.meter.images, server.meter.billed) == (3, 2)
    server.faults.inject("bad-image")
    answers = send(server, "/v1/label", batch(PNG, PNG, PNG, PNG), kind).body["answers"]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, None, "bad_image", None]
    server.faults.inject("wrong-count")
    assert len(send(server, "/v1/label", batch(PNG, PNG, PNG), kind).body["answers"]) == 2


def test_the_chat_endpoint_says_one_word_of_those_offered(sandbox: StartSandbox) -> None:
    """The answer is the best class among the names in the text, or the best of all when none is named."""
    server = sandbox(
        "http", classifier=lambda images: [{"cat": 0.6, "dog": 0.3, "ship": 0.1} for _ in images]
    )
    kind = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}

    def word(text: str) -> str:
        body = send(server, "/v1/chat/completions", chat(PNG, text), kind).body
        assert body["model"] == "eyes"
        assert body["system_fingerprint"].startswith("fp_")
        return str(body["choices"][0]["message"]["content"])

    assert word("What is this?") == "cat"
    assert word("One of: dog, ship") == "dog"
    assert word("ship or truck?") == "ship"


# The real SDKs.


def test_boto3_reads_every_operation(sandbox: StartSandbox) -> None:
    """The real SDK signs, sends and parses all three operations, and raises its own classes of errors."""
    boto3 = pytest.importorskip("boto3")
    config = pytest.importorskip("botocore.config").Config(retries={"total_max_attempts": 1})
    server = sandbox("aws", classifier=CAT)
    client = boto3.session.Session().client(
        "rekognition", region_name="us-east-1", endpoint_url=server.endpoint, config=config,
        aws_access_key_id=server.key, aws_secret_access_key="anything",
    )  # fmt: skip
    image = {"Bytes": PNG}
    found = client.detect_labels(Image=image, MaxLabels=50, MinConfidence=0)
    assert "Cat" in [label["Name"] for label in found["Labels"]]
    assert found["LabelModelVersion"] == "3.0"
    assert found["ResponseMetadata"]["RequestId"]
    custom = client.detect_custom_labels(ProjectVersionArn=ARN, Image=image, MinConfidence=0)["CustomLabels"]
    assert custom[0]["Name"] == "cat"
    assert len(custom) == 10
    moderated = client.detect_moderation_labels(Image=image, MinConfidence=50)
    assert {label["Name"]: label["ParentName"] for label in moderated["ModerationLabels"]} == {
        "Alcoholic Beverages": "Alcohol", "Alcohol": "",
    }  # fmt: skip
    assert moderated["ModerationModelVersion"] == "7.0"
    for kind, name in {
        "throttle-coded": "ProvisionedThroughputExceededException", "500": "InternalServerError",
        "bad-image": "InvalidImageFormatException", "billed-400": "InvalidParameterException",
    }.items():  # fmt: skip
        server.faults.inject(kind)
        with pytest.raises(getattr(client.exceptions, name)):
            client.detect_labels(Image=image)
    assert server.meter.requests == 7


def test_azures_sdks_read_both_apis(sandbox: StartSandbox) -> None:
    """The current SDK (4.0) and the archived one (3.2, with its chunked bodies) parse tags and versions."""
    analysis = pytest.importorskip("azure.ai.vision.imageanalysis")
    old = pytest.importorskip("azure.cognitiveservices.vision.computervision")
    credentials = pytest.importorskip("azure.core.credentials")
    authentication = pytest.importorskip("msrest.authentication")
    server = sandbox("azure", classifier=CAT)
    client = analysis.ImageAnalysisClient(
        server.endpoint, credentials.AzureKeyCredential(server.key), retry_total=0
    )
    found = client.analyze(PNG, visual_features=[analysis.models.VisualFeatures.TAGS])
    assert "cat" in [tag.name for tag in found.tags.list]
    assert (found.model_version, found.metadata.width) == ("2023-10-01", 96)
    pinned = client.analyze(
        PNG, visual_features=[analysis.models.VisualFeatures.TAGS], model_version="2023-02-01-preview"
    )
    assert pinned.model_version == "2023-02-01-preview"

    archived = old.ComputerVisionClient(
        server.endpoint, authentication.CognitiveServicesCredentials(server.key)
    )
    archived.config.retry_policy.retries = 0
    tagged = archived.tag_image_in_stream(io.BytesIO(PNG))
    assert "cat" in [tag.name for tag in tagged.tags]
    assert tagged.model_version == "2021-05-01"
    analysed = archived.analyze_image_in_stream(io.BytesIO(PNG), visual_features=["Tags"])
    assert [tag.name for tag in analysed.tags] == [tag.name for tag in tagged.tags]
    assert server.meter.requests == server.meter.billed == 4


@pytest.mark.parametrize(
    ("provider", "module"), [("aws", "boto3"), ("azure", "azure.ai"), ("http", "requests")]
)
def test_the_options_of_a_sandbox_are_those_of_its_adapter(
    sandbox: StartSandbox, provider: str, module: str
) -> None:
    """`load(provider, **sandbox.options())` reaches the sandbox, with one request, and its name is no port."""
    pytest.importorskip(module)
    from api_smoothing import adapters
    from api_smoothing.adapters.base import Answer, EncodedImage

    server = sandbox(provider, classifier=CAT)
    adapter = adapters.load(provider, **server.options())
    assert server.endpoint.rpartition(":")[2] not in adapter.card.fingerprint
    [answer] = adapter.label([EncodedImage(data=PNG, height=96, width=96)])
    assert isinstance(answer, Answer)
    assert "cat" in [label.name.lower() for label in answer.labels]
    assert (server.meter.requests, server.meter.billed) == (1, 1)


# Faults.

THROTTLED = {"throttle", "throttle-retry-after", "throttle-coded"}
UNBILLED = {*THROTTLED, "expired-key", "quota", "bad-image"}
STATUS = {
    "aws": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 400, "expired-key": 400,
            "quota": 400, "bad-image": 400, "billed-400": 400},
    "azure": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 429, "expired-key": 401,
              "quota": 403, "bad-image": 400, "billed-400": 400},
    "http": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 400, "expired-key": 401,
             "quota": 402, "bad-image": 422, "billed-400": 400},
}  # fmt: skip
CHAT_STATUS = {**STATUS["http"], "throttle-coded": 429, "quota": 429, "bad-image": 400}
CODES = {
    "aws": {"throttle-coded": "ProvisionedThroughputExceededException", "expired-key": "ExpiredTokenException",
            "quota": "LimitExceededException", "bad-image": "InvalidImageFormatException",
            "billed-400": "InvalidParameterException", "500": "InternalServerError"},
    "azure": {"throttle": "429", "expired-key": "401", "quota": "403", "bad-image": "InvalidRequest",
              "billed-400": "InvalidRequest", "500": "InternalServerError"},
    "http": {"throttle": "rate_limited", "throttle-coded": "rate_limited", "expired-key": "invalid_key",
             "quota": "quota_exceeded", "bad-image": "bad_image", "billed-400": "invalid_request"},
}  # fmt: skip
CHAT_CODES = {
    "throttle": "rate_limit_exceeded",
    "expired-key": "invalid_api_key",
    "quota": "insufficient_quota",
}


def code_of(provider: str, body: Mapping[str, Any]) -> str:
    return str(body["__type"] if provider == "aws" else body["error"]["code"])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("reset", "timeout", "drip")])
def test_each_fault_has_the_providers_own_form(door: Door, server: Sandbox, kind: str) -> None:
    """Status, code and body of a fault are the provider's; the meter has one request, and the right bill."""
    in_batch = door is DOORS["http batch"]
    door_is_chat = door is DOORS["http chat"]
    before = server.version
    server.faults.inject(kind)
    said = door.ask(server)
    [request] = server.meter.log()
    assert (request.fault, request.images, request.billed) == (kind, 1, 0 if kind in UNBILLED else 1)
    if kind == "bad-image" and in_batch:
        assert (said.status, said.body["answers"][0]["error"]["code"]) == (200, "bad_image")
        return
    status = CHAT_STATUS if door_is_chat else STATUS[door.provider]
    assert said.status == status.get(kind, int(kind) if kind.isdigit() else 200)
    assert request.status == str(said.status)
    codes = CHAT_CODES if door_is_chat else CODES[door.provider]
    if kind in codes:
        assert code_of(door.provider, said.body) == codes[kind]
    assert ("retry-after" in said.headers) == (kind == "throttle-retry-after")
    if kind in ("502", "html"):
        assert said.headers["content-type"] == "text/html"
        assert said.raw.lstrip().startswith((b"<html", b"<!DOCTYPE"))
    if kind in ("504", "empty"):
        assert said.raw == b""
    if kind == "truncated":
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            said.body  # noqa: B018
    if kind == "missing-key" or (kind == "wrong-count" and not in_batch):
        assert said.status == 200
        assert door.labels[0] not in said.body
    if kind == "wrong-count" and in_batch:
        assert said.body["answers"] == []
    assert (server.version != before) == (kind == "version")
    assert door.ask(server).status == 200


@pytest.mark.parametrize("kind", ["reset", "timeout", "drip"])
def test_silent_faults_never_give_an_answer(door: Door, server: Sandbox, kind: str) -> None:
    """The connection is reset, or nothing whole comes as long as the client waits; the request is billed."""
    server.faults.inject(kind)
    server.drip = 0.5
    with pytest.raises((ConnectionResetError, TimeoutError)) as raised:
        door.ask(server, timeout=0.2)
    assert isinstance(raised.value, ConnectionResetError) == (kind == "reset")
    assert not isinstance(raised.value, http.client.RemoteDisconnected)  # the farewell of an orderly close
    [request] = server.meter.log()
    assert (request.fault, request.status, request.images, request.billed) == (kind, kind, 1, 1)


def test_a_drip_is_a_true_answer_that_never_ends(sandbox: StartSandbox) -> None:
    """Its bytes begin with the answer's, one at a time, and a client that reads on only gets blanks."""
    server = sandbox("http", classifier=CAT)
    server.drip = 0.0001
    server.faults.inject("drip")
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10)
    connection.request(
        "POST", "/v1/label", PNG, {"Content-Type": "image/png", "Authorization": f"Bearer {server.key}"}
    )
    response = connection.getresponse()
    start = response.read(400)
    assert json.loads(start)["labels"][0]["name"] == "cat"
    assert start.endswith(b"  ")
    assert not response.isclosed()
    connection.close()


def test_planned_faults_come_in_their_order_and_then_no_more(sandbox: StartSandbox) -> None:
    """Each request meets one fault of the plan, none is skipped, and after the plan requests succeed."""
    server = sandbox("azure", classifier=CAT)
    for kind, times in [("500", 2), ("throttle", 1), ("empty", 2)]:
        server.faults.inject(kind, times)
    for _ in range(7):
        AZURE.ask(server)
    faults = [request.fault for request in server.meter.log()]
    assert faults == ["500", "500", "throttle", "empty", "empty", None, None]


def test_a_changed_version_stays(sandbox: StartSandbox) -> None:
    """After the fault all answers carry the new version, in whichever field the operation has."""
    server = sandbox("aws", classifier=CAT)
    server.faults.inject("version")
    assert AWS.ask(server).body["LabelModelVersion"] == "3.1"
    assert AWS.ask(server).body["LabelModelVersion"] == "3.1"
    assert DOORS["aws moderation"].ask(server).body["ModerationModelVersion"] == "3.1"
    server = sandbox("azure", classifier=CAT)
    server.version = "2024-02-01"
    for name in ("azure 4.0", "azure 3.2 tag", "azure 3.2 analyze"):
        assert DOORS[name].ask(server).body["modelVersion"] == "2024-02-01"


def test_the_meter_has_every_request_and_bills_what_was_read(sandbox: StartSandbox) -> None:
    """Over many requests with random faults, from many threads, it counts exactly those sent."""
    kinds = [kind for kind in KINDS if kind not in ("timeout", "drip", "reset", "version")]
    server = sandbox("azure", classifier=CAT, faults=Faults(rate=0.5, kinds=kinds, seed=3), micro_usd=70)
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda _: AZURE.ask(server), range(200)))
    log = server.meter.log()
    assert server.meter.requests == server.meter.images == len(said) == 200
    assert sorted(str(one.status) for one in said) == sorted(request.status for request in log)
    assert {request.fault for request in log} == {None, *kinds}
    assert server.meter.billed == sum(request.fault not in UNBILLED for request in log)
    assert server.meter.micro_usd == 70 * server.meter.billed


# What is refused.


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_request_without_the_key_is_refused(door: Door, server: Sandbox, key: str) -> None:
    """No key and a wrong one get the provider's authentication error, are not billed, and meet no fault."""
    server.faults.inject("500")
    said = door.ask(server, key=key)
    expected = {
        "aws": (400, "UnrecognizedClientException" if key else "MissingAuthenticationTokenException"),
        "azure": (401, "401"),
        "http": (401, "invalid_api_key" if door is DOORS["http chat"] else "invalid_key"),
    }
    assert (said.status, code_of(door.provider, said.body)) == expected[door.provider]
    assert server.key.encode() not in said.raw
    assert server.meter.billed == 0
    assert server.meter.log()[0].fault is None
    assert door.ask(server).status == 500


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((96, 96, 3), 90, dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def gif(side: int = 96) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 90, dtype=np.uint8)).save(file, "GIF")
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has `side`² pixels."""
    head = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


BIG = picture(1350)  # 5.5 million bytes: above 5 MiB and 4 MiB, below 20
LIMITS = [
    ("aws labels", picture(79), 400, "InvalidParameterException"),
    ("aws labels", BIG, 400, "ImageTooLargeException"),
    ("aws labels", gif(), 400, "InvalidImageFormatException"),
    ("aws labels", b"no image", 400, "InvalidImageFormatException"),
    ("aws labels", PNG[:5000], 400, "InvalidImageFormatException"),
    ("aws labels", bomb(12_000), 400, "ImageTooLargeException"),
    ("aws labels", bomb(9_500), 400, "InvalidImageFormatException"),
    ("aws labels", bomb(60_000), 400, "InvalidImageFormatException"),
    ("aws custom", picture(63), 400, "InvalidParameterException"),
    ("aws custom", picture(1200), 400, "ImageTooLargeException"),
    ("azure 4.0", picture(50), 400, "InvalidImageSize"),
    ("azure 4.0", bomb(15_999), 400, "InvalidImageFormat"),
    ("azure 4.0", b"no image", 400, "InvalidImageFormat"),
    ("azure 3.2 tag", BIG, 400, "InvalidImageSize"),
    ("azure 3.2 tag", picture(50), 400, "InvalidImageSize"),
    ("http image", BIG, 413, "image_too_large"),
    ("http image", bomb(8_000), 422, "bad_image"),
    ("http chat", b"no image", 400, "invalid_image"),
]


@pytest.mark.parametrize(
    ("name", "image", "status", "code"), LIMITS, ids=[f"{n}-{c}" for n, _, _, c in LIMITS]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_outside_the_limits_are_refused(
    sandbox: StartSandbox, name: str, image: bytes, status: int, code: str
) -> None:
    """Too small, too large, another format, damaged or a bomb: the provider's own error, and no bill."""
    door = DOORS[name]
    server = sandbox(door.provider, classifier=CAT)
    said = door.ask(server, image)
    error = said.body.get("error", {})
    found = error.get("innererror", {}).get("code") or code_of(door.provider, said.body)
    assert (said.status, found) == (status, code)
    assert (server.meter.requests, server.meter.billed) == (1, 0)


@pytest.mark.parametrize(
    ("name", "image"),
    [("aws labels", picture(80)), ("aws labels", jpeg()), ("aws custom", picture(64)), ("azure 4.0", picture(51)),
     ("azure 4.0", gif()), ("azure 4.0", BIG), ("azure 3.2 tag", gif()), ("http image", picture(1))],
)  # fmt: skip
def test_images_at_the_limits_are_answered(sandbox: StartSandbox, name: str, image: bytes) -> None:
    """The smallest sides, and every format that a provider lists, are served."""
    door = DOORS[name]
    assert door.ask(sandbox(door.provider, classifier=CAT), image).status == 200


def test_what_is_not_served_is_refused_in_the_providers_form(
    sandbox: StartSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown operations, paths, features, media types and nonsense get an error, never an answer or a traceback."""
    server = sandbox("aws", classifier=CAT)
    said = rekognition("DetectFaces", "").ask(server)
    assert (said.status, said.body["__type"]) == (400, "UnknownOperationException")
    signed = {**AWS.headers, "Authorization": AWS.form.format(server.key)}
    for body in (b"", b"[]", b"{}", b'{"Image": {}}', b'{"Image": {"Bytes": "%%"}}'):
        assert send(server, "/", body, signed).status == 400
    nonsense: list[Any] = [[], {"GeneralLabels": []}, {"GeneralLabels": {"LabelInclusionFilters": [{}]}},
                     {"GeneralLabels": {"LabelInclusionFilters": ["a"] * 101}}]  # fmt: skip
    for settings in nonsense:
        assert rekognition("DetectLabels", "", Settings=settings).ask(server).status == 400
    server = sandbox("azure", classifier=CAT)
    for path, status in {
        "/vision/v2.1/tag": 404,
        "/computervision/imageanalysis:analyze?features=tags": 400,
        f"{ANALYZE},caption": 400,
        f"{ANALYZE}&language=xx": 400,
        f"{ANALYZE}&model-version=newest": 400,
    }.items():
        assert vision(path, ()).ask(server).status == status
    key = {"Ocp-Apim-Subscription-Key": server.key}
    assert send(server, ANALYZE, b"x", {**key, "Content-Type": "text/plain"}).status == 415
    said = send(
        server, ANALYZE, b'{"url": "https://example.com/a.jpg"}', {**key, "Content-Type": "application/json"}
    )
    assert (said.status, said.body["error"]["code"]) == (400, "InvalidRequest")
    server = sandbox("http", classifier=CAT)
    kind = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    assert send(server, "/v2/label", batch(PNG), kind).status == 404
    for path, body in [("/v1/label", b"{"), ("/v1/label", b'{"images": []}'), ("/v1/label", b'{"image": 5}'),
                       ("/v1/chat/completions", b'{"model": "m", "messages": []}'),
                       ("/v1/chat/completions", b'{"model": "m", "messages": ["hello"]}')]:  # fmt: skip
        assert send(server, path, body, kind).status == 400
    assert server.meter.billed == 0
    assert capsys.readouterr().err == ""


def test_beyond_the_rate_the_provider_throttles(door: Door, sandbox: StartSandbox) -> None:
    """No second has more answers than the rate; the others get the provider's throttle, meet no fault, cost nothing."""
    server = sandbox(door.provider, classifier=CAT, rate=4, faults=Faults(rate=1.0, kinds=["version"]))
    said = [door.ask(server) for _ in range(30)]
    log = server.meter.log()
    answered = [request.at for request in log if request.billed]
    assert 4 <= len(answered) < 30
    for first, fifth in zip(answered, answered[4:], strict=False):
        assert fifth - first >= 1.0
    assert {request.fault for request in log if not request.billed} == {None}
    throttled = [one for one in said if one.status != 200]
    assert len(throttled) == 30 - len(answered)
    assert {one.status for one in throttled} == {400 if door.provider == "aws" else 429}
    if door.provider == "aws":
        assert throttled[0].body["__type"] == "ProvisionedThroughputExceededException"
    else:
        assert throttled[0].headers["retry-after"] == "1"


# The server itself.


def test_latency_holds_no_lock(sandbox: StartSandbox) -> None:
    """Each answer takes at least the latency, and thirty at once take far less than thirty in a row."""
    server = sandbox("azure", classifier=CAT, latency=0.3)

    def ask(_: int) -> float:
        began = time.monotonic()
        assert AZURE.ask(server).status == 200
        return time.monotonic() - began

    began = time.monotonic()
    with ThreadPoolExecutor(30) as threads:
        seconds = list(threads.map(ask, range(30)))
    assert min(seconds) >= 0.3
    assert time.monotonic() - began < 30 * 0.3 / 2


@pytest.mark.parametrize("kind", ["timeout", "drip", "latency"])
def test_stopping_ends_requests_that_are_held(kind: str) -> None:
    """A client that would wait for ever is let go when the server stops, and the port is closed."""
    server = Sandbox("http", classifier=CAT, latency=3600 if kind == "latency" else 0).start()
    if kind != "latency":
        server.faults.inject(kind)
    outcome: list[BaseException | Said] = []

    def ask() -> None:
        try:
            outcome.append(DOORS["http image"].ask(server, timeout=60))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    address = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    thread.start()
    while not server.meter.requests:
        time.sleep(0.01)
    server.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Exception)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    assert server.meter.requests == 1
    server.stop()


def test_a_connection_serves_many_requests_in_any_framing(sandbox: StartSandbox) -> None:
    """On one connection: plain and chunked bodies, errors in between, and answers of the right length."""
    server = sandbox("azure", classifier=CAT)
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10)
    connection.connect()
    first = connection.sock
    key = {"Ocp-Apim-Subscription-Key": server.key, "Content-Type": "application/octet-stream"}
    pieces = [PNG[start : start + 1000] for start in range(0, len(PNG), 1000)]
    requests: list[tuple[Any, dict[str, str], int]] = [
        (PNG, key, 200),
        (iter(pieces), {**key, "Transfer-Encoding": "chunked"}, 200),
        (b"junk", key, 400),
        (PNG, {**key, "Ocp-Apim-Subscription-Key": "wrong"}, 401),
        (PNG, key, 200),
    ]
    for body, headers, status in requests:
        connection.request("POST", ANALYZE, body, headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.version) == (status, 11)
        json.loads(response.read())
    assert connection.sock is first
    connection.close()
    assert server.meter.requests == 5


def test_malformed_requests_are_no_requests(sandbox: StartSandbox) -> None:
    """A body cut short, one too large and one of nonsense length never reach the meter, nor stop the server."""
    server = sandbox("azure", classifier=CAT)
    address = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    head = f"POST {ANALYZE} HTTP/1.1\r\nHost: a\r\nOcp-Apim-Subscription-Key: {server.key}\r\n"
    for rest, status in [
        ("Content-Length: 100\r\n\r\nshort", b""),
        ("Content-Length: 999999999999\r\n\r\n", b"413"),
        ("Content-Length: many\r\n\r\n", b"400"),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        ("Transfer-Encoding: chunked\r\n\r\n-5\r\n", b"413"),
    ]:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall((head + rest).encode())
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100)[9:12] == status
    assert server.meter.requests == 0
    assert AZURE.ask(server).status == 200


def test_a_brain_that_fails_is_an_internal_error(
    sandbox: StartSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client gets the provider's 500, the meter has it, and the owner of the classifier sees the traceback."""

    def broken(images: object) -> Any:
        raise ZeroDivisionError("my classifier hurts")

    server = sandbox("aws", classifier=broken)
    said = AWS.ask(server)
    assert (said.status, said.body["__type"]) == (500, "InternalServerError")
    assert (server.meter.requests, server.meter.billed) == (1, 1)
    assert "my classifier hurts" in capsys.readouterr().err
    server.classifier = CAT
    assert AWS.ask(server).status == 200


def test_settings_out_of_range_are_one_line(sandbox: StartSandbox) -> None:
    """Unknown providers, impossible numbers and a port in use raise ConfigurationError; the key is never shown."""
    taken = sandbox("aws", classifier=CAT, key="planted-secret")
    port = int(taken.endpoint.rpartition(":")[2])
    wrong: list[dict[str, Any]] = [
        {"provider": "acme"}, {"latency": -1.0}, {"latency": float("nan")}, {"rate": 0.0},
        {"rate": float("inf")}, {"port": 70_000}, {"port": port},
    ]  # fmt: skip
    for settings in wrong:
        with (
            pytest.raises(ConfigurationError) as refused,
            Sandbox(**{"provider": "azure", "classifier": CAT, **settings}),
        ):
            pass
        assert "\n" not in str(refused.value)
    assert "planted-secret" not in repr(taken)
    assert taken.endpoint == f"http://127.0.0.1:{port}"
    with pytest.raises(RuntimeError):
        taken.start()
    with pytest.raises(RuntimeError):
        _ = Sandbox("aws").endpoint


def test_the_environment_has_address_and_key(sandbox: StartSandbox) -> None:
    """The variables name the endpoint and hold the key under the provider's own names, and keep proxies out."""
    for provider, names in {
        "aws": ("AWS_ENDPOINT_URL_REKOGNITION", "AWS_ACCESS_KEY_ID"),
        "azure": ("VISION_ENDPOINT", "VISION_KEY"),
    }.items():
        server = sandbox(provider, classifier=CAT)
        environment = server.environment()
        assert [environment[name] for name in names] == [server.endpoint, server.key]
        assert "127.0.0.1" in environment["NO_PROXY"]
    assert sandbox("http", classifier=CAT).environment()["SANDBOX_KEY"]
