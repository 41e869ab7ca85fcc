"""What a function or network returned for a batch of images, read as labels and their scores, a row an image."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from api_smoothing.errors import ConfigurationError, ProviderError

#: What the numbers are. "logits" are turned into probabilities by softmax, "probabilities" are in [0,1] and need not
#: sum to 1, "labels" are class numbers or names.
Outputs: TypeAlias = Literal["logits", "probabilities", "labels"]

#: The labels of one image with their probabilities, best first; None where its scores are no numbers.
Row: TypeAlias = tuple[tuple[str, float | None], ...] | None

SAY: Final = 'say what they are: outputs="logits", "probabilities" or "labels"'
SAY_SCALE: Final = 'its scores may be probabilities or not: say outputs="logits" or "probabilities"'
KEPT_SCORES: Final = (
    "answers kept earlier hold other scores or fewer labels: clear them (api-smooth cache clear)"
)
_NEAR: Final = 1e-3  # how far probabilities may be off: those of a net in half precision


def checked_outputs(outputs: str | None) -> Outputs | None:
    """`outputs`, if there is such a kind. Raises ConfigurationError."""
    for kind in get_args(Outputs):
        if outputs == kind:
            return kind  # type: ignore[no-any-return]
    if outputs is not None:
        raise ConfigurationError(f"outputs={outputs!r} is unknown; choose {', '.join(get_args(Outputs))}")
    return None


def checked_top(top: Any) -> int:
    """`top`, a whole number from 1 on. Raises ConfigurationError."""
    try:
        number = operator.index(top)
    except TypeError:
        number = 0
    if number < 1 or isinstance(top, bool):
        raise ConfigurationError(f"top, the number of labels in an answer, must be from 1 on, not {top!r}")
    return number


def names_of(given: Any) -> tuple[str, ...] | None:
    """Class names in the order of the outputs, from a sequence, an array, or a mapping from class numbers.

    Raises ConfigurationError for names that are empty or no text, and for numbers that leave gaps.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        try:
            given = [{int(number): name for number, name in given.items()}[i] for i in range(len(given))]
        except (KeyError, ValueError, TypeError):
            raise ConfigurationError("class_names must name every class number from 0 on") from None
    if isinstance(given, str | bytes):
        raise ConfigurationError(f"class_names must be a list of names, one a class, not {given!r}")
    names = tuple(given)
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"class {number} has the name {name!r}; a class name is a non-empty str")
    return tuple(map(str, names))


def content(returned: Any) -> Any:
    """The scores or labels in what a model returned: its `logits`, or the one table of scores in a tuple or dict.

    Raises ProviderError where several could be meant.
    """
    if isinstance(returned, Mapping):
        if "logits" in returned:
            return returned["logits"]
        return _only(list(returned.values()), "a dict", 'the key "logits"')
    logits = getattr(returned, "logits", None)
    if logits is not None and not callable(logits):
        return logits
    if isinstance(returned, tuple) and any(_dimensions(part) > 1 for part in returned):
        return _only(list(returned), "a tuple", "the scores alone")
    return returned


def read(returned: Any, outputs: Outputs | None, who: str) -> NDArray[Any] | list[Any]:
    """(N, classes) scores, or N labels as a list. Raises ProviderError, in one line, for what is neither."""
    table = _table(content(returned), who)
    if isinstance(table, list):
        if outputs not in ("logits", "probabilities"):
            return table
        if not all(isinstance(number, float) for number in table):
            raise ProviderError(f"{who} returned labels where outputs={outputs!r} was said")
        table = np.asarray(table)
    return _column(table, who) if outputs == "labels" else _two_columns(table, outputs, who)


def rows_of(
    table: NDArray[Any] | list[Any],
    names: Sequence[str] | None,
    *,
    top: int,
    outputs: Outputs | None,
    who: str,
) -> list[Row]:
    """The rows of what `read` read. Raises ProviderError, or ConfigurationError for too few names."""
    if isinstance(table, list):
        return [_label(label, names, who) for label in table]
    if names is not None and len(names) < table.shape[1]:
        raise ConfigurationError(
            f"the model has {table.shape[1]} classes but {len(names)} class names were given; name them all"
        )
    return _ranked(table, names, top=top, outputs=outputs, who=who)


def _ranked(
    scores: NDArray[Any], names: Sequence[str] | None, *, top: int, outputs: Outputs | None, who: str
) -> list[Row]:
    """The `top` best classes of each row of (N, classes) scores, best first; of equal scores, the first class.

    The score of a label is a probability. Where `outputs` does not say what the numbers are, a row of numbers
    in [0,1] with sum 1 is of probabilities and one that leaves [0,1] is of logits; of any other only the order
    can be told: its labels have no score.
    """
    exact = scores.astype(np.float64)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(exact).all(1))
    shares, known = _probabilities(np.where(finite[:, None], exact, 0.0), outputs, who)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :top].tolist()
    return [
        tuple((str(j) if names is None else names[j], float(share[j]) if sure else None) for j in best)
        if sound
        else None
        for best, share, sure, sound in zip(order, shares, known, finite, strict=True)
    ]


