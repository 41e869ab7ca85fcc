"""Services that do everything wrong: every status, bodies that are none, lies about length, scores beyond reason.

Each is a real server on loopback that the provider's own client talks to. `HTTP` and `GRPC` are the ways in which they
are hostile, by name; `hostile` starts the service of a provider and gives its adapter.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import pytest
from grpc_service import GrpcService, running
from http2_service import Http2Service
from wire import Wire

from api_smoothing import adapters
from api_smoothing.adapters import Adapter

KEY: Final = "planted-0123456789abcdef"
STATUSES: Final = (
    202, 204, 206, 301, 302, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 429, 500, 501, 502, 503, 504,
    599,
)  # fmt: skip
WAITS: Final = {
    "seconds": "2",
    "date": format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True),
    "a date without a zone": "Wed, 21 Oct 2026 07:28:00",
    "a date of twenty digits": f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT",
    "garbage": "soon, \x85perhaps",
    "negative": "-5",
    "huge": "9" * 400,
    "a year": "31536000",
    "empty": "",
}
#: What would forge lines, move the cursor or turn text round, were it shown as it is.
FORGED: Final = "cat\x1b[2K\r\ncertified\u202e\u2028dog\x00"
JUNK: Final = json.dumps(
    {"junk": [1, FORGED, None, {"error": [[KEY]]}], "message": FORGED, "code": FORGED}
).encode()
_DEEP: Final = 100_000
_MANY: Final = 20_000
_BOMB: Final = 256 * 2**20  # bytes that 256 kB unpack to


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One kind of question to one provider: how it answers `count` images with labels and scores, and its options."""

    provider: str
    write: Callable[[Sequence[tuple[Any, Any]], int], Any]
    options: dict[str, Any] = field(default_factory=dict)
    images: Callable[[bytes], list[bytes]] = lambda body: [body]
    cat: tuple[Any, Any] = ("cat", 0.75)

    def count(self, body: bytes) -> int:
        """How many images a request is about."""
        return len(self.images(body))

    def good(self, count: int = 1) -> bytes:
        """Every image is a cat."""
        return json.dumps(self.write([self.cat], count)).encode()


