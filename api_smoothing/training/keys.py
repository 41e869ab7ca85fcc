"""What the keys of a recipe may hold: numbers within a range, names, a few words, tables of further keys."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_smoothing.errors import ConfigurationError

_PLAIN_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_TYPES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number of `kind` from `low` to `high`; `above`: not `low` itself, `below`: not `high`."""

    kind: type
    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is such a number."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return -math.inf < value < math.inf and low and high

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {self.high:g}"


@dataclass(frozen=True, slots=True)
class Name:
    """A text that names a file or folder of its own, and so has no path in it."""

    def __str__(self) -> str:
        return "a plain name of letters, digits and . _ - that begins with a letter or digit"


#: What a key holds: a number within its range, a name, a type, [one of these] for a list, a table of further keys, or
#: one of a few words. "?" at a key's end: it may be left out.
Keys = Mapping[str, "type | Number | Name | list[Any] | Keys | frozenset[str]"]


def check(table: object, keys: Keys, where: str) -> None:
    """Every key of `table` is known and holds what it should, and none is missing; `where` is its name and a dot."""
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where.removesuffix('.')} must be a table")
    needed = {key for key in keys if not key.endswith("?")}
    known = {key.removesuffix("?"): what for key, what in keys.items()}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigurationError(f"unknown key {where}{key}; {hint}")
        what = known[key]
        if isinstance(what, Mapping):
            check(value, what, f"{where}{key}.")
        elif isinstance(what, frozenset):
            if value not in sorted(what):
                raise ConfigurationError(f"{where}{key} is {value!r}; name {', '.join(sorted(what))}")
        elif isinstance(what, list):
            if not isinstance(value, list):
                raise ConfigurationError(f"{where}{key} must be a list, not {value!r}")
            for each in value:
                check_value(each, what[0], f"each of {where}{key}")
        else:
            check_value(value, what, f"{where}{key}")
    if missing := sorted(needed - set(table)):
        raise ConfigurationError(f"{where}{missing[0]} is missing; give it")


def check_value(value: object, what: type | Number | Name, where: str) -> None:
    """`value`, which `where` names, is what it should be."""
    if isinstance(what, Name):
        if not (isinstance(value, str) and _PLAIN_NAME.fullmatch(value)):
            raise ConfigurationError(f"{where} must be {what}, not {value!r}")
        return
    kind = what.kind if isinstance(what, Number) else what
    if not _is(value, kind):
        raise ConfigurationError(f"{where} must be {_TYPES[kind]}, not {value!r}")
    if isinstance(what, Number) and isinstance(value, int | float) and not what.holds(value):
        raise ConfigurationError(f"{where} must be {what}, not {value}")


def _is(value: object, what: type) -> bool:
    if isinstance(value, bool):
        return what is bool
    return isinstance(value, int | float if what is float else what)
