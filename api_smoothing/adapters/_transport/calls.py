"""The settings of a call to a service: one image, a place, a key, a time limit, and the account's rate."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from api_smoothing.adapters.base import EncodedImage, Quota
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def one_image(images: Sequence[EncodedImage] | Tensor) -> EncodedImage:
    """The image of a call to a service whose batch is 1. Raises ConfigurationError for anything else."""
    if len(images) != 1 or not isinstance(image := images[0], EncodedImage):
        raise ConfigurationError(f"this service takes one encoded image a call, not {len(images)}")
    return image


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises; TimeoutError once it has taken `seconds`.

    The timeouts of HTTP clients bound each wait for a byte, not the call: an answer that drips in would hold
    its caller for ever. The call runs in a thread of its own, which is left to its fate at the deadline.
    """
    outcome: Future[T] = Future()
    Thread(target=_run, args=(call, outcome), name="api-smooth-call", daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    finally:
        del outcome  # its exception holds this frame: together they would keep the image until a collection


def _run(call: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:
        outcome.set_exception(error)


def seconds_limit(timeout: float) -> float:
    """`timeout` if it is one. Raises ConfigurationError unless it is finite and above 0."""
    if not (math.isfinite(timeout) and timeout > 0):
        raise ConfigurationError(f"timeout is in seconds and above 0, not {timeout}")
    return float(timeout)


def rate_quota(rate: float | None, default: float) -> Quota:
    """The quota of an account that may send `rate` images a second, or `default` when None.

    Raises ConfigurationError unless the rate is finite and above 0.
    """
    rate = default if rate is None else rate
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigurationError(f"rate is in images per second and above 0, not {rate}")
    count = max(1, int(rate))
    return Quota(unit="image", count=count, seconds=count / rate)


def place(endpoint: str, *, named: str = "endpoint") -> str:
    """Host, port and path of an endpoint, to name it in fingerprints.

    Raises ConfigurationError unless `endpoint` is an http or https URL with a host and without a password; the
    setting is `named` in it, and not repeated.
    """
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or any(map(str.isspace, endpoint)):
        raise ConfigurationError(
            f"{named} must be a URL such as https://example.com, without user and password"
        )
    return parts.netloc + parts.path.rstrip("/")


def setting_of(value: str | None, variables: Sequence[str], option: str) -> str:
    """What to call a setting in messages: the variable that `value` comes from, or the option."""
    return next((name for name in variables if value and os.environ.get(name) == value), option)


def on_this_machine(endpoint: str | None) -> bool:
    """Whether a URL leads back here. No proxy can reach this machine's loopback, so none must be asked."""
    host = urlsplit(endpoint or "").hostname
    return host in ("127.0.0.1", "::1", "localhost")


def place_of(endpoint: str | None, *, own: Sequence[str]) -> str:
    """Where an endpoint is, for certificates.

    "" at one of the provider's `own` hosts or below one, "loopback" on this machine, else its host.
    """
    if endpoint is None:
        return ""
    address = endpoint if "://" in endpoint else f"//{endpoint}"
    if on_this_machine(address):
        return "loopback"
    host = urlsplit(address).hostname or ""
    return "" if any(host == name or host.endswith(f".{name}") for name in own) else host


def is_sendable(key: str) -> bool:
    """Whether `key` can travel in a header. A line break, often pasted along, ends in errors that quote the key."""
    return key.isascii() and key.isprintable() and " " not in key
