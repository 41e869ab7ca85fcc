"""What the errors of Google Cloud Vision mean: those of a call, and those of one image inside a response."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from api_smoothing.adapters import Verdict, sdk
from api_smoothing.adapters._transport import kind_of, retry_delay
from api_smoothing.adapters.google.account import WAYS

_CHECK: Final = "test it with: api-smooth providers check google"

#: Brings what a service said to one line without secrets.
Clean = Callable[[object], str]


def of_call(error: Exception, clean: Clean) -> Verdict:
    """What an error of a call means, of google.api_core or of gRPC."""
    status = getattr(error, "grpc_status_code", None)  # of google.api_core's errors
    code = getattr(error, "code", None)
    if status is not None:
        about: Any = error
        return _judge(
            status.name,
            clean(about.message),
            reason=about.reason or "",
            limit=(about.metadata or {}).get("quota_limit", ""),
            retry_after=retry_delay(about.details),
        )
    if callable(code):  # a bare grpc.RpcError
        return _judge(getattr(code(), "name", "UNKNOWN"), clean(getattr(error, "details", str)()))
    if isinstance(code, int):  # google.api_core's errors for HTTP alone
        known = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
        other = "UNAVAILABLE" if code >= 500 else "FAILED_PRECONDITION"
        return _judge(known.get(code, other), clean(error))
    text = f"the call to Google failed: {type(error).__name__}: {error}"
    return Verdict(kind="fatal", message=clean(text))


def of_image(error: Any, clean: Clean) -> Verdict:
    """What one image's error inside a response that succeeded means."""
    # Users report of this one that the same image succeeds when it is sent again.
    if "bad image data" in error.message.lower():
        reported = clean(error.message)
        return Verdict(kind="transient", message=f"Google answered for an image: {reported}")
    names = {status.value[0]: status.name for status in sdk("grpc", extra="google").StatusCode}
    return _judge(names.get(error.code, "UNKNOWN"), clean(error.message))


def _judge(
    status: str, reported: str, *, reason: str = "", limit: str = "", retry_after: float | None = None
) -> Verdict:
    """What a gRPC `status` means, with what Google `said`, its `reason` and the quota's `limit`."""
    message = f"Google answered {status}{f' ({reason})' if reason else ''}: {reported}"
    kind = kind_of(status, reported)
    if reason == "RATE_LIMIT_EXCEEDED":  # older quotas say PERMISSION_DENIED with it
        kind = "throttled"
    if kind == "throttled":
        if "larger than max" in reported:  # gRPC's own limit on messages has the same status
            return Verdict(kind="refused", message=message)
        if re.search(r"per[ _]?(day|month)|daily|monthly", f"{reported} {limit}", re.IGNORECASE):
            advice = "raise the quota in the Google Cloud console, or go on when it renews"
            return Verdict(kind="fatal", message=f"{message}; {advice}")
        return Verdict(kind=kind, message=f"{message}; lower `rate`", retry_after=retry_after)
    # A wrong API key comes as INVALID_ARGUMENT, a token that cannot be renewed as UNAVAILABLE.
    wrong_key = reason == "API_KEY_INVALID" or re.search("API key|unregistered caller", reported)
    lapsed = re.search(r"invalid_(grant|client)|eauthenticat", reported)
    if status == "UNAUTHENTICATED" or (wrong_key and kind != "transient") or lapsed:
        return Verdict(kind="fatal", message=f"{message}; {WAYS}; {_CHECK}")
    if kind == "fatal":
        advice = "enable the Cloud Vision API and billing, or see to the permissions"
        return Verdict(kind=kind, message=f"{message}; {advice}; {_CHECK}")
    return Verdict(kind=kind, message=message, retry_after=retry_after)
