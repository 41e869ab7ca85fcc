"""What the errors of Azure's two SDKs and of Image Analysis mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from api_smoothing.adapters import BrokenContract, Verdict, one_line, seconds_of, seconds_told
from api_smoothing.errors import ApiSmoothError

_CHECK: Final = "test with: api-smooth providers check azure"

# Errors are told apart by name: no SDK is imported for it, and it does not matter which version knows which.
_NEVER_CONNECTED: Final = frozenset(
    {"ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError"}
)
_AGAIN: Final = frozenset(
    {
        "CancelledRequest",
        "FailedToProcess",
        "InternalServerError",
        "StorageException",
        "Timeout",
        "Unspecified",
    }
)
_BAD_OPTION: Final = frozenset(
    {
        "BadArgument",
        "InvalidModel",
        "InvalidModelVersion",
        "NotSupportedFeature",
        "NotSupportedLanguage",
        "NotSupportedVisualFeature",
    }
)
_REPLENISHED: Final = re.compile(r"replenished in ([\d.:]*\d)")


def verdict_of(error: Exception) -> Verdict:
    """The verdict on an error of a call. Its message may still quote what the service said."""
    if isinstance(error, ApiSmoothError):
        return Verdict(kind="fatal", message=str(error), sent=False)
    if isinstance(error, BrokenContract):
        return Verdict(kind="broken", message=f"{error}; it is no vote")
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(status, int) and status != 200:
        return _answered(status, response)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = "the certificate of the service is not trusted here; set REQUESTS_CA_BUNDLE to your proxy's"
        return Verdict(kind="fatal", message=message, sent=False)
    # azure-core calls it a ServiceRequestError, "never sent", also when an answer stops half way.
    if any(type(cause).__name__ in _NEVER_CONNECTED for cause in _causes(error)):
        *_, innermost = _causes(error)  # its text is the client library's, full of objects and addresses
        message = f"no connection ({type(innermost).__name__}); check VISION_ENDPOINT and the network"
        return Verdict(kind="transient", message=message, sent=False)
    # The request left and no answer came, or none that could be read: it may have been billed.
    # Not quoted: an error about a header holds the header.
    return Verdict(kind="transient", message=f"no answer that can be read ({type(error).__name__})")


def _answered(status: int, response: Any) -> Verdict:
    """The verdict on an error answer: status first, then the innermost code of its body."""
    code, text = _told(response)
    reported = one_line(
        ": ".join(part for part in (f"HTTP {status}", code, text) if part not in {"", str(status)})
    )
    wait = seconds_of(response.headers.get("Retry-After"))
    wait = seconds_told(text) if wait is None else wait
    if 300 <= status < 400:
        message = f"{reported}; it sends elsewhere, where nothing is sent: check VISION_ENDPOINT"
        return Verdict(kind="fatal", message=f"{message}; a proxy or a login page may be in between")
    if status == 429:
        return Verdict(kind="throttled", message=reported, retry_after=wait)
    if status == 403 and "quota" in text.lower():
        when = _REPLENISHED.search(text)
        until = f"; replenished in {when[1]} (days.hours:minutes:seconds)" if when else ""
        message = f"the call volume quota is used up{until}; wait for it, or choose a higher pricing tier"
        return Verdict(kind="fatal", message=message)
    if status in {401, 403}:
        return Verdict(kind="fatal", message=f"{reported}; check VISION_KEY and VISION_ENDPOINT; {_CHECK}")
    if status >= 500 or status == 408 or code in _AGAIN:
        return Verdict(kind="transient", message=reported, retry_after=wait)
    if code in _BAD_OPTION:
        message = f"{reported}; check model=, language= and the region of the resource"
        return Verdict(kind="fatal", message=message)
    if status in {400, 413, 415}:
        return Verdict(kind="refused", message=reported, retry_after=wait)
    if status < 300 or (wait is not None and status != 404):
        message = f"{reported}; is a proxy or a login page in between?"
        return Verdict(kind="transient", message=message, retry_after=wait)
    return Verdict(kind="fatal", message=f"{reported}; check VISION_ENDPOINT and api=; {_CHECK}")


def _told(response: Any) -> tuple[str, str]:
    """The innermost error code and the message of an error body; empty strings where it has none."""
    text = response.text  # a method in azure-core
    try:
        body = json.loads(text() if callable(text) else text)
    except (ValueError, RecursionError):
        return "", ""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", ""
    inner = error.get("innererror") or error.get("innerError")
    code = inner.get("code") if isinstance(inner, dict) else None
    return str(code or error.get("code") or ""), str(error.get("message") or "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps; requests and urllib3 keep the cause among the arguments, Azure beside them."""
    yield error
    wrapped = (*error.args, getattr(error, "reason", None), getattr(error, "inner_exception", None))
    for cause in wrapped:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)
