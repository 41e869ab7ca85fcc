"""Placeholders in a description: `{name}` for an image or a variable, `${NAME}` for a value of the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from api_smoothing.adapters.http.schema import Json
from api_smoothing.adapters.http.table import Table

_PLACEHOLDER = re.compile(r"\$\{(?P<secret>[A-Za-z_]\w*)\}|\{(?P<value>[a-z_]\w*)\}", re.ASCII)


def fill(template: Json, values: Mapping[str, Any], secrets: Mapping[str, str]) -> Json:
    """`template` with every placeholder in its strings replaced.

    A string that is one `{name}` and nothing else becomes the value itself, of any type; inside a longer string
    a list is written as "a, b, c". What is put in is not searched for placeholders again.
    """
    if isinstance(template, dict):
        return {key: fill(item, values, secrets) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, values, secrets) for item in template]
    if not isinstance(template, str):
        return template
    whole = _PLACEHOLDER.fullmatch(template)
    if whole and whole["value"]:
        return values[whole["value"]]
    return fill_text(template, values, secrets)


def fill_text(template: str, values: Mapping[str, Any], secrets: Mapping[str, str]) -> str:
    """`fill` for what must stay a string."""

    def replace(found: re.Match[str]) -> str:
        value = secrets[found["secret"]] if found["secret"] else values[found["value"]]
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return _PLACEHOLDER.sub(replace, template)


def names(template: Json) -> set[str]:
    """The names of all `{name}` in `template`."""
    return {found["value"] for found in _placeholders(template) if found["value"]}


def wholes(template: Json, name: str) -> bool:
    """Whether every `{name}` in `template` is a text of its own."""
    return all(found.string == found[0] for found in _placeholders(template) if found["value"] == name)


def secret_names(template: Json) -> set[str]:
    """The names of all `${NAME}` in `template`."""
    return {found["secret"] for found in _placeholders(template) if found["secret"]}


def _placeholders(template: Json) -> Iterator[re.Match[str]]:
    if isinstance(template, str):
        yield from _PLACEHOLDER.finditer(template)
    elif isinstance(template, dict | list):
        for item in template.values() if isinstance(template, dict) else template:
            yield from _placeholders(item)


def variables(table: Table, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the variables: the options given, else the defaults, which may be empty."""
    values: dict[str, Any] = {}
    for key, default in table.rest().items():
        if not re.fullmatch(r"[a-z_]\w*", key, re.ASCII) or key in ("image", "images"):
            table.fail(key, "needs another name: small letters, digits and _, and not image")
        if not isinstance(default, str | int | float | list):
            table.fail(key, "must be a text, a number or a list of texts")
        given = options.get(key)
        value = default if given is None else _like(default, given)
        if value is None:
            table.fail(key, f"must be like {default!r}, not {given!r}")
        values[key] = value
    for key in options:
        if key not in values:
            table.fail(key, f"is unknown but was given as an option; there is {', '.join(values) or 'none'}")
    return values


def _like(default: Any, given: Any) -> Any:
    """`given` as the kind of value its default is, None if it is not: a text may hold a number, or a list's items."""
    if isinstance(default, list):
        items = given.split(",") if isinstance(given, str) else list(given)
        return [item.strip() for item in items] if all(isinstance(item, str) for item in items) else None
    if isinstance(given, type(default)) and not (isinstance(given, bool) and not isinstance(default, bool)):
        return given
    if isinstance(default, float) and isinstance(given, int):
        return float(given)
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(str(given).lower())
    try:
        return type(default)(given) if isinstance(given, str) and not isinstance(default, bool) else None
    except ValueError:
        return None