def _probabilities(scores: NDArray[np.float64], outputs: Outputs | None, who: str) -> tuple[Any, Any]:
    """(probabilities (N, classes), whether each row is known to be those)."""
    inside = ((scores >= -_NEAR) & (scores <= 1 + _NEAR)).all(1)
    sums_to_1 = inside & (abs(scores.sum(1) - 1) <= _NEAR)
    if outputs == "probabilities" and not inside.all():
        raise ProviderError(
            f'{who} returned numbers outside [0,1], which are no probabilities; say outputs="logits"'
        )
    if outputs == "logits" and len(scores) and sums_to_1.all():
        raise ProviderError(f'{who} returned probabilities, not logits; say outputs="probabilities"')
    e = np.exp(scores - scores.max(1, keepdims=True))
    softmax, as_they_are = e / e.sum(1, keepdims=True), scores.clip(0, 1)
    if outputs is not None:
        return (softmax if outputs == "logits" else as_they_are), np.full(len(scores), True)
    return np.where(sums_to_1[:, None], as_they_are, softmax), sums_to_1 | ~inside


def _table(returned: Any, who: str) -> NDArray[Any] | list[Any]:
    """(N, …) numbers as an array, anything else as a list of N labels."""
    found = _array(returned)
    if found is None:
        rows = _rows(returned, who)
        if not any(isinstance(row, list | tuple) or _dimensions(row) for row in rows):
            return rows
        try:
            found = np.stack([_array(row) if hasattr(row, "__array__") else np.asarray(row) for row in rows])  # type: ignore[misc]
        except (ValueError, TypeError):
            raise ProviderError(
                f"{who} returned rows of different kinds or lengths; scores are (N, classes)"
            ) from None
    if found.dtype.kind not in "biuf":
        if found.shape[1:] not in ((), (1,)):
            raise ProviderError(f"{who} returned text of shape {found.shape}; return a label an image")
        return list(found.reshape(-1).tolist())
    if found.ndim not in (1, 2):
        raise ProviderError(
            f"{who} returned shape {found.shape}; a classifier returns (N, classes) scores, or N labels"
        )
    if found.dtype.kind in "iu" and found.shape[1:] in ((), (1,)):
        return list(found.reshape(-1).tolist())
    return found


def _rows(returned: Any, who: str) -> list[Any]:
    try:
        rows = [] if isinstance(returned, str | bytes | Set) else list(returned)
    except TypeError:
        rows = []
    if not rows:
        raise ProviderError(
            f"{who} returned a {type(returned).__name__}; return a label an image, or scores (N, classes)"
        )
    return rows


def _array(value: Any) -> NDArray[Any] | None:
    """A tensor or anything else that shows itself as an array; None for other things."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return np.asarray(value.numpy())
    return np.asarray(value) if hasattr(value, "__array__") else None


def _two_columns(table: NDArray[Any], outputs: Outputs | None, who: str) -> NDArray[Any]:
    """(N, classes) scores. Of one number an image only the user can tell that it is that of class 1 of two."""
    if table.ndim == 2 and table.shape[1] > 1:
        return table
    one = table.reshape(len(table), -1).astype(np.float64)
    if outputs is None or one.shape[1] != 1:
        raise ProviderError(
            f"{who} returned shape {table.shape}, one number an image; if it is the score of class 1 of two, say "
            'outputs="probabilities" or outputs="logits", if a class number, outputs="labels"'
        )
    return np.concatenate([1 - one if outputs == "probabilities" else 0 * one, one], axis=1)


def _column(table: NDArray[Any], who: str) -> list[Any]:
    """Class numbers from floats that are whole, (N,) or (N,1)."""
    if table.ndim == 2 and table.shape[1] != 1:
        raise ProviderError(
            f'{who} returned shape {table.shape} where outputs="labels" means a label an image'
        )
    flat = table.reshape(-1)
    if table.dtype.kind == "b" or not (np.isfinite(flat) & (flat == np.floor(flat))).all():
        raise ProviderError(
            f'{who} returned {flat[:3].tolist()} where outputs="labels" means class numbers or names'
        )
    return [int(number) for number in flat]


def _label(label: Any, names: Sequence[str] | None, who: str) -> Row:
    if label is None:
        return ()
    if isinstance(label, str) and label.strip():
        return ((str(label), None),)
    if _array(label) is not None:
        label = label.item()
    if isinstance(label, int) and not isinstance(label, bool):
        if label < 0 or (names is not None and label >= len(names)):
            known = "" if names is None else f" and below the {len(names)} class_names"
            raise ProviderError(
                f"{who} returned the class number {label}, which is out of range; they are from 0 on{known}, and "
                "None is for no label"
            )
        return ((str(label) if names is None else names[label], None),)
    raise ProviderError(
        f"{who} returned {label!r}; a label is a non-empty str, an int, or None; of scores, {SAY}"
    )


def _only(parts: list[Any], kind: str, instead: str) -> Any:
    tables = [part for part in parts if _dimensions(part) == 2]
    if len(tables) != 1:
        raise ProviderError(
            f"the model returned {kind} with {len(tables)} tables (N, classes); return {instead}"
        )
    return tables[0]


def _dimensions(part: Any) -> int:
    dimensions = getattr(part, "ndim", 0)
    return dimensions if isinstance(dimensions, int) else 0
