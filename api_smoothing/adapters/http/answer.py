"""What the body of an answer says, read as its description tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from api_smoothing.adapters import (
    Answer,
    BrokenContract,
    Label,
    OtherWords,
    Verdict,
    name_of,
    one_line,
    read_each,
)
from api_smoothing.adapters.http.path import Path
from api_smoothing.adapters.http.schema import Description, Json, bare

#: Of a name in an open vocabulary, between commas (ImageNet's are lists of synonyms, of up to five words each).
_MOST_WORDS, _LONGEST = 8, 100  # words, characters
_ROUNDING = 1e-6  # a score this far above 1 is one that was rounded up, not one on another scale


def parse(body: bytes) -> Json:
    """The JSON in `body`. Raises BrokenContract for anything else, NaN and infinities included."""
    try:
        return json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        found = "HTML" if body.lstrip()[:1] == b"<" else "not JSON" if body else "empty"
        raise BrokenContract(f"the answer is {found}") from None


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def read(
    description: Description, document: Json, count: int, verdict: Callable[[Exception], Verdict]
) -> list[Answer | Verdict]:
    """The answers to `count` images, in order. One that cannot be read fails alone, by the `verdict` on its error.

    Raises BrokenContract when they cannot be told apart, or none of them can be read.
    """
    where = description.answer.answers
    items = [document] if where is None else where(document, document)
    if not isinstance(items, list):
        raise BrokenContract(f"{where.text if where else 'the answer'} is no list")
    if len(items) != count:
        raise BrokenContract(f"the answer is to {len(items)} images, not to {count}")

    def one(item: Json) -> Answer | Verdict:
        return _failure(description, document, item) or _answer(description, document, item)

    return read_each(items, one, verdict)


def _failure(description: Description, document: Json, item: Json) -> Verdict | None:
    """The verdict on an image the provider failed on, or None where it did not."""
    shape = description.answer
    reported = None if shape.error is None else shape.error(document, item)
    if not reported:  # some services always have the field, false or empty where nothing is wrong
        return None
    code = None if shape.error_code is None else shape.error_code(document, item)
    kind = description.errors.kinds.get(code, "refused") if isinstance(code, int | str) else "refused"
    return Verdict(
        kind=kind, message=one_line(f"{description.name} gives no answer about this image: {reported}")
    )


def _answer(description: Description, document: Json, item: Json) -> Answer:
    shape = description.answer
    labels = _chosen(description, document, item) if shape.text else _listed(description, document, item)
    most = description.limits.get("max_labels")
    if most is not None and len(labels) > most:
        raise BrokenContract(f"the answer has {len(labels)} labels, but limits.max_labels is {most}")
    parts = [_plain(path(document, item), "model version") for path in shape.version]
    return Answer(labels=labels, model_version="+".join(part for part in parts if part) or None)


def _chosen(description: Description, document: Json, item: Json) -> tuple[Label, ...]:
    """The class that the free text names. One that names none does not say that nothing is there: BrokenContract."""
    shape = description.answer
    assert shape.text is not None
    assert shape.classes is not None
    reported = shape.text(document, item)
    if not isinstance(reported, str):
        raise BrokenContract(f"{shape.text.text} is no text")
    ending = None if shape.ending is None else shape.ending(document, item)
    if ending in shape.unfinished:
        raise BrokenContract(f"the answer ends with {ending!r}: it was cut off or kept back")
    if not bare(reported):
        raise BrokenContract(f"{shape.text.text} is empty")
    found = tuple(Label(name=name) for name in shape.classes if bare(name) == bare(reported))
    if not found:
        raise OtherWords(f"the answer {_quoted(reported)} is none of answer.classes")
    return found


def _listed(description: Description, document: Json, item: Json) -> tuple[Label, ...]:
    """The labels whose names, scores, ids and parents stand in columns of the same length."""
    shape = description.answer
    assert shape.name is not None
    listed, keyed = shape.name.columns > 0, shape.name.keyed

    def column(path: Path | None, count: int | None = None) -> list[Any]:
        found = None if path is None else path(document, item, keyed=keyed)
        if found is None:  # no such path, or one that may be absent
            return [None] * (count or 0)
        values = found if listed else [found]
        if count is not None and len(values) != count:
            raise BrokenContract(
                f"the answer has {count} names but {len(values)} of {path.text if path else ''}"
            )
        return list(values)

    names = column(shape.name)
    scores, ids, parents = (column(path, len(names)) for path in (shape.score, shape.id, shape.parents))
    return tuple(
        Label(
            name=_name(name, shape.classes),
            score=None if shape.score is None else _score(score, shape.score_scale),
            id=_plain(id, "id of a label"),
            parents=_parents(above),
        )
        for name, score, id, above in zip(names, scores, ids, parents, strict=True)
    )


def _name(value: Json, classes: tuple[str, ...] | None) -> str:
    name = name_of(value)
    if classes is not None and name not in classes:
        raise BrokenContract(
            f"the answer has label {one_line(name, limit=40)!r}, which is not in answer.classes"
        )
    if classes is None and any(map(_is_prose, name.split(","))):
        raise BrokenContract(f"the label {_quoted(name)} is a text, not a name")
    return name


def _quoted(text: str) -> str:
    """In quotation marks that it does not hold itself, so that two such messages are seen to have one reason."""
    return f"“{one_line(text, limit=40).replace('”', '')}”"


def _is_prose(part: str) -> bool:
    """Whether what stands between commas is longer than a name."""
    return len(part) > _LONGEST or len(part.split()) > _MOST_WORDS


def _score(value: Json, scale: float) -> float:
    if value is None:
        raise BrokenContract("a label has no score")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BrokenContract("a score is no number")
    if not 0 <= value <= scale * (1 + _ROUNDING):
        raise BrokenContract(
            f"a score is {str(value)[:20]}, outside 0 to {scale:g}; check answer.score_scale"
        )
    return min(value / scale, 1.0)


def _parents(value: Json) -> tuple[str, ...]:
    above = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(above, list) or not all(isinstance(name, str) and name for name in above):
        raise BrokenContract("the parents of a label are no names")
    return tuple(above)


def _plain(value: Json, what: str) -> str | None:
    """An id or a version, which may be a text or a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise BrokenContract(f"the {what} is neither a text nor a number")
    return str(value)
