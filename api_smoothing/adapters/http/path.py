"""Where a value stands in a JSON answer: `answers[*].labels[0].name`.

Query languages such as JMESPath and JSONPath read a missing key as nothing, and drop nulls from lists. Here that
would turn a broken answer into "no labels", or give one label another's score, so a path is strict: whatever it
names must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from api_smoothing.adapters import BrokenContract

_STEP = re.compile(
    r"""(?P<each>\[\*\]) | (?P<keys>\[~\]) | \[(?P<index>-?\d+)\] | \["(?P<quoted>[^"]+)"\]
        | (?:^|\.) (?P<key>[^.\[\]"?*$~\s]+)""",
    re.VERBOSE,
)


class _Every(Enum):
    ITEM = "[*]"
    KEY = "[~]"


@dataclass(frozen=True, slots=True)
class _Step:
    """One step: into a list by its number, into an object by its key, or into every item or key of either."""

    text: str
    at: str | int | _Every
    optional: bool


@dataclass(frozen=True, slots=True)
class Path:
    """A path into a JSON document.

    Steps are `key` or `["any key"]` of an object, `[0]` or `[-1]` of a list, `[*]` for each item of a list or
    each value of an object, and `[~]` for each key of an object. `key?` may be absent or null; the path then
    gives None there. A path that begins with `$.` starts from the whole document, wherever it is used.
    """

    text: str
    steps: tuple[_Step, ...]
    rooted: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path. Raises ValueError when it is none."""
        start = re.match(r"\$(\.|(?=\[)|$)", text)
        rooted, rest = start is not None, text[start.end() :] if start else text
        steps: list[_Step] = []
        position = 0
        while position < len(rest):
            found = _STEP.match(rest, position)
            if found is None:
                raise ValueError(f"{text!r} is no path at {rest[position:]!r}; write it like answers[*].name")
            position = found.end()
            optional = rest[position : position + 1] == "?"
            if optional and (found["each"] or found["keys"]):
                raise ValueError(f"{text!r} has a ? behind {found[0]}; put it behind the list's own key")
            position += optional
            steps.append(_Step(text=found[0], at=_target(found), optional=optional))
        if not steps and not rooted:
            raise ValueError("a path must not be empty; $ is the whole answer")
        return cls(text=text, steps=tuple(steps), rooted=rooted)

    @property
    def optional(self) -> bool:
        """Whether any of its steps may be absent."""
        return any(step.optional for step in self.steps)

    @property
    def columns(self) -> int:
        """How deeply what it gives is nested in lists: the number of its `[*]` and `[~]`."""
        return sum(isinstance(step.at, _Every) for step in self.steps)

    @property
    def keyed(self) -> bool:
        """Whether it gives the keys of an object, which says that an object belongs there."""
        return any(step.at is _Every.KEY for step in self.steps)

    def __call__(self, document: Any, here: Any, *, keyed: bool = False) -> Any:
        """The value at this path from `here`, or from `document` if rooted. Raises BrokenContract when absent.

        An empty object has an item for `[*]` no more than an empty list has. It stands for one only where objects
        belong, as they do in a path beside one that is `keyed`.
        """
        return _follow(document if self.rooted else here, self.steps, "", keyed or self.keyed)


def _target(found: re.Match[str]) -> str | int | _Every:
    if found["each"]:
        return _Every.ITEM
    if found["keys"]:
        return _Every.KEY
    return int(found["index"]) if found["index"] else str(found["key"] or found["quoted"])


def _follow(value: Any, steps: tuple[_Step, ...], trail: str, keyed: bool) -> Any:
    for done, step in enumerate(steps, 1):
        if isinstance(step.at, _Every):
            items = _items(value, step.at, trail, keyed)
            return [_follow(item, steps[done:], f"{trail}[{i}]", keyed) for i, item in enumerate(items)]
        trail += step.text
        holds, value = _get(value, step.at)
        if value is None:
            if holds and step.optional:
                return None
            raise BrokenContract(f"the answer has no {trail.lstrip('.')}")
    return value


def _items(value: Any, every: _Every, trail: str, keyed: bool) -> list[Any]:
    if isinstance(value, dict) and (value or keyed):
        return list(value if every is _Every.KEY else value.values())
    if isinstance(value, list) and every is _Every.ITEM:
        return value
    kind = "list" if every is _Every.ITEM else "object"
    raise BrokenContract(f"{trail.lstrip('.') or 'the answer'} is no {kind}")


def _get(value: Any, at: str | int) -> tuple[bool, Any]:
    """Whether `value` is what `at` leads into, and what is there; None where nothing is."""
    if isinstance(at, str):
        return isinstance(value, dict), value.get(at) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return False, None
    return True, value[at] if -len(value) <= at < len(value) else None
