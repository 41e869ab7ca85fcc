"""What every service spoken to over gRPC needs: an address, one connection, errors without secrets, scores."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from api_smoothing.adapters._transport.deadline import LONGEST_BODY
from api_smoothing.adapters._transport.proxies import check_grpc_proxy
from api_smoothing.adapters._transport.service import BrokenContract, name_of
from api_smoothing.adapters.base import Label, Verdict
from api_smoothing.errors import ConfigurationError

Kind = Literal["fatal", "transient", "throttled", "refused", "broken"]

_LONGEST_MESSAGE: Final = 8 * LONGEST_BODY  # unpacked; some services send the images back

_LASTING: Final = {
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
}


def kind_of(status: str, reported: str = "") -> Kind:
    """What the name of a gRPC status means when nothing more is known than what was `reported`; most may pass.

    Two reports are gRPC's own: of a response that cannot be read, and of one that is no gRPC, with its HTTP status.
    """
    if status == "INTERNAL" and reported.startswith("Exception deserializing response"):
        return "broken"
    if over_http := re.match(r"Received http2 header with status: (\d+)", reported):
        return _kind_of_http(int(over_http[1]))
    if status == "RESOURCE_EXHAUSTED":
        return "throttled"
    if status in ("INVALID_ARGUMENT", "OUT_OF_RANGE"):
        return "refused"
    return "fatal" if status in _LASTING else "transient"


def _kind_of_http(status: int) -> Kind:
    """What a gateway says of a call that has not reached the service. What it says of the image, it says of others."""
    if status == 429:
        return "throttled"
    return "transient" if status >= 500 or status == 408 else "fatal" if status >= 300 else "broken"


class CallFailed(Exception):
    """A call that failed, with what that means; unlike the SDK's own error, it quotes no secret."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a gRPC service is, whether on this machine, and whether it is `plain`, spoken to without TLS."""

    host: str
    port: int
    local: bool
    plain: bool

    @classmethod
    def parse(cls, endpoint: str, *, named: str = "endpoint") -> Self:
        """From "HOST[:PORT]" or a URL; plain on loopback without "https".

        Raises ConfigurationError, in which the setting is `named`.
        """
        odd = any(map(str.isspace, endpoint)) or not endpoint.isascii()
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        try:
            host, port = parts.hostname, 443 if parts.port is None else parts.port
        except ValueError:
            host, port = None, 0
        rest = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
        if odd or not host or not port or rest or parts.scheme not in ("", "http", "https"):
            raise ConfigurationError(f"{named} must be HOST[:PORT] or https://HOST[:PORT], and nothing else")
        local = host in ("127.0.0.1", "::1", "localhost")
        if parts.scheme == "http" and not local:
            raise ConfigurationError(
                f"{named} would get the key unencrypted; use https, or a loopback address"
            )
        return cls(host=host, port=port, local=local, plain=local and parts.scheme != "https")

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def options(self) -> list[tuple[str, int]]:
        """The channel's options: nothing is sent twice, and waiting is left to the engine."""
        return [
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", int(not self.local)),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]

    def probe(self, seconds: float) -> None:
        """Raise CallFailed, not sent, when nobody takes a connection here. Behind a proxy that is not known.

        Raises ConfigurationError where the environment names a proxy that cannot be one.
        """
        if not self.local and check_grpc_proxy():
            return
        try:
            socket.create_connection((self.host, self.port), timeout=max(0.001, seconds)).close()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            message = f"cannot connect to {self.target} ({reason}); check the network and `endpoint`"
            raise CallFailed(Verdict(kind="transient", message=message, sent=False)) from None


class Connection:
    """One client for all threads, made by `build` in the process that uses it.

    Until it is known that somebody takes connections, every call probes first. Only so is it certain that a
    request was not sent: the error of a gRPC call that cannot connect may as well be the service's own, word
    for word.
    """

    def __init__(self, address: Address, build: Callable[[], Any]) -> None:
        self._address, self._build = address, build
        self._lock = threading.Lock()
        self._client: Any = None
        self._process = 0
        self._reached = False

    def open(self, until: float) -> Any:
        """The client. Raises CallFailed when nobody takes a connection by `until` (of `time.monotonic()`)."""
        with self._lock:
            if self._process != os.getpid():  # a gRPC channel does not survive a fork
                self._client, self._process = self._build(), os.getpid()
            client = self._client
        if not self._reached:
            self._address.probe(until - time.monotonic())
            self._reached = True
        return client


def retry_delay(details: Sequence[Any]) -> float | None:
    """The seconds of the google.rpc.RetryInfo among an error's `details`; None without one."""
    for detail in details:
        if getattr(getattr(detail, "DESCRIPTOR", None), "full_name", "") == "google.rpc.RetryInfo":
            return float(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)
    return None


def best_first(labels: Sequence[Label]) -> tuple[Label, ...]:
    """`labels` by falling score, equal ones by id and name. Raises BrokenContract for a label that is none."""
    for label in labels:
        name_of(label.name)
        if label.score is None or not 0.0 <= label.score <= 1.0:
            raise BrokenContract(f"an answer has a score of {label.score}, outside [0,1]")
    return tuple(sorted(labels, key=lambda label: (-(label.score or 0.0), label.id or "", label.name)))


def score_of(value: float) -> float:
    """A 32-bit score as the decimal it was written as, and without the rounding that takes 1 above 1."""
    import numpy as np

    decimal = float(str(np.float32(value)))
    return 1.0 if 1.0 < decimal < 1.000001 else decimal
