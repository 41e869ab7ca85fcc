"""Azure's tags through both SDKs, against a server of raw HTTP answers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from wire import Wire

from api_smoothing import adapters
from api_smoothing.adapters import Answer, EncodedImage, Label
from api_smoothing.adapters._transport.service import BrokenContract
from api_smoothing.adapters.azure import adapter as azure
from api_smoothing.adapters.azure import errors as azure_errors
from api_smoothing.errors import ConfigurationError, CredentialsError, DriftError, MissingExtraError
from api_smoothing.png import encode_png

core = pytest.importorskip("azure.core.exceptions")
pytest.importorskip("azure.ai.vision.imageanalysis")
pytest.importorskip("azure.cognitiveservices.vision.computervision")

KEY = "0123456789abcdefPLANTEDabcdef0123"
APIS = ["4.0", "3.2"]
VERSION = {"4.0": "2023-10-01", "3.2": "2021-04-01"}
CAT = {"name": "cat", "confidence": 0.75}


def image_of(number: int = 0) -> EncodedImage:
    pixels = np.full((64, 64, 3), number, dtype=np.uint8)
    return EncodedImage(data=encode_png(pixels), height=64, width=64)


def body_of(api: str, tags: object, version: object = "") -> dict[str, object]:
    """A success as either version writes it."""
    about = {"modelVersion": version or VERSION[api], "metadata": {"width": 64, "height": 64}}
    return (
        {**about, "tagsResult": {"values": tags}}
        if api == "4.0"
        else {**about, "requestId": "r", "tags": tags}
    )


def fault(code: str, message: str = "the reason", inner: str | None = None) -> dict[str, object]:
    """An error body as both versions write it."""
    nested = {"innererror": {"code": inner, "message": message}} if inner else {}
    return {"error": {"code": code, "message": message, **nested}}


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire((200, {}), content_type="application/json; charset=utf-8", half=b'{"modelVersion": ')
    yield server
    server.close()


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [n for n in os.environ if "VISION_" in n or n.lower().endswith("_proxy")]
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Any:
    return request.param


def adapter_at(wire: Wire, api: Any, **options: Any) -> azure.AzureAdapter:
    return azure.load(endpoint=wire.endpoint, key=KEY, api=api, **options)


def error_of(adapter: azure.AzureAdapter) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        adapter.label([image_of()])
    return caught.value


# --- answers ---------------------------------------------------------------------------------------------------


def test_recorded_answer_is_read_as_it_stands(wire: Wire, shared: Path) -> None:
    """Names, scores, order and model version of a real response of 4.0."""
    recorded = json.loads((shared / "fixtures/recorded/azure40_tags.json").read_text())
    wire.answer = (recorded["status"], recorded["body"])
    (answer,) = adapter_at(wire, "4.0").label([image_of()])
    expected = [
        Label(name=v["name"], score=v["confidence"]) for v in recorded["body"]["tagsResult"]["values"]
    ]
    assert answer == Answer(labels=tuple(expected), model_version="2023-10-01")


def test_tags_come_best_first(wire: Wire, api: Any) -> None:
    """Both versions give the same answer to the same tags; a hint is not part of the label."""
    wire.answer = (200, body_of(api, [{"name": "animal", "confidence": 0.5}, {**CAT, "hint": "pet"}]))
    assert adapter_at(wire, api).label([image_of()]) == [
        Answer(
            labels=(Label(name="cat", score=0.75), Label(name="animal", score=0.5)),
            model_version=VERSION[api],
        )
    ]


def test_honest_empty_list_is_an_answer_without_labels(wire: Wire, api: Any) -> None:
    """ "No tags" is an answer, and counts as one."""
    wire.answer = (200, body_of(api, []))
    assert adapter_at(wire, api).label([image_of()]) == [Answer(labels=(), model_version=VERSION[api])]


def junk(api: str) -> dict[str, Any]:
    honest = body_of(api, [CAT])
    lost = {key: value for key, value in honest.items() if key != "modelVersion"}
    return {
        "empty": b"",
        "object": {},
        "null": None,
        "list": [],
        "text": "ok",
        "html": b"<html><body>Welcome to the airport</body></html>",
        "truncated": json.dumps(honest).encode()[:-20],
        "not-utf-8": b"\xff\xfe\x00",
        "no-tags": {"modelVersion": VERSION[api], "metadata": {}},
        "tags-null": body_of(api, None),
        "tags-object": body_of(api, {}),
        "tags-text": body_of(api, ""),
        "result-null": {**body_of(api, []), "tagsResult": None, "tags": None},
        "result-empty": {**body_of(api, []), "tagsResult": {}, "tags": {}},
        "result-other": {**body_of(api, []), "tagsResult": [], "tags": {"values": []}},
        "tag-null": body_of(api, [None]),
        "tag-text": body_of(api, ["cat"]),
        "tag-empty": body_of(api, [{}]),
        "tag-unnamed": body_of(api, [{"name": "", "confidence": 0.5}]),
        "tag-unscored": body_of(api, [{"name": "cat"}]),
        "score-text": body_of(api, [{"name": "cat", "confidence": "0.75"}]),
        "score-true": body_of(api, [{"name": "cat", "confidence": True}]),
        "score-above": body_of(api, [{"name": "cat", "confidence": 75}]),
        "score-nan": json.dumps(body_of(api, [{"name": "cat", "confidence": float("nan")}])).encode(),
        "no-version": lost,
        "version-null": {**honest, "modelVersion": None},
        "version-number": {**honest, "modelVersion": 3},
        "an-error": fault("InternalServerError"),
    }


@pytest.mark.parametrize("media_type", ["application/json", "text/html"])
def test_success_with_junk_is_never_an_answer(wire: Wire, api: Any, media_type: str) -> None:
    """HTTP 200 without tags and version breaks the contract; it was sent, once, and can be no vote."""
    adapter = adapter_at(wire, api)
    for name, body in junk(api).items():
        wire.answer = (200, body, {"Content-Type": media_type})
        wire.requests.clear()
        error = error_of(adapter)
        verdict = adapter.verdict(error)
        assert isinstance(error, BrokenContract), name
        assert (verdict.kind, verdict.sent) == ("broken", True), name
        assert wire.count() == 1, name


def test_another_version_than_the_one_asked_for_is_drift(wire: Wire, api: Any) -> None:
    """An answer of a model that was not asked for stops everything; "latest" is whatever answers."""
    wire.answer = (200, body_of(api, [CAT], "2030-01-01"))
    with pytest.raises(DriftError, match=f"2030-01-01 answered where {VERSION[api]}"):
        adapter_at(wire, api).label([image_of()])


def test_body_shorter_than_announced_is_no_answer(wire: Wire, api: Any) -> None:
    """Half a download is not a shorter list."""
    body = json.dumps(body_of(api, [CAT])).encode()
    wire.answer = (200, body[:-2], {"Content-Length": str(len(body)), "Connection": "close"})
    adapter = adapter_at(wire, api)
    assert adapter.verdict(error_of(adapter)).kind == "transient"
    assert wire.count() == 1


# --- requests --------------------------------------------------------------------------------------------------


def test_request_is_what_the_service_documents(wire: Wire, api: Any) -> None:
    """The bytes of the PNG travel unchanged, for a pinned model, with the key in its header."""
    wire.answer = (200, body_of(api, [CAT]))
    image = image_of(7)
    adapter_at(wire, api).label([image])
    (request,) = wire.requests
    url = urlsplit(request.path)
    expected = {"language": ["en"], "model-version": [VERSION[api]]}
    if api == "4.0":
        assert url.path == "/computervision/imageanalysis:analyze"
        expected |= {"api-version": ["2023-10-01"], "features": ["tags"]}
    else:
        assert url.path == "/vision/v3.2/tag"
    assert parse_qs(url.query) == expected
    assert request.method == "POST"
    assert request.body == image.data
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert request.headers["Ocp-Apim-Subscription-Key"] == KEY


def test_options_travel(wire: Wire, api: Any) -> None:
    """A model version and a language that were asked for are asked of the service."""
    wire.answer = (200, body_of(api, [CAT], "2030-01-01"))
    adapter = azure.load(endpoint=wire.endpoint + "/", key=KEY, api=api, model="latest", language="es")
    (answer,) = adapter.label([image_of()])
    assert answer.model_version == "2030-01-01"
    url = urlsplit(wire.requests[0].path)
    assert not url.path.startswith("//")
    assert parse_qs(url.query)["model-version"] == ["latest"]
    assert parse_qs(url.query)["language"] == ["es"]


def test_threads_share_one_client_and_get_their_own_answers(wire: Wire, api: Any) -> None:
    """16 threads make one request a call, and none gets another's answer."""

    def echo(body: bytes) -> tuple[int, object]:
        return 200, body_of(api, [{"name": hashlib.sha256(body).hexdigest(), "confidence": 0.5}])

    wire.answer = echo
    adapter = adapter_at(wire, api)
    images = [image_of(i) for i in range(96)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda image: adapter.label([image])[0], images))
    assert [a.labels[0].name for a in answers] == [hashlib.sha256(i.data).hexdigest() for i in images]
    assert len(wire.requests) == 96
    assert len({request.headers["Host"] for request in wire.requests}) == 1


