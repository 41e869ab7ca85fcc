"""What Azure's two SDKs share: an HTTP session, and a look at each response before an SDK sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from api_smoothing.adapters import BrokenContract, body_of, name_of, plain_session

#: Sends the bytes of one image; returns the tags, each with `name` and `confidence`, and the model version.
Ask: TypeAlias = Callable[[bytes], tuple[Any, Any]]


class StatusError(Exception):
    """Any HTTP status but 200. `response` is that of `requests`, its body read."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


def http_session(*, endpoint: str, tags_at: tuple[str, ...]) -> Any:
    """A `requests.Session` for 64 threads that sends nothing twice, not after a redirect either.

    `tags_at` is the way to the list of tags in the JSON of a success. The session raises StatusError or
    BrokenContract for any response but a success with that list, each tag whole, and a model version.

    Raises ConfigurationError where the environment names a proxy that cannot be one.
    """
    session = plain_session(endpoint, extra="azure")
    session.hooks["response"].append(partial(_look_at, tags_at=tags_at))
    return session


def _look_at(response: Any, *_: Any, tags_at: tuple[str, ...], **__: Any) -> None:
    """Raise unless the response is an answer.

    The SDKs make results of what is none: 4.0 reads `{"tagsResult": []}` as no tags; 3.2 reads an empty body as
    None, and raises a bare TypeError, without the status, for an error with an empty body.
    """
    body_of(response)  # whatever the status: that frees the connection
    if response.status_code != 200:
        raise StatusError(response)
    try:
        body = response.json()
    except (ValueError, RecursionError):
        raise BrokenContract("the response is not JSON") from None
    tags = body
    for key in tags_at:
        tags = tags.get(key) if isinstance(tags, dict) else None
    if not isinstance(tags, list):
        raise BrokenContract("the response has no list of tags")
    if not all(isinstance(tag, dict) and _is_tag(**tag) for tag in tags):
        raise BrokenContract("a tag of the response has no confidence in [0, 1]")
    for tag in tags:
        name_of(tag.get("name"), "a tag of the response")
    version = body.get("modelVersion")
    if not isinstance(version, str) or not version:
        raise BrokenContract("the response has no model version")


def _is_tag(*, confidence: Any = None, **_: Any) -> bool:
    return (
        isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0.0 <= confidence <= 1.0
    )
