"""The description of a JSON endpoint, read from a TOML file and checked in full before anything is sent."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path as File
from typing import Any, Final
from urllib.parse import quote, urlsplit

from api_smoothing.adapters.http.schema import Description
from api_smoothing.adapters.http.sections import answer_of, check_names, errors_of, limits_of, request_of
from api_smoothing.adapters.http.table import Table
from api_smoothing.adapters.http.template import fill_text, secret_names, variables
from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.shown import as_shown

_IMAGES: Final = ("request.body", "request.item")
#: What changes no answer.
_UNDECISIVE: Final = ("usd_per_query", "end_of_life", "plain_http")
_SECRET: Final = re.compile(r"authorization$|cookie$|(^|[-_])(key|token|secret|password|sig)$|apikey$", re.I)


def shipped() -> list[str]:
    """The names of the descriptions in this package."""
    entries = (resources.files("api_smoothing.adapters.http") / "endpoints").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def describe(
    source: str | File | None,
    options: Mapping[str, Any],
    usd_per_query: float | None = None,
    version_at: str | Sequence[str] | None = None,
) -> Description:
    """The description at a path ending in .toml, or the shipped one of that name; `options` set its variables.

    `version_at` takes the place of answer.version.

    Raises ConfigurationError, one line with the file and the key, when anything in it cannot be meant.
    """
    if source is None:
        raise ConfigurationError(
            f"http needs a model (--model, in Python model=): the path of a .toml that describes the endpoint, or "
            f"one of {', '.join(shipped())}"
        )
    content = _content(source)
    if version_at is not None and isinstance(answer := content.get("answer"), dict):
        paths = [version_at] if isinstance(version_at, str) else list(version_at)
        content["answer"] = {**answer, "version": paths}
    top = Table(content, file=str(source))
    values = variables(top.table("variables"), options)
    _check_given(top, values, content.get("usd_per_query") == "unknown" and usd_per_query is None)
    limits, quotas = limits_of(top.table("limits"))
    batch = limits.get("batch", 1)
    headers, query = top.texts("headers"), top.texts("query")
    for key, value in [*headers.items(), *query.items()]:
        if _SECRET.search(key) and not secret_names(value):
            part = "headers" if key in headers else "query"
            top.fail(f"{part}.{key}", "must not stand in the file: write ${NAME}")
    request = request_of(top.table("request"), batch)
    sent = {"headers": headers, "query": query, "request.form": dict(request.form),
            "request.body": request.body, "request.item": request.item}  # fmt: skip
    for key, template in sent.items():
        check_names(top, key, template, {*values, *(("image", "images") if key in _IMAGES else ())})
    description = Description(
        name=top.text("name"),
        url=_url(top, values),
        headers=headers,
        query=query,
        variables=values,
        secrets=tuple(sorted(secret_names(sent))),
        request=request,
        answer=answer_of(top.table("answer"), values, batch),
        errors=errors_of(top.table("errors")),
        limits=limits,
        quotas=quotas,
        usd_per_query=_price(top, usd_per_query),
        end_of_life=_date(top),
        plain_http=_hosts(top),
        digest=_digest(content, values),
    )
    top.end()
    return description


def secrets_of(source: str | File) -> tuple[str, ...]:
    """The environment variables that the description at `source` takes values from."""
    return tuple(sorted(secret_names(_content(source))))


def url_problem(url: str) -> str | None:
    """What is wrong with an address, or None. It is not repeated, as it may hold a secret."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() for c in url):
        return "must be an address like https://host/path"
    if parts.query or parts.fragment:
        return "must end before the ?; what follows it goes under [query]"
    if "@" in parts.netloc:
        return "must not hold a user or a password; use an Authorization header"
    return None


def _content(source: str | File) -> dict[str, Any]:
    if File(source).suffix == ".toml":
        try:
            text = File(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(f"cannot read {as_shown(source)}: {reason}") from None
    elif str(source) in shipped():
        text = (resources.files("api_smoothing.adapters.http") / "endpoints" / f"{source}.toml").read_text(
            "utf-8"
        )
    else:
        raise ConfigurationError(
            f"{unknown('endpoint', as_shown(source), [*shipped()])} Or give the path of a .toml file"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is not valid TOML: {error}") from None


def _url(top: Table, values: Mapping[str, Any]) -> str:
    url = top.text("url")
    check_names(top, "url", url, set(values))
    if secret_names(url):
        top.fail("url", "must not hold a ${NAME}; put it under [query] or [headers]")
    url = fill_text(url, {name: quote(str(value), safe="") for name, value in values.items()}, {})
    if problem := url_problem(url):
        top.fail("url", problem)
    return url


def _check_given(top: Table, values: Mapping[str, Any], priceless: bool) -> None:
    """Refuse empty variables, and an unknown price that nobody gives, all at once."""
    missing = {name: value for name, value in values.items() if value in ("", [])}
    keys = [f"variables.{name}" for name in missing]
    options = [f"{name}={'FIRST|SECOND|…' if value == [] else '…'}" for name, value in missing.items()]
    about = ""
    if priceless:
        keys, options = [*keys, "usd_per_query"], [*options, "usd_per_query=…"]
        about = "; usd_per_query is what one image costs in USD, 0 on your own server"
    if keys:
        add = f"add --options '{','.join(options)}' (in Python keyword arguments)"
        top.fail(" and ".join(keys), f"must be given: {add}{about}")


def _price(top: Table, given: float | None) -> float | None:
    stated = top.take("usd_per_query", None)
    price = stated if given is None else given
    return None if price is None else top.checked_number("usd_per_query", price, zero=True)


def _date(top: Table) -> str | None:
    value = top.take("end_of_life")
    if value is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
        top.fail("end_of_life", f"must be a date like 2028-09-25, not {value!r}")
    return None if value is None else str(value)


def _hosts(top: Table) -> tuple[str, ...]:
    hosts = top.take("plain_http", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) and host for host in hosts):
        top.fail("plain_http", "must be a list of hosts")
    return tuple(hosts)


def _digest(content: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Not of prices, quotas and what keeps a text from being read: none of them changes an answer that was kept."""
    decides = {key: value for key, value in content.items() if key not in _UNDECISIVE}
    if isinstance(shape := content.get("answer"), dict):
        decides["answer"] = {key: v for key, v in shape.items() if key not in ("ending", "unfinished")}
        if "text" in shape:  # not to be mixed with answers for which any text was kept as "no labels"
            decides["answer"]["only"] = "classes"
    decides["limits"] = {key: value for key, value in content.get("limits", {}).items() if key != "quotas"}
    text = json.dumps([decides, values], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
