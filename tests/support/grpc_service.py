"""A service that speaks gRPC on loopback, as a test scripts it, and what tests of its adapters share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api_smoothing.adapters.base import Adapter, EncodedImage, Verdict

grpc = pytest.importorskip("grpc")

#: What each status means to an adapter, unless the details say more.
KIND_OF_STATUS = {
    "CANCELLED": "transient",
    "UNKNOWN": "transient",
    "INVALID_ARGUMENT": "refused",
    "DEADLINE_EXCEEDED": "transient",
    "NOT_FOUND": "fatal",
    "ALREADY_EXISTS": "transient",
    "PERMISSION_DENIED": "fatal",
    "RESOURCE_EXHAUSTED": "throttled",
    "FAILED_PRECONDITION": "fatal",
    "ABORTED": "transient",
    "OUT_OF_RANGE": "refused",
    "UNIMPLEMENTED": "fatal",
    "INTERNAL": "transient",
    "UNAVAILABLE": "transient",
    "DATA_LOSS": "transient",
    "UNAUTHENTICATED": "fatal",
}
Reply = Callable[[Any, Any], Any]


@dataclass
class Call:
    """What the server saw of one request."""

    request: Any
    metadata: dict[str, str]
    seconds_left: float | None


@dataclass
class GrpcService:
    """One method on loopback. `reply` makes the answer: a message, or bytes that may be none."""

    name: str
    method: str
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    reply: Reply
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    server: Any = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(self, raw: bytes, context: Any) -> bytes:
        request = self.read(raw)
        metadata = dict(context.invocation_metadata())
        self.calls.append(Call(request=request, metadata=metadata, seconds_left=context.time_remaining()))
        answer = self.reply(request, context)
        return answer if isinstance(answer, bytes) else self.write(answer)

    def start(self, credentials: Any = None, options: Sequence[tuple[str, int]] = ()) -> None:
        method = grpc.unary_unary_rpc_method_handler(self.serve)
        handler = grpc.method_handlers_generic_handler(self.name, {self.method: method})
        self.server = grpc.server(
            ThreadPoolExecutor(20), handlers=(handler,), options=[("grpc.so_reuseport", 0), *options]
        )
        if credentials is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()

    def stop(self) -> None:
        self.server.stop(None).wait()


@contextmanager
def running(service: GrpcService) -> Iterator[GrpcService]:
    service.start()
    yield service
    service.stop()


def image(data: bytes = b"pixels") -> EncodedImage:
    return EncodedImage(data=data, height=8, width=8)


def failure(adapter: Adapter, images: int = 1) -> tuple[Exception, Verdict]:
    """The exception of a call that fails, and the verdict on it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is matters less than the verdict
        adapter.label([image()] * images)
    assert isinstance(caught.value, Exception)
    return caught.value, adapter.verdict(caught.value)


def aborts(status: str, text: str = "it says so", details: bytes | None = None, *, times: int = 2) -> Reply:
    """Ends calls with a status. After `times` of them it answers nothing: who repeats shall be found out."""
    calls: list[Any] = []

    def reply(request: Any, context: Any) -> Any:
        calls.append(request)
        if len(calls) > times:
            return b""
        if details is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode[status], text)

    return reply


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """What calls of a function of the SDK made from now on."""
    made: list[Any] = []
    make = getattr(module, name)

    def count(*args: Any, **options: Any) -> Any:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(module, name, count)
    return made


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem), private


def recorded(shared: Path, name: str) -> Any:
    path = shared / "fixtures" / "recorded" / name
    if not path.is_file():
        pytest.skip("no recorded responses")
    return json.loads(path.read_text("utf-8"))
