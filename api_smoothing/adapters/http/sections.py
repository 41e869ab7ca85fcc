"""The sections of an endpoint's description: [limits], [request], [answer] and [errors]."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from api_smoothing.adapters.http.path import Path
from api_smoothing.adapters.http.schema import AnswerShape, ErrorShape, Json, Kind, Quota, RequestShape, bare
from api_smoothing.adapters.http.table import Table
from api_smoothing.adapters.http.template import names, wholes

_LIMITS: Final = (
    "batch", "max_labels", "native_side", "min_side", "max_side", "max_image_bytes", "max_request_bytes",
)  # fmt: skip
#: What a status means unless the description says otherwise.
_STATUSES: Final[Mapping[Kind, tuple[int, ...]]] = {
    "refused": (400, 413, 415, 422), "throttled": (429,), "transient": (408, 425), "fatal": (),
}  # fmt: skip


def limits_of(table: Table) -> tuple[dict[str, int], tuple[Quota, ...]]:
    """[limits]: the numbers of the card, and the quotas."""
    quotas = []
    for row in table.tables("quotas"):
        unit = cast(Literal["image", "request"], row.choice("unit", ("image", "request"), "image"))
        count = row.whole("count")
        if count is None:
            row.fail("count", "is missing")
        quotas.append(Quota(unit=unit, count=count, seconds=row.number("seconds", 1.0)))
        row.end()
    limits = {key: value for key in _LIMITS if (value := table.whole(key)) is not None}
    if limits.get("max_side", 1 << 30) < limits.get("min_side", 1):
        table.fail("max_side", "must not be below min_side")
    table.end()
    return limits, tuple(quotas)


def request_of(table: Table, batch: int) -> RequestShape:
    """[request], which must have a place for `batch` images."""
    image = table.choice("image", ("bytes", "base64", "data-url", "multipart"))
    shape = RequestShape(
        method=table.choice("method", ("POST", "PUT"), "POST"),
        image=image,
        body=_json(table, "body", needed=image in ("base64", "data-url")),
        item=_json(table, "item"),
        field=table.text("field", "image"),
        form=table.texts("form"),
    )
    table.end()
    if image == "bytes" and batch > 1:
        table.fail("image", f'= "bytes" sends one image a request, but limits.batch is {batch}')
    if image in ("bytes", "multipart") and (shape.body is not None or shape.item is not None):
        table.fail("body" if shape.body is not None else "item", f'does not go with image = "{image}"')
    if shape.form and image != "multipart":
        table.fail("form", f'does not go with image = "{image}"')
    if shape.body is not None:
        _check_places(table, shape, batch)
    return shape


def _check_places(table: Table, shape: RequestShape, batch: int) -> None:
    """Refuse a body that has no place for the images, or more than one kind of place."""
    placed = names(shape.body) & {"image", "images"}
    if placed == {"images"} and not wholes(shape.body, "images"):
        table.fail("body", "must hold {images} as a text of its own, which becomes the list")
    if placed != {"images"} and (batch > 1 or placed != {"image"}):
        table.fail("body", f"must hold {'' if batch > 1 else '{image} or '}{{images}} in one of its texts")
    if shape.item is not None and (
        placed != {"images"} or names(shape.item) & {"image", "images"} != {"image"}
    ):
        table.fail("item", "must hold {image}, and body {images}")


def _json(table: Table, key: str, *, needed: bool = False) -> Json:
    if not needed and not table.holds(key):
        return None
    try:
        return json.loads(table.text(key))
    except ValueError as error:
        table.fail(key, f'is not JSON ({error}); placeholders stand in quotes: "{{image}}"')


def answer_of(table: Table, values: Mapping[str, Any], batch: int) -> AnswerShape:
    """[answer], which must tell `batch` answers apart; `values` are the variables."""
    paths = {
        key: table.path(key)
        for key in ("answers", "name", "text", "ending", "score", "id", "parents", "error", "error_code")
    }
    name, text = paths["name"], paths["text"]
    classes = _classes(table, values)
    shape = AnswerShape(
        **paths,
        unfinished=_unfinished(table, paths["ending"]),
        score_scale=table.number("score_scale", 1.0),
        classes=classes,
        version=table.paths("version"),
    )
    table.end()
    if name is None and text is None:
        table.fail("name", "is missing")
    if name is not None and text is not None:
        table.fail("text", "does not go with name")
    if text is not None and classes is None:
        table.fail("classes", "is missing; free text is a label only if it is one of them")
    if batch > 1 and paths["answers"] is None:
        table.fail("answers", f"is missing; it says where the answers to {batch} images stand")
    if text is None and paths["ending"] is not None:
        table.fail("ending", "goes with text")
    for key in ("answers", "name", "text", "ending", "error", "error_code"):
        _check_depth(table, key, paths[key], (0, 1) if key in ("answers", "name") else (0,))
    depth = 0 if name is None else name.columns
    for key in ("score", "id", "parents"):
        if text is not None and paths[key] is not None:
            table.fail(key, "does not go with text")
        _check_depth(table, key, paths[key], (depth, depth + 1) if key == "parents" else (depth,))
    for path in shape.version:
        _check_depth(table, "version", path, (0,))
    return shape


def _unfinished(table: Table, ending: Path | None) -> tuple[str, ...]:
    reasons = table.take("unfinished", [])
    if not isinstance(reasons, list) or not all(isinstance(reason, str) and reason for reason in reasons):
        table.fail("unfinished", "must be a list of texts")
    if bool(reasons) != (ending is not None):
        table.fail(
            "unfinished", "goes with ending: where the reason stands, and which reasons make it no answer"
        )
    return tuple(reasons)


def _check_depth(table: Table, key: str, path: Path | None, depths: tuple[int, ...]) -> None:
    if path is not None and path.columns not in depths:
        table.fail(
            key, f"= {path.text!r} must have {' or '.join(map(str, depths))} of [*], not {path.columns}"
        )


def _classes(table: Table, values: Mapping[str, Any]) -> tuple[str, ...] | None:
    value = table.take("classes")
    if isinstance(value, str):
        check_names(table, "classes", value, set(values))
        value = values.get(value.strip("{}"), value)
    if value is None:
        return None
    named = isinstance(value, list) and all(isinstance(item, str) and bare(item) for item in value)
    if not named or not value:
        table.fail("classes", "must be a list of names, or a {variable} that holds one")
    if len({bare(item) for item in value}) < len(value):
        table.fail("classes", "has two names that differ only in case, quotes or full stops")
    return tuple(value)


def errors_of(table: Table) -> ErrorShape:
    """[errors], over the usual meanings of the statuses."""
    kinds: dict[int | str, Kind] = {}
    given: dict[int | str, Kind] = {}
    for kind, statuses in _STATUSES.items():
        kinds |= dict.fromkeys(statuses, kind)
        entries = table.take(kind, [])
        if not isinstance(entries, list) or not all(type(entry) in (int, str) for entry in entries):
            table.fail(kind, "must be a list of statuses and codes")
        for entry in entries:
            if entry in given:
                table.fail(kind, f"lists {entry!r}, which is {given[entry]} already")
            given[entry] = kind
    shape = ErrorShape(
        kinds=kinds | given,
        code=table.path("code"),
        message=table.path("message"),
        retry_after=table.text("retry_after", "Retry-After"),
    )
    table.end()
    return shape


def check_names(table: Table, key: str, template: Json, known: set[str]) -> None:
    """Refuse a {name} in `template` that is not known."""
    if unknown := names(template) - known:
        table.fail(
            key, f"has {{{min(unknown)}}}, which is no variable; known: {', '.join(sorted(known)) or 'none'}"
        )
