"""What a gRPC front end sends back: a message or a status, and what the faults common to all providers look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from api_smoothing.adapters._transport import sdk

#: Errors that look alike whoever answers: the gRPC status, and its text.
ERRORS: Final = {
    "500": ("INTERNAL", "Internal error encountered."),
    "502": ("UNAVAILABLE", "Received http2 header with status: 502"),
    "503": ("UNAVAILABLE", "The service is currently unavailable."),
    "504": ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
    "billed-400": ("INVALID_ARGUMENT", "Request contains an invalid argument."),
}

#: Faults after which no answer is sent, and how a client words it when its connection is reset.
SILENT: Final = ("reset", "timeout", "drip")
RESET: Final = "recvmsg:Connection reset by peer"
#: Faults that are the provider's own refusal, in its own words.
REFUSALS: Final = ("throttle", "throttle-retry-after", "throttle-coded", "quota", "expired-key")

PORTAL: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Accept the terms</body></html>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back: the bytes of a message when `code` is OK, otherwise a gRPC status.

    `details` is a serialised google.rpc.Status, `billed` the images to pay for, and `status` the word for the
    log, where the code alone does not tell.
    """

    body: bytes = b""
    code: str = "OK"
    message: str = ""
    details: bytes | None = None
    billed: int = 0
    status: str = ""


def failure(code: str, message: str, *details: Any) -> Reply:
    """A gRPC status with google.rpc messages as its details."""
    codes = sdk("google.rpc.code_pb2", extra="google")
    status = sdk("google.rpc.status_pb2", extra="google").Status(code=codes.Code.Value(code), message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return Reply(code=code, message=message, details=status.SerializeToString())


def retry_in(seconds: int) -> Any:
    """The google.rpc detail that says when to come back."""
    messages = sdk("google.rpc.error_details_pb2", extra="google")
    delay = sdk("google.protobuf.duration_pb2", extra="google").Duration(seconds=seconds)
    return messages.RetryInfo(retry_delay=delay)
