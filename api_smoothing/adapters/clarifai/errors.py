"""What Clarifai's errors mean: status codes inside a response that succeeded, and failures of the gRPC call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from api_smoothing.adapters import Verdict, sdk
from api_smoothing.adapters._transport import kind_of

#: Codes of a request or of one output.
SUCCESS, MIXED, FAILURE, _THROTTLED = 10000, 10010, 10020, 11005

# The other codes by what they mean and what to do. A code in none of these groups is transient.
KEY_CODES: Final = {11000, 11001, 11002, 11007, 11008, 11009, 11104, 11200}
QUOTA_CODES: Final = {11003, 11004, 11006, *range(60001, 60007), 69000, 69001, 99005}
MODEL_CODES: Final = {10040, 10050, 11101, 11103, 21102, *range(21200, 21204), 21350, 21353, 40036, 50001}
REFUSED_CODES: Final = {
    *(11100, 11102, 11105, 39999, 40001, 40003, 90400),  # invalid requests
    *(30002, *range(30100, 30107), 30300, 40033, 46003, *range(47103, 47107)),  # invalid or too large images
}
_ADVICE: Final = (
    (KEY_CODES, "set CLARIFAI_PAT to a valid token; test it with: api-smooth providers check clarifai"),
    (QUOTA_CODES, "the plan's operations are used up; raise the plan, or go on when they renew"),
    (MODEL_CODES, "check model, version, user_id, app_id and only"),
)

#: Brings what a service said to one line without secrets.
Clean = Callable[[object], str]


def of_status(status: Any, images: int, clean: Clean) -> Verdict:
    """What a Clarifai `status` means for a request, or part of one, with so many `images`.

    FAILURE says nothing about its cause. Clarifai gives it for a whole batch that has one bad image, so a batch is
    refused, which has it split; but also in passing, so one image may be tried again.
    """
    names = sdk("clarifai_grpc.grpc.api.status.status_code_pb2", extra="clarifai").StatusCode
    code: int = status.code
    name = names.Name(code) if code in names.values() else "UNKNOWN"
    reported = clean(" ".join(part for part in (status.description, status.details) if part))
    message = f"Clarifai answered {name} ({code}): {reported}"
    if code == _THROTTLED:
        wait = 1.0 if "per second" in reported else None
        return Verdict(kind="throttled", message=f"{message}; lower `rate`", retry_after=wait)
    for codes, advice in _ADVICE:
        if code in codes:
            return Verdict(kind="fatal", message=f"{message}; {advice}")
    refused = code in REFUSED_CODES or (code == FAILURE and images > 1)
    return Verdict(kind="refused" if refused else "transient", message=message)


def of_call(error: Exception, clean: Clean) -> Verdict:
    """What an error of the call itself means."""
    if not callable(code := getattr(error, "code", None)):
        text = f"the call to Clarifai failed: {type(error).__name__}: {error}"
        return Verdict(kind="fatal", message=clean(text))
    status: str = getattr(code(), "name", "UNKNOWN")
    reported = clean(getattr(error, "details", str)())
    message = f"Clarifai answered {status}: {reported}"
    kind = kind_of(status, reported)
    if "larger than max" in reported:  # gRPC's own limit on messages, with the status of a throttle
        kind = "refused"
    wait = _retry_after(error)
    if kind == "throttled":
        return Verdict(kind=kind, message=f"{message}; lower `rate`", retry_after=wait)
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        message = f"{message}; {_ADVICE[0][1]}"
    elif kind == "fatal":
        message = f"{message}; check endpoint, model, user_id and app_id"
    return Verdict(kind=kind, message=message, retry_after=wait)


def _retry_after(error: Any) -> float | None:
    """The wait that a gRPC error's details ask for."""
    status = sdk("google.rpc.status_pb2", extra="clarifai").Status()
    info = sdk("google.rpc.error_details_pb2", extra="clarifai").RetryInfo()
    metadata = dict(error.trailing_metadata() or ())
    try:
        status.ParseFromString(metadata.get("grpc-status-details-bin", b""))
        asked = any(detail.Unpack(info) for detail in status.details)
    except sdk("google.protobuf.message", extra="clarifai").DecodeError:
        return None
    return float(info.retry_delay.ToTimedelta().total_seconds()) if asked else None
