"""What a failure of a JSON endpoint means: an answer with an error status, or no answer at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from api_smoothing.adapters import BrokenContract, Verdict, seconds_of, seconds_told
from api_smoothing.adapters.http.answer import parse
from api_smoothing.adapters.http.client import Reply
from api_smoothing.adapters.http.path import Path
from api_smoothing.adapters.http.schema import Description, Json, Kind

# Told apart by name, so that nothing need be imported. Each is raised before the first byte of a request leaves.
_NO_CONNECTION: Final = {
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ConnectTimeout",
    "ProxyError",
}
_NOT_A_REQUEST: Final = {
    "InvalidURL",
    "InvalidHeader",
    "InvalidSchema",
    "MissingSchema",
    "InvalidProxyURL",
    "LocationParseError",
}
_TIMEOUTS: Final = {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}

_CHECK: Final = "test it with: api-smooth providers check http"


def of_answer(description: Description, reply: Reply, path: str) -> Verdict:
    """The verdict on an answer whose status is not a success; `path` is where in the service it came from."""
    shape = description.errors
    try:
        body = parse(reply.body)
    except BrokenContract:
        body = None
    code, reported = _find(shape.code, body), _find(shape.message, body)
    wait = seconds_of(reply.headers.get(shape.retry_after))
    wait = seconds_told(str(reported or "")) if wait is None else wait
    kind = shape.kinds.get(code) if isinstance(code, int | str) else None
    kind = kind or shape.kinds.get(reply.status) or _usual(reply.status, wait)
    parts = [f"{description.name} answered {reply.status}", str(code or ""), str(reported or "")]
    message = ": ".join(part for part in parts if part)
    if kind == "broken":
        message += "; an answer must come with the request's own response, whole"
    if kind == "fatal":
        message += f"; {_advice(description, reply.status, path)}"
    return Verdict(kind=kind, message=message, retry_after=wait)


def of_connection(error: Exception, place: str, timeout: float) -> Verdict:
    """The verdict on an exception of `requests` or `urllib3`, whose own text may quote a key and is not used."""
    names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    if "SSLCertVerificationError" in names:
        message = (
            f"the certificate of {place} is not trusted here; set REQUESTS_CA_BUNDLE if a proxy signs it"
        )
        return Verdict(kind="fatal", message=message, sent=False)
    if names & _NOT_A_REQUEST:
        message = f"no request to {place} can be made ({type(error).__name__}); check its url and headers"
        return Verdict(kind="fatal", message=message, sent=False)
    if names & _NO_CONNECTION:
        message = f"cannot connect to {place} ({type(error).__name__}); check the address and the network"
        return Verdict(kind="transient", message=message, sent=False)
    if names & _TIMEOUTS:
        return Verdict(kind="transient", message=f"{place} gave no whole answer within {timeout:g} s")
    return Verdict(kind="transient", message=f"the connection to {place} broke ({type(error).__name__})")


def _usual(status: int, wait: float | None) -> Kind:
    """What a status means of which the description says nothing."""
    if status < 300:
        return "broken"
    asked_back = wait is not None and status >= 400 and status not in (401, 404)
    return "transient" if status >= 500 or asked_back else "fatal"


def _advice(description: Description, status: int, path: str) -> str:
    if 300 <= status < 400:
        return "it sends elsewhere; give that address as url"
    if status in (401, 403) and description.secrets:
        return f"check {' and '.join(description.secrets)}; {_CHECK}"
    if status in (404, 405):
        return f"the path asked was {path}: check the url of its description, or endpoint=, and the account; {_CHECK}"
    return f"check its description and the account; {_CHECK}"


def _find(path: Path | None, body: Json) -> Json:
    try:
        return None if path is None else path(body, body)
    except BrokenContract:
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, as `requests` and `urllib3` wrap."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        if isinstance(inner, BaseException):
            yield from _causes(inner)
