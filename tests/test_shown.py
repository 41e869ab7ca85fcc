"""Text from outside, on its way to a terminal, a log or a page."""

from __future__ import annotations

import json
import unicodedata

import pytest

from api_smoothing.errors import ProviderError
from api_smoothing.shown import as_shown, shown, shown_json

FORGED = "cat\n  radius    9.9999\r\x1b[2Jdog\x9b2J\u202efish\u2028\u2066\ud83d\x7f"


@pytest.mark.parametrize("text", ["cat", "Å 猫 mèo حيوان", "a  b\u00a0c\u202fd", "🦊", "C:\\new\\table", ""])
def test_letters_and_spaces_stay(text: str) -> None:
    """What is seen is shown as it is, in every script."""
    assert shown(text) == text
    assert shown_json(text) == text


def test_nothing_that_is_not_seen_gets_out() -> None:
    """Every character without a shape of its own is escaped, each on its own, and the line stays one."""
    found = shown(FORGED)
    assert found == "cat\\n  radius    9.9999\\r\\x1b[2Jdog\\x9b2J\\u202efish\\u2028\\u2066\\ud83d\\x7f"
    everything = "".join(map(chr, range(0x11000)))
    assert not {unicodedata.category(c) for c in shown(everything)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_json_reads_back_unchanged() -> None:
    """In JSON the same characters stand as JSON escapes, those beyond 16 bits too."""
    value = {"label": FORGED + "\U000e0001"}
    text = shown_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.encode()
    assert shown(text) == text


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    """A service's words in a message forge no line of ours."""
    assert str(ProviderError(f"it says: {FORGED}")) == f"it says: {shown(FORGED)}"


@pytest.mark.parametrize(
    "key",
    ["AIzaSyHush-hush-1", "sk-proj-0123", "AKIAIOSFODNN7EXAMPLE", "0123456789abcdef0123456789abcdef"],
)
def test_a_key_where_a_name_belongs_is_not_shown(key: str) -> None:
    """Whoever puts an API key where a file or a model is to be named does not find it in a log."""
    assert key not in as_shown(f" {key}\n")


@pytest.mark.parametrize("name", ["openai", "own.toml", "/home/me/key-0123456789abcdef01234.json", "nope"])
def test_names_are_shown(name: str) -> None:
    """A name that is none of a key's is told as it is."""
    assert as_shown(name) == name
