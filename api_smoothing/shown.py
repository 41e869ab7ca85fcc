r"""Text from outside as it is shown: what could forge a line, move the cursor or turn a sentence round is escaped.

Labels, messages, file and model names come from services and files that anyone may have written. Wherever they meet a
terminal, a log or a page, control characters, line breaks, marks of direction and whatever else has no shape of its own
stand as Python writes them: `\n`, `\x1b`, `\u202e`. Letters of every script, and spaces, stay.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})  # categories of Unicode
_SUSPECT = re.compile(r"[^\x20-\x7e]")

#: How keys begin, or else that they are one long word of letters and digits mixed.
_KEY: Final = re.compile(r"(AIza|AKIA|ASIA|ya29\.|sk-|Bearer )\S+|(?=\w*\d)(?=\w*[A-Za-z])[\w-]{24,}")


def shown(text: str) -> str:
    """`text` on one line, without a character that is not seen."""
    return _SUSPECT.sub(lambda found: _escaped(found[0]), text)


def shown_json(text: str) -> str:
    """JSON on one line, with the same characters in its strings written as JSON escapes: it reads back unchanged."""
    return _SUSPECT.sub(lambda found: _escaped_json(found[0]), text)


def is_hidden(character: str) -> bool:
    """Whether a character is escaped."""
    return unicodedata.category(character) in _HIDDEN


def as_shown(value: object) -> str:
    """A name or path that a user gave, to be told in a message, unless it is a key that was put in the wrong place."""
    return "(what looks like a key)" if _KEY.fullmatch(str(value).strip()) else str(value)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii") if is_hidden(character) else character


def _escaped_json(character: str) -> str:
    if not is_hidden(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
