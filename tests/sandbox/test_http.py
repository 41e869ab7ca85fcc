from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from doors import (
    ANALYZE,
    AWS,
    AZURE,
    CAT,
    DOORS,
    PNG,
    Door,
    batch,
    code_of,
    labels,
    picture,
    rekognition,
    send,
    vision,
)
from PIL import Image

from api_smoothing.sandbox import Faults, Sandbox

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


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
