"""What adapters of services say: an SDK or a key is missing, a contract is broken, and no message has a secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final, TypeVar

from api_smoothing.adapters.base import Answer, Verdict
from api_smoothing.errors import CredentialsError, MissingExtraError

T = TypeVar("T")

_SHORTEST_SECRET: Final = 8
_LONGEST_NAME: Final = 1000  # characters; ImageNet's longest list of synonyms has 130
_TOLD: Final = re.compile(
    r"(?:try again|retry|come back|wait)\D{0,12}?\s"
    r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|sec|seconds?|m|min|minutes?)\b",
    re.IGNORECASE,
)


class BrokenContract(Exception):
    """A response that succeeded but does not have the provider's documented shape. Never a vote."""


class OtherWords(BrokenContract):
    """A model that may say anything named no class of this image. Never a vote; of another image it may name one."""


def name_of(value: object, what: str = "a label") -> str:
    """`value` as a name. Raises BrokenContract for what is no text, is empty, or is longer than any name."""
    if not isinstance(value, str) or not value.strip():
        raise BrokenContract(f"{what} has no name")
    if len(value) > _LONGEST_NAME:
        raise BrokenContract(f"{what} has a name of {len(value):,} characters")
    if any(
        "\ud800" <= sign <= "\udfff" for sign in value
    ):  # half a character: no file and no terminal takes it
        raise BrokenContract(f"{what} has a name that is no text")
    return value


def read_each(
    outputs: Iterable[T], read: Callable[[T], Answer | Verdict], verdict: Callable[[Exception], Verdict]
) -> list[Answer | Verdict]:
    """What each of a response's `outputs` says. One that cannot be read fails alone, by the `verdict` on its error.

    Raises BrokenContract when none of them can be read.
    """
    found: list[Answer | Verdict] = []
    broken: list[BrokenContract] = []
    for output in outputs:
        try:
            found.append(read(output))
        except BrokenContract as error:
            broken.append(error)
            found.append(verdict(error))
    if broken and len(broken) == len(found):
        raise broken[0]
    return found


def sdk(module: str, *, extra: str) -> Any:
    """Import a provider's SDK on first use. Raises MissingExtraError with the pip line."""
    try:
        return import_module(module)
    except ImportError as error:
        missing = (error.name or module).split(".")[0]
        raise MissingExtraError(
            f"{missing} is not installed; run: pip install 'api-smooth[{extra}]'"
        ) from None


def missing_credentials(
    provider: str, what: str, *, model: object = None, options: Mapping[str, Any] | None = None
) -> CredentialsError:
    """The error for credentials that are not there; `what` says which variables to set.

    `model` and `options` are those that the test it names needs to be about the same thing; no secrets. An option
    that is None was not given.
    """
    command = ["api-smooth", "providers", "check", provider]
    if model is not None:
        command += ["--model", str(model)]
    if given := as_flag({name: value for name, value in (options or {}).items() if value is not None}):
        command += ["--options", given]
    return CredentialsError(f"{what}; test it with: {shlex.join(command)}")


def as_flag(options: Mapping[str, Any]) -> str:
    """Options as `--options` takes them: "region=eu-west-1,only=Cat|Dog"."""
    return ",".join(f"{name}={_as_text(value)}" for name, value in options.items())


def _as_text(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    return "|".join(map(str, value)) + ("|" if len(value) == 1 else "")  # else it would be read as a text


def one_line(text: object, *, secrets: Iterable[str | None] = (), limit: int = 240) -> str:
    """`text` on one line, cut to `limit` characters, with every secret in it replaced.

    What is shorter than any key, such as the "x" that a local server is content with, is no secret: to take it out
    would make messages unreadable.
    """
    line = " ".join(str(text).split())
    for secret in secrets:
        if secret and len(secret) >= _SHORTEST_SECRET:
            line = line.replace(secret, "[secret]")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def seconds_told(text: str) -> float | None:
    """The wait that a message asks for in words, such as "try again in 1.5s"; None when it names none."""
    found = _TOLD.search(text)
    if found is None:
        return None
    unit = found[2].lower()
    scale = 0.001 if unit == "ms" or unit.startswith("milli") else 60.0 if unit[0] == "m" else 1.0
    return float(found[1]) * scale


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header in seconds, from either of its two forms; None when absent or unreadable."""
    if not retry_after:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", retry_after):
        return float(retry_after)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # a year of twenty digits
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None