def _aws(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    found = [{"Name": name, "Confidence": score} for name, score in labels]
    return {"Labels": found, "LabelModelVersion": "3.0"}


def _moderation(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    found = [
        {"Name": name, "Confidence": score, "ParentName": "", "TaxonomyLevel": 1} for name, score in labels
    ]
    return {"ModerationLabels": found, "ModerationModelVersion": "7.0"}


def _azure(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    tags = [{"name": name, "confidence": score} for name, score in labels]
    return {
        "modelVersion": "2023-10-01",
        "metadata": {"width": 96, "height": 96},
        "tagsResult": {"values": tags},
    }


def _azure32(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    tags = [{"name": name, "confidence": score} for name, score in labels]
    return {
        "tags": tags,
        "requestId": "r",
        "metadata": {"width": 96, "height": 96},
        "modelVersion": "2021-04-01",
    }


def _batch(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    one = {"labels": [{"name": name, "score": score} for name, score in labels]}
    return {"model": {"version": "1"}, "answers": [one] * count}


def _chat(labels: Sequence[tuple[Any, Any]], count: int) -> Any:
    (name, _), *_ = labels or [("", None)]
    message = {"role": "assistant", "content": name}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


PROTOCOLS: Final = {
    "aws": Protocol(provider="aws", write=_aws, cat=("cat", 75.0)),
    "aws moderation": Protocol(
        provider="aws", write=_moderation, cat=("cat", 75.0), options={"operation": "detect-moderation-labels"}
    ),
    "azure 4.0": Protocol(provider="azure", write=_azure),
    "azure 3.2": Protocol(provider="azure", write=_azure32, options={"api": "3.2"}),
    "http batch": Protocol(
        provider="http",
        write=_batch,
        options={"model": "sandbox-json", "usd_per_query": 0.001},
        images=lambda body: [text.encode() for text in json.loads(body)["images"]],
    ),
    "http chat": Protocol(
        provider="http",
        write=_chat,
        options={"model": "openai", "vision_model": "m", "classes": ["cat", "dog"], "usd_per_query": 0.001},
    ),
}  # fmt: skip

#: A way makes of the protocol and of a request's body what `Wire` answers.
Way = Callable[[Protocol, bytes], Any]


def _good(protocol: Protocol, body: bytes) -> bytes:
    return protocol.good(protocol.count(body))


def _status(status: int, content: bytes | None = None, **headers: str) -> Way:
    """Junk, or `content`, or with b"" what a good answer would have, under a status."""

    def answer(protocol: Protocol, body: bytes) -> Any:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if 300 <= status < 400:
            told["Location"] = "/elsewhere"
        return status, JUNK if content is None else content or _good(protocol, body), told

    return answer


def _labels(*labels: tuple[Any, float]) -> Way:
    """A success with these labels; scores are in units of the protocol's own range."""

    def answer(protocol: Protocol, body: bytes) -> Any:
        scale = 100.0 if protocol.provider == "aws" else 1.0
        found = [(name, score * scale) for name, score in labels]
        return 200, json.dumps(protocol.write(found, protocol.count(body))).encode()

    return answer


def _replaced(old: bytes, new: bytes) -> Way:
    """A good answer with a piece of its JSON replaced."""
    return lambda protocol, body: (200, _good(protocol, body).replace(old, new))


def _score(text: str) -> Way:
    """A good answer whose scores are `text`."""

    def answer(protocol: Protocol, body: bytes) -> Any:
        score = json.dumps(protocol.cat[1]).encode()
        return 200, _good(protocol, body).replace(score, text.encode())

    return answer


def _headers(make: Callable[[bytes], tuple[bytes, dict[str, str]]]) -> Way:
    def answer(protocol: Protocol, body: bytes) -> Any:
        content, headers = make(_good(protocol, body))
        return 200, content, headers

    return answer


def _counted(difference: int) -> Way:
    """A good answer to another number of images; where there is one always, to none."""

    def answer(protocol: Protocol, body: bytes) -> Any:
        if (
            protocol.count(body) + difference < 1
            or protocol.provider != "http"
            or "classes" in protocol.options
        ):
            return 200, json.dumps([protocol.write([protocol.cat], 1)] * 2).encode()
        return 200, protocol.good(protocol.count(body) + difference)

    return answer


def _flood(protocol: Protocol, body: bytes) -> Any:
    return 200, b'{"' + b"x" * (40 * 2**20)


HTTP: Final[dict[str, Way]] = {
    **{f"{status}": _status(status) for status in STATUSES},
    **{f"{status} with a whole answer": _status(status, b"") for status in (202, 206, 302, 404, 500)},
    **{f"{status}, empty": _status(status, b"\n") for status in (200, 400, 403, 503)},
    **{f"429, Retry-After {how}": _status(429, Retry_After=told) for how, told in WAITS.items()},
    **{f"503, Retry-After {how}": _status(503, Retry_After=told) for how, told in WAITS.items()},
    **{f"deep under {status}": _status(status, b"[" * _DEEP) for status in (200, 400, 403, 503)},
    **{f"not UTF-8 under {status}": _status(status, b'{"error": "\xff\xfe\xe9"}') for status in (200, 400, 503)},
    "junk": _status(200),
    "HTML": _status(200, b"<html><title>\x1b[31mlog in</title></html>", Content_Type="text/html"),
    "truncated": lambda protocol, body: (200, _good(protocol, body)[:-9]),
    "shorter than it says": _headers(
        lambda good: (good, {"Content-Length": f"{len(good) + 50}", "Connection": "close"})
    ),
    "longer than it says": _headers(lambda good: (good, {"Content-Length": f"{len(good) - 9}"})),
    "no length that is one": _headers(lambda good: (good, {"Content-Length": "many", "Connection": "close"})),
    "chunks that are none": _headers(lambda good: (good, {"Transfer-Encoding": "chunked", "Connection": "close"})),
    "drip": lambda protocol, body: "drip",
    "drip-headers": lambda protocol, body: "drip-headers",
    "stall": lambda protocol, body: "stall",
    "silent": lambda protocol, body: "silent",
    "reset": lambda protocol, body: "reset",
    "flood": _flood,
    "gzip bomb": _headers(lambda good: (_bomb(), {"Content-Encoding": "gzip"})),
    "gzip bomb under 400": lambda protocol, body: (400, _bomb(), {"Content-Encoding": "gzip"}),
    "gzip that is none": _headers(lambda good: (good, {"Content-Encoding": "gzip"})),
    "another charset": _headers(lambda good: (good, {"Content-Type": "application/json; charset=utf-16"})),
    "no charset that is one": _headers(lambda good: (b"\xff\xfe" + good, {"Content-Type": "x; charset=klingon"})),
    "headers of control characters": _headers(
        lambda good: (b"[]", {"x-request-id": "\x1b[31m", "Retry-After": "\x1b"})
    ),
    "NaN": _score("NaN"),
    "Infinity": _score("Infinity"),
    "1e999": _score("1e999"),
    "a number of 5000 digits": _score("9" * 5000),
    "a score above 1": _score("250.5"),
    "a score below 0": _score("-0.25"),
    "a score as text": _score('"0.75"'),
    "a score of null": _score("null"),
    "a score of true": _score("true"),
    "a list as a score": _score("[0.75]"),
    "a name of null": _replaced(b'"cat"', b"null"),
    "an empty name": _replaced(b'"cat"', b'""'),
    "a number as a name": _replaced(b'"cat"', b"7"),
    "an object as a name": _replaced(b'"cat"', b'{"a": 1}'),
    "half a character as a name": _replaced(b'"cat"', b'"\\ud800"'),
    "a deep name": _replaced(b'"cat"', b"[" * _DEEP + b"]" * _DEEP),
    "one answer too many": _counted(+1),
    "one answer too few": _counted(-1),
    "control characters": _labels((FORGED, 0.75)),
    "a huge name": _labels(("cat" * 500_000, 0.75)),
    "the same label twice": _labels(("cat", 0.75), ("cat", 0.25)),
    "many labels": _labels(*((f"cat{i}", 0.5) for i in range(_MANY))),
}  # fmt: skip

#: Ways that still are answers: what they name may be counted, and is then shown escaped.
ANSWERS: Final = frozenset(
    {"control characters", "the same label twice", "many labels"}
    # all of a good answer, with something around it that no client looks at
    | {"shorter than it says", "no length that is one", "gzip that is none", "another charset"}
)
_OF_SCORES: Final = frozenset(
    {
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "a number of 5000 digits",
        "a list as a score",
        "a score above 1",
    }
    | {"a score below 0", "a score as text", "a score of null", "a score of true"}
)
#: Ways that are none where answers have no scores, or no names of their own.
NEVER: Final = {"http chat": _OF_SCORES, "google safe-search": _OF_SCORES | {"a huge name"}}
#: Ways of answers that never end.
SLOW: Final = frozenset({"drip", "drip-headers", "stall", "silent"})
_HASTE, _PATIENCE = 0.25, 20.0  # seconds


def _bomb() -> bytes:
    global _packed
    if _packed is None:
        _packed = gzip.compress(b" " * _BOMB, compresslevel=9)
    return _packed


_packed: bytes | None = None


@dataclass(kw_only=True)
class Hostile:
    """A running service and adapters of it, in whichever way it is hostile; None is a good service.

    `answered` are the images, by their bytes, that got a good answer, `seen` how many came at all.
    """

    patient: Adapter
    hasty: Adapter
    protocol: Any
    name: str | None = None
    way: Any = None
    #: Of the requests, by number, those that meet the way; the others are answered well.
    spoils: Callable[[int], bool] = lambda number: True
    seen: int = 0
    requests: int = 0
    answered: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def adapter(self) -> Adapter:
        """One that waits no longer than it must: an answer that never ends is waited for in vain."""
        return self.hasty if self.name in SLOW else self.patient

    def begin(self, name: str | None, way: Any, spoils: Callable[[int], bool] = lambda number: True) -> None:
        """Be hostile in this way from now on, with nothing remembered."""
        with self.lock:
            self.name, self.way, self.spoils = name, way, spoils
            self.seen = self.requests = 0
            self.answered.clear()

    @property
    def is_unread(self) -> bool:
        """Whether it looks into no request, so that it knows of one image in each."""
        return isinstance(self.protocol, Rpc) and str(self.name).startswith("HTTP ")

    def sees(self, images: int) -> bool:
        """Whether it was sent so many; those that are still being read are waited for.

        Not always of gRPC's calls that were given up: what no thread has by then is never read.
        """
        given_up = isinstance(self.protocol, Rpc) and self.name in SLOW
        until = time.monotonic() + 60
        while self.seen < images and not given_up and time.monotonic() < until:
            time.sleep(0.01)
        return self.seen <= images if given_up else self.seen == images

    def recover(self) -> None:
        """Be a good service from now on."""
        with self.lock:
            self.name = self.way = None

    def spoilt(self, images: Sequence[bytes]) -> bool:
        """Whether a request for these images is spoilt."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.seen += len(images)
            spoilt = self.way is not None and self.spoils(number)
            if not spoilt:
                self.answered += images
            return spoilt


@contextmanager
def hostile_http(name: str) -> Iterator[Hostile]:
    """The service of a protocol of `PROTOCOLS`."""
    protocol = PROTOCOLS[name]

    def answer(body: bytes) -> Any:
        if found.spoilt(protocol.images(body)):
            return found.way(protocol, body)
        return 200, _good(protocol, body)

    wire = Wire(answer, content_type="application/json", half=b'{"model')
    keys = {"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": KEY, "region": "us-east-1"}
    given = keys if protocol.provider == "aws" else {"key": KEY}
    patient, hasty = (
        adapters.load(protocol.provider, endpoint=wire.endpoint, timeout=timeout, **given, **protocol.options)
        for timeout in (_PATIENCE, _HASTE)
    )
    found = Hostile(patient=patient, hasty=hasty, protocol=protocol)
    try:
        yield found
    finally:
        wire.close()


# --- gRPC ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """One kind of question to one provider over gRPC."""

    provider: str
    service: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> tuple[Any, Any]:
        """How a request is read, and how a dictionary becomes the bytes of a response."""
        format_ = pytest.importorskip("google.protobuf.json_format")
        if self.provider == "google":
            vision = pytest.importorskip("google.cloud.vision")
            request = vision.BatchAnnotateImagesRequest.deserialize
            response = vision.BatchAnnotateImagesResponse.pb()
        else:
            pb2 = pytest.importorskip("clarifai_grpc.grpc.api.service_pb2")
            request, response = pb2.PostModelOutputsRequest.FromString, pb2.MultiOutputResponse
        return request, lambda body: format_.ParseDict(body, response()).SerializeToString()

    def images(self, request: Any) -> list[bytes]:
        if self.provider == "google":
            return [one.image.content for one in request.requests]
        return [one.data.image.base64 for one in request.inputs]

    def body(self, labels: Sequence[tuple[str, Any]], count: int) -> dict[str, Any]:
        if "feature" in self.options:
            likely = {"adult": 1, "spoof": 1, "medical": 1, "violence": 1, "racy": 5}
            return {"responses": [{"safeSearchAnnotation": likely}] * count}
        if self.provider == "google":
            one = [{"mid": f"/m/{i}", "description": name, "score": s} for i, (name, s) in enumerate(labels)]
            return {"responses": [{"labelAnnotations": one}] * count}
        concepts = [{"id": f"ai_{i}", "name": name, "value": s} for i, (name, s) in enumerate(labels)]
        model = {"modelVersion": {"id": "aa7f35c01e0642fda5cf400f543e7c40"}}
        output = {"status": {"code": 10000}, "model": model, "data": {"concepts": concepts}}
        return {"status": {"code": 10000}, "outputs": [output] * count}


RPCS: Final = {
    "google": Rpc(
        provider="google", service="google.cloud.vision.v1.ImageAnnotator", method="BatchAnnotateImages"
    ),
    "google safe-search": Rpc(
        provider="google",
        service="google.cloud.vision.v1.ImageAnnotator",
        method="BatchAnnotateImages",
        options={"feature": "safe-search"},
    ),
    "clarifai": Rpc(provider="clarifai", service="clarifai.api.V2", method="PostModelOutputs"),
}

#: A way makes of the protocol, the number of images and the call's context what is sent as the response.
RpcWay = Callable[[Rpc, int, Any], bytes]


def _bytes_of(make: Callable[[Rpc, int], dict[str, Any]]) -> RpcWay:
    return lambda rpc, count, context: bytes(rpc.messages[1](make(rpc, count)))


def _rpc_labels(*labels: tuple[str, Any]) -> RpcWay:
    return _bytes_of(lambda rpc, count: rpc.body(labels, count))


def _aborts(status: str, text: str = FORGED, **trailers: bytes) -> RpcWay:
    def reply(rpc: Rpc, count: int, context: Any) -> bytes:
        grpc = pytest.importorskip("grpc")
        context.set_trailing_metadata(
            tuple((name.replace("_", "-"), value) for name, value in trailers.items())
        )
        context.abort(grpc.StatusCode[status], text)
        return b""

    return reply


def _rpc_good(rpc: Rpc, count: int) -> bytes:
    return bytes(rpc.messages[1](rpc.body([("cat", 0.75)], count)))


def _unpacks(rpc: Rpc, count: int, context: Any) -> bytes:
    grpc = pytest.importorskip("grpc")
    context.set_compression(grpc.Compression.Gzip)
    return bytes(_RPC_BOMB)


def _never(rpc: Rpc, count: int, context: Any) -> bytes:
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(10)
    return b""


_RPC_BOMB: Final = 64 * 2**20
_CODES: Final = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

GRPC: Final[dict[str, RpcWay]] = {
    **{code: _aborts(code) for code in _CODES},
    **{
        f"{code}, details that are none": _aborts(code, grpc_status_details_bin=b"\xff" * 9)
        for code in _CODES
    },
    **{f"{code}, a huge text": _aborts(code, "no " * 1000) for code in ("UNAVAILABLE", "INTERNAL")},
    "junk": lambda rpc, count, context: b"\xff\xfe junk \x00" * 9,
    "empty": lambda rpc, count, context: b"",
    "truncated": lambda rpc, count, context: _rpc_good(rpc, count)[:-3],
    "not UTF-8": lambda rpc, count, context: (
        _rpc_good(rpc, count).replace(b"cat", b"\xff\xe9t") if "feature" not in rpc.options else b"\xff"
    ),
    "no answer": _bytes_of(lambda rpc, count: rpc.body([("cat", 0.75)], 0)),
    "one answer too many": _bytes_of(lambda rpc, count: rpc.body([("cat", 0.75)], count + 1)),
    "one answer too few": _bytes_of(lambda rpc, count: rpc.body([("cat", 0.75)], count - 1)),
    "silent": _never,
    "flood": lambda rpc, count, context: bytes(40 * 2**20),
    "gzip bomb": _unpacks,
    "NaN": _rpc_labels(("cat", "NaN")),
    "Infinity": _rpc_labels(("cat", "Infinity")),
    "-Infinity": _rpc_labels(("cat", "-Infinity")),
    "a score above 1": _rpc_labels(("cat", 250.5)),
    "a score below 0": _rpc_labels(("cat", -0.25)),
    "control characters": _rpc_labels((FORGED, 0.75)),
    "a huge name": _rpc_labels(("cat" * 500_000, 0.75)),
    "the same label twice": _rpc_labels(("cat", 0.75), ("cat", 0.25)),
    "many labels": _rpc_labels(*((f"cat{i}", 0.5) for i in range(_MANY))),
    **{f"HTTP {status}": lambda rpc, count, context: b"" for status in STATUSES},
    **{
        f"HTTP 429, Retry-After {how}": lambda rpc, count, context: b""
        for how in ("seconds", "garbage", "a year")
    },
    "HTTP 200, HTML": lambda rpc, count, context: b"",
    "HTTP 200, a message longer than it is": lambda rpc, count, context: b"",
}


def _over_http2(way: str) -> tuple[int, dict[str, str], bytes] | None:
    """Status, headers and body of a way that no gRPC server has."""
    if not way.startswith("HTTP "):
        return None
    name, _, more = way.removeprefix("HTTP ").partition(", ")
    headers = {"content-type": "application/grpc" if "message" in more else "text/html"}
    if more.startswith("Retry-After"):
        headers["retry-after"] = WAITS[more.removeprefix("Retry-After ")].encode("ascii", "replace").decode()
    return int(name), headers, b"\x00\xff\xff\xff\xff<html>" if more else b""


@contextmanager
def hostile_grpc(name: str, way: str) -> Iterator[Hostile]:
    """The service of one of `RPCS`; with a way that speaks no gRPC it does nothing else."""
    rpc = RPCS[name]
    read, _ = rpc.messages

    def opened(endpoint: str) -> Hostile:
        patient, hasty = (
            adapters.load(rpc.provider, endpoint=endpoint, key=KEY, timeout=timeout, **rpc.options)
            for timeout in (_PATIENCE, _HASTE)
        )
        return Hostile(patient=patient, hasty=hasty, protocol=rpc, name=way, way=GRPC[way])

    def reply(request: Any, context: Any) -> bytes:
        images = rpc.images(request)
        if found.spoilt(images):
            return bytes(found.way(rpc, len(images), context))
        return _rpc_good(rpc, len(images))

    raw = _over_http2(way)
    if raw is not None:
        server = Http2Service(*raw, on_request=lambda: found.spoilt([b""]) and None)
        found = opened(server.endpoint)
        try:
            yield found
        finally:
            server.close()
        return
    service = GrpcService(name=rpc.service, method=rpc.method, read=read, write=bytes, reply=reply)
    with running(service):
        found = opened(service.endpoint)
        yield found