def test_connections_are_kept(wire: Wire, api: Any) -> None:
    """One after the other, calls share a connection: a TLS handshake for each would cost more than the query."""
    ports = set()
    real = wire._server.verify_request

    def look(request: Any, client_address: Any) -> bool:
        ports.add(client_address)
        return real(request, client_address)

    wire._server.verify_request = look  # type: ignore[method-assign]
    wire.answer = (200, body_of(api, [CAT]))
    adapter = adapter_at(wire, api)
    for _ in range(5):
        adapter.label([image_of()])
    assert len(ports) == 1


def test_nothing_of_the_users_is_added(
    wire: Wire, api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a password in ~/.netrc nor a cookie of an earlier answer goes along with the key."""
    (tmp_path / "netrc").write_text("default login me password planted\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", wire.endpoint)  # it gets what is meant for elsewhere
    monkeypatch.setenv("http_proxy", wire.endpoint)
    wire.answer = (200, body_of(api, [CAT]), {"Set-Cookie": "seen=1; Path=/"})
    adapter = azure.load(endpoint="http://elsewhere.example", key=KEY, api=api)
    for _ in range(2):
        adapter.label([image_of()])
    for request in wire.requests:
        assert request.path.startswith("http://elsewhere.example/")
        assert request.headers["Ocp-Apim-Subscription-Key"] == KEY
        assert not {"Authorization", "Cookie"} & set(request.headers)


def test_a_key_does_not_travel_unencrypted(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over plain http it goes to this machine only; elsewhere the setting is named, and nothing is sent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VISION_ENDPOINT", "http://elsewhere.invalid")
    with pytest.raises(ConfigurationError, match=r"VISION_ENDPOINT .* unencrypted"):
        azure.load(key=KEY, api=api).label([image_of()])


def test_a_body_is_never_sent_twice(wire: Wire, api: Any) -> None:
    """Neither after an error the SDKs would retry, nor over a connection that was closed in between."""
    adapter = adapter_at(wire, api)
    wire.hang_up = True
    images = [image_of(i) for i in range(6)]
    for image, status in zip(images, (200, 503, 200, 504, 500, 200), strict=True):
        wire.answer = (status, body_of(api, [CAT]) if status == 200 else fault("Timeout"))
        if status == 200:
            adapter.label([image])
        else:
            assert adapter.verdict(error_of_image(adapter, image)).kind == "transient"
        assert wire.closed.acquire(timeout=10)  # a request that leaves before that is lost, and paid
    assert [request.body for request in wire.requests] == [image.data for image in images]


def error_of_image(adapter: azure.AzureAdapter, image: EncodedImage) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        adapter.label([image])
    return caught.value


@pytest.mark.parametrize("images", [[], [image_of(), image_of()]])
def test_a_call_takes_one_image(wire: Wire, images: list[EncodedImage]) -> None:
    """Nothing is sent for a batch the service does not have."""
    with pytest.raises(ConfigurationError, match="one encoded image"):
        adapter_at(wire, "4.0").label(images)
    assert wire.requests == []


# --- errors ----------------------------------------------------------------------------------------------------

QUOTA = {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 2.13:37:39."}

ERRORS: list[tuple[int, Any, str]] = [
    (401, fault("401", "Access denied due to invalid subscription key or wrong API endpoint."), "fatal"),
    (401, b"", "fatal"),
    (403, fault("403", "Access denied due to Virtual Network/Firewall rules."), "fatal"),
    (403, QUOTA, "fatal"),
    (404, fault("404", "Resource not found"), "fatal"),
    (400, fault("InvalidRequest", inner="NotSupportedFeature"), "fatal"),
    (400, fault("InvalidRequest", inner="NotSupportedLanguage"), "fatal"),
    (400, fault("InvalidRequest", inner="InvalidModel"), "fatal"),
    (400, fault("InvalidRequest", inner="InvalidImageSize"), "refused"),
    (400, fault("InvalidRequest", inner="InvalidImageFormat"), "refused"),
    (400, fault("InvalidRequest", inner="NotSupportedImage"), "refused"),
    (400, fault("InvalidRequest", "The image size is not allowed to be zero."), "refused"),
    (400, {"code": "InvalidImageFormat", "message": "as older versions write it"}, "refused"),
    (400, b"", "refused"),
    (413, b"", "refused"),
    (415, fault("UnsupportedMediaType"), "refused"),
    (400, fault("InvalidRequest", inner="FailedToProcess"), "transient"),
    (408, b"", "transient"),
    (500, fault("InternalServerError"), "transient"),
    (500, b"", "transient"),
    (502, b"<html>Bad Gateway</html>", "transient"),
    (503, b"", "transient"),
    (504, b"", "transient"),
    (429, fault("429"), "throttled"),
    (429, b"", "throttled"),
    (429, b"<html>Slow down</html>", "throttled"),
    (429, [], "throttled"),
]


def test_error_answers(wire: Wire, api: Any) -> None:
    """Each error has its verdict, read from status and body, after exactly one request."""
    adapter = adapter_at(wire, api)
    for status, body, kind in ERRORS:
        wire.answer = (status, body)
        wire.requests.clear()
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.kind, verdict.sent, verdict.retry_after) == (kind, True, None), (status, body)
        assert verdict.message
        assert "\n" not in verdict.message
        if kind == "fatal":
            assert re.search(r"; .*\b(check|test with|wait)\b", verdict.message), verdict.message
        assert wire.count() == 1, (status, body)


def test_used_up_quota_says_when_it_is_back(wire: Wire, api: Any) -> None:
    """Azure answers 403 for it, as for a wrong key; it is not the key."""
    wire.answer = (403, QUOTA)
    adapter = adapter_at(wire, api)
    verdict = adapter.verdict(error_of(adapter))
    assert verdict.kind == "fatal"
    assert "2.13:37:39" in verdict.message
    assert "VISION_KEY" not in verdict.message


def test_waits_are_read_from_the_header_or_else_from_the_text(wire: Wire, api: Any) -> None:
    """The header counts where there is one; the two sentences that name seconds stand in for it."""
    adapter = adapter_at(wire, api)
    exceeded = "have exceeded call rate limit of your current ComputerVision F0 pricing tier."
    for body, headers, seconds in [
        (fault("429", f"Requests {exceeded} Please retry after 40 seconds."), {}, 40.0),
        ({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 26 seconds."}, {}, 26.0),
        (fault("429", "Please retry after 1 second."), {}, 1.0),
        (fault("429", "Please retry after 40 seconds."), {"Retry-After": "3"}, 3.0),
        (fault("429", "Too many requests."), {}, None),
    ]:
        wire.answer = (429, body, headers)
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.kind, verdict.retry_after) == ("throttled", seconds)
        wire.answer = (503, body, headers)
        verdict = adapter.verdict(error_of(adapter))
        assert (verdict.kind, verdict.retry_after) == ("transient", seconds)


@pytest.mark.parametrize(
    ("file", "kind", "wait"), [("azure_429_message", "throttled", 40.0), ("azure40_401", "fatal", None)]
)
def test_recorded_errors_are_read(
    wire: Wire, api: Any, shared: Path, file: str, kind: str, wait: float
) -> None:
    """Real error bodies have their verdict and their words."""
    recorded = json.loads((shared / f"fixtures/recorded/{file}.json").read_text())
    wire.answer = (recorded["status"], recorded["body"])
    adapter = adapter_at(wire, api)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.retry_after) == (kind, wait)
    assert recorded["body"]["error"]["message"][:60] in verdict.message


@pytest.mark.parametrize("how", ["reset", "silent", "stall", "drip", "drip-headers"])
def test_broken_connections_are_transient_and_sent(wire: Wire, api: Any, how: str) -> None:
    """A request that was read may have been billed, also where the SDK says it was not sent; every call ends."""
    wire.answer = how
    adapter = adapter_at(wire, api, timeout=0.3)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", True)
    assert wire.count() == 1


def test_redirects_are_not_followed(wire: Wire, api: Any) -> None:
    """A redirect would send image and key again, to whoever it names."""
    adapter = adapter_at(wire, api)
    for status in (301, 302, 303, 307, 308):
        wire.answer = (status, b"", {"Location": f"{wire.endpoint}/elsewhere", "Retry-After": "1"})
        wire.requests.clear()
        verdict = adapter.verdict(error_of(adapter))
        assert verdict.kind == "fatal"  # asked again it would say the same, for another fee
        assert "it sends elsewhere" in verdict.message
        assert wire.count() == 1, status


def test_refused_connection_cost_nothing(wire: Wire, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listened, so nothing was sent; and the SDK did not knock again."""
    knocks: list[object] = []

    def connect(address: object, *_: object, **__: object) -> socket.socket:
        knocks.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    adapter = adapter_at(wire, api)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", False)
    assert len(knocks) == 1


def test_closed_port_cost_nothing(wire: Wire, api: Any) -> None:
    """The same, with a port where really nobody listens."""
    wire.close()
    adapter = adapter_at(wire, api)
    verdict = adapter.verdict(error_of(adapter))
    assert (verdict.kind, verdict.sent) == ("transient", False)


def test_errors_of_the_sdks_themselves() -> None:
    """What the SDKs raise without a response, or with one of theirs: unsent only if it cannot have been sent."""
    requests = pytest.importorskip("requests")
    urllib3 = pytest.importorskip("urllib3.exceptions")
    msrest = pytest.importorskip("msrest.exceptions")
    refused = requests.ConnectionError(
        urllib3.MaxRetryError(None, "/", urllib3.NewConnectionError(None, "x"))
    )
    half = requests.ConnectionError(urllib3.ReadTimeoutError(None, "/", "Read timed out."))
    answered = SimpleNamespace(
        status_code=401, headers={}, reason="no", content_type="", text=lambda: json.dumps(fault("401"))
    )
    expected: list[tuple[Exception, str, bool]] = [
        (core.ServiceRequestError(refused, error=refused), "transient", False),
        (core.ServiceRequestError(half, error=half), "transient", True),
        (core.ServiceRequestTimeoutError("x", error=requests.ConnectTimeout()), "transient", False),
        (core.ServiceResponseError("x"), "transient", True),
        (core.ServiceResponseTimeoutError("x"), "transient", True),
        (core.IncompleteReadError("x"), "transient", True),
        (core.DecodeError("x"), "transient", True),
        (core.HttpResponseError(response=answered), "fatal", True),
        (core.ClientAuthenticationError(response=answered), "fatal", True),
        (msrest.ClientRequestError("x", refused), "transient", False),
        (msrest.ClientRequestError("x", half), "transient", True),
        (requests.exceptions.RetryError(urllib3.MaxRetryError(None, "/", "too many 503")), "transient", True),
        (requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "fatal", False),
        (core.DeserializationError("x"), "transient", True),
        (TypeError("__init__() missing 1 required keyword-only argument: 'error'"), "transient", True),
        (TimeoutError(), "transient", True),
        (CredentialsError("x"), "fatal", False),
    ]
    adapter = azure.load()
    for error, kind, sent in expected:
        verdict = adapter.verdict(error)
        assert (verdict.kind, verdict.sent) == (kind, sent), repr(error)
        assert verdict.message, repr(error)


# --- the resource ----------------------------------------------------------------------------------------------


def test_no_secret_is_ever_said(
    wire: Wire, api: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the card, a repr, a log or an error, even when the service or the network repeats it."""
    monkeypatch.setenv("VISION_ENDPOINT", wire.endpoint)
    monkeypatch.setenv("VISION_KEY", KEY)
    said = [repr(azure.credentials())]
    for adapter in (azure.load(api=api), adapter_at(wire, api)):
        for status in (400, 401, 403, 404, 429, 500):
            wire.answer = (status, fault("Code", f"the key\n{KEY} is wrong"))
            verdict = adapter.verdict(error_of(adapter))
            said += [verdict.message, repr(verdict)]
        failing = ValueError(f"Invalid header value {KEY!r}")
        said += [repr(adapter), repr(adapter.card), repr(adapter.verdict(failing))]
    assert KEY not in "".join(said) + caplog.text


def test_key_with_a_line_break_is_named_without_being_quoted(wire: Wire, api: Any) -> None:
    """Such a key would end in an error about a header, which holds the header."""
    with pytest.raises(CredentialsError, match="VISION_KEY has a space or a line break") as caught:
        azure.load(endpoint=wire.endpoint, key=KEY + "\n", api=api).label([image_of()])
    assert KEY not in str(caught.value)
    assert wire.requests == []


def test_missing_variables_are_named(wire: Wire, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is there without a resource; the first query says which variable to set, and nothing is sent."""
    with pytest.raises(
        CredentialsError, match=r"VISION_ENDPOINT is not set.*api-smooth providers check azure"
    ):
        azure.load(api=api).label([image_of()])
    monkeypatch.setenv("VISION_ENDPOINT", wire.endpoint)
    with pytest.raises(CredentialsError, match=r"VISION_KEY is not set.*api-smooth providers check azure"):
        azure.load(api=api).label([image_of()])
    assert wire.requests == []


def test_variables_are_used_in_pairs(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer names come first, and a key never travels to the endpoint of the other pair."""
    wire.answer = (200, body_of("4.0", [CAT]))

    def key_used() -> str:
        azure.load().label([image_of()])
        return str(wire.requests[-1].headers["Ocp-Apim-Subscription-Key"])

    monkeypatch.setenv("AZURE_COMPUTER_VISION_ENDPOINT", wire.endpoint)
    monkeypatch.setenv("AZURE_COMPUTER_VISION_SUBSCRIPTION_KEY", "older")
    assert key_used() == "older"
    monkeypatch.setenv("VISION_ENDPOINT", "http://127.0.0.1:1")
    assert key_used() == "older"
    monkeypatch.setenv("VISION_ENDPOINT", wire.endpoint)
    monkeypatch.setenv("VISION_KEY", "newer")
    assert key_used() == "newer"


def test_credentials_are_looked_up_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found means endpoint and key; else the source says what to set."""
    assert azure.credentials() == adapters.Credentials(
        found=False, source="set VISION_ENDPOINT and VISION_KEY"
    )
    monkeypatch.setenv("VISION_KEY", KEY)
    assert not azure.credentials().found
    monkeypatch.setenv("AZURE_COMPUTER_VISION_ENDPOINT", "https://a.example")
    assert not azure.credentials().found
    monkeypatch.setenv("AZURE_COMPUTER_VISION_SUBSCRIPTION_KEY", KEY)
    assert azure.credentials().source.startswith("AZURE_COMPUTER_VISION_ENDPOINT and ")
    monkeypatch.setenv("VISION_ENDPOINT", "https://b.example")
    assert azure.credentials().source == "VISION_ENDPOINT and VISION_KEY"


# --- the card --------------------------------------------------------------------------------------------------


def test_card_has_the_limits_of_the_service() -> None:
    """One image a call, more than 50 pixels a side, and the day the service ends."""
    new, old = azure.load().card, azure.load(api="3.2").card
    for card in (new, old):
        assert (card.name, card.accepts, card.batch, card.drift) == ("azure", "png", 1, "version")
        assert (card.min_side, card.end_of_life, card.labels) == (51, "2028-09-25", None)
        assert card.queries_per_second == 10
    assert (new.max_side, new.max_image_bytes, new.price) == (15_999, 20 * 2**20, "azure/tags-4.0")
    assert (old.max_image_bytes, old.price) == (4_000_000, "azure/tags-3.2")
    assert "2023-10-01" in new.fingerprint
    assert "2021-04-01" in old.fingerprint
    assert azure.load(rate=2.5).card.queries_per_second == pytest.approx(2.5)
    assert adapters.load("azure").card == new


def test_fingerprint_has_everything_that_decides_an_answer() -> None:
    """Every option that can change an answer changes the fingerprint; rate, time limit and key do not."""
    base: dict[str, Any] = {"endpoint": "https://a.example", "key": KEY}
    different: list[dict[str, Any]] = [
        {},
        {"endpoint": "https://b.example"},
        {"endpoint": "https://a.example/path"},
        {"endpoint_id": "sandbox"},
        {"api": "3.2"},
        {"model": "latest"},
        {"language": "es"},
    ]
    prints = [azure.load(**{**base, **options}).card.fingerprint for options in different]
    assert len(set(prints)) == len(different)
    same: list[dict[str, Any]] = [{"rate": 3.0}, {"timeout": 5.0}, {"key": "other"}, {"model": "2023-10-01"}]
    same.append({"endpoint": "https://a.example/"})
    assert {azure.load(**{**base, **options}).card.fingerprint for options in same} == {prints[0]}
    moved = [azure.load(endpoint=f"http://127.0.0.1:{port}", endpoint_id="sandbox").card for port in (1, 2)]
    assert moved[0] == moved[1]
    assert "sandbox" in moved[0].quota_key


@pytest.mark.parametrize(
    "options",
    [
        {"api": "2.1"},
        {"model": "newest"},
        {"model": "2023-10-01&features=read"},
        {"rate": -1},
        {"timeout": float("nan")},
        {"endpoint": "my-resource"},
        {"endpoint": "https://user:password@a.example"},
    ],
    ids=lambda options: "+".join(options),
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """One line at once, instead of a paid error later."""
    with pytest.raises(ConfigurationError) as caught:
        azure.load(**options)
    assert "\n" not in str(caught.value)
    assert "password@" not in str(caught.value)


def test_unknown_options_are_a_type_error() -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(TypeError):
        azure.load(languages="en")  # type: ignore[call-arg]


def test_missing_sdk_is_one_line_with_the_cure(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first query says what to install."""
    monkeypatch.setitem(sys.modules, "azure.ai.vision.imageanalysis", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[azure\]'"):
        adapter_at(wire, "4.0").label([image_of()])


def test_loading_imports_no_sdk() -> None:
    """An estimate needs the card, and the card needs neither SDK nor torch."""
    code = (
        "import sys; from api_smoothing.adapters.azure import adapter; adapter.load().card; adapter.credentials();"
        "print([m for m in ('azure', 'msrest', 'torch', 'requests', 'urllib3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_host_that_is_not_known_costs_nothing() -> None:
    """A name in VISION_ENDPOINT that does not resolve, or no network, is not charged, and is told."""
    requests = pytest.importorskip("requests")
    urllib3 = pytest.importorskip("urllib3")
    unknown = urllib3.exceptions.NameResolutionError(
        "nobody.example", object(), socket.gaierror(-2, "unknown")
    )
    error = requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", unknown))
    verdict = azure_errors.verdict_of(error)
    assert not verdict.sent
    assert "no connection" in verdict.message
