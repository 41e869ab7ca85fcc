"""What a data set calls a class: names as they stand, numbers through its own list of names."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api_smoothing.errors import ConfigurationError

#: Class names by number; empty where the data set has none.
Names = Mapping[int, str]


def names_in(given: Sequence[str] | Mapping[int, str] | str | Path | None) -> Names:
    """Class names by number, from 0 on: of a list, a mapping, or a UTF-8 file with one a line.

    Raises ConfigurationError for a file that cannot be read, and for names that are empty or there twice.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        names = dict(sorted((_number(key), name) for key, name in given.items()))
    else:
        names = dict(enumerate(_lines(Path(given)) if isinstance(given, str | Path) else given))
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"class {number} must have a name, not {name!r}")
    (name, count), *_ = Counter(names.values()).most_common(1) or [("", 0)]
    if count > 1:
        raise ConfigurationError(f"{count} classes are called {name!r}: give each its own name")
    return names


def truth_of(value: Any, numbered: Names, where: str) -> str | None:
    """The label `value` (text, a whole number, an array of one, or None) as text; a number by its name, if any.

    Empty text and −1, the usual mark of what has no label, are None. Raises ConfigurationError naming `where` for
    a number without a name where there are names, and for what is neither text nor number.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        text = value.strip()
        is_number = text.isascii() and text.removeprefix("-").isdigit()
        if not (is_number and numbered) or text in numbered.values():
            return None if text in ("", "-1") else text
        value = int(text)
    if value is None:
        return None
    number = _whole(value)
    if number is None:
        raise ConfigurationError(
            f"{where}: {str(value)[:40]!r} is no label: labels are names or whole numbers"
        )
    if number == -1:
        return None
    if numbered and number not in numbered:
        first, last = min(numbered), max(numbered)
        raise ConfigurationError(f"{where}: label {number} has no name: there are those of {first} to {last}")
    return numbered.get(number, str(number))


def _number(key: Any) -> int:
    try:
        return int(key)
    except (TypeError, ValueError):
        raise ConfigurationError(f"classes are named by their numbers, not by {key!r}") from None


def _whole(value: Any) -> int | None:
    """The whole number that `value` is, or None."""
    try:
        if getattr(value, "ndim", 0):
            value = value.item()  # of one element, else it raises
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}): name a file of classes"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8 text: save it as UTF-8, one class name a line") from None
