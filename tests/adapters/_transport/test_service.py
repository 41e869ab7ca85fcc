"""What all services' messages have in common: no secret in them, and the time to come back in words."""

from __future__ import annotations

import math

import pytest

from api_smoothing.adapters import (
    Answer,
    BrokenContract,
    Verdict,
    one_line,
    read_each,
    seconds_of,
    seconds_told,
)

BROKEN = Verdict(kind="broken")


@pytest.mark.parametrize("key", ["x", "no", "EMPTY", "1234567"])
def test_what_is_too_short_for_a_key_stays_in_messages(key: str) -> None:
    """A local server takes any key; hiding a word of the language would make every message unreadable."""
    text = f"no such model {key}; next time EMPTY 1234567"
    assert one_line(text, secrets=[key, None, ""]) == text


def test_a_key_is_taken_out() -> None:
    """What is long enough to be a secret never shows."""
    assert one_line("bad key k3y-pl4n", secrets=["k3y-pl4n"]) == "bad key [secret]"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 20s.", 20.0),
        ("try again in 1.5 seconds", 1.5),
        ("Please retry after 250ms", 0.25),
        ("Retry after 7 seconds.", 7.0),
        ("retry in 2 minutes", 120.0),
        ("wait for 3 s", 3.0),
        ("try again later", None),
        ("retry the 2 queries", None),
        ("the limit is 20 s", None),
    ],
)
def test_a_wait_in_words_is_understood(text: str, seconds: float | None) -> None:
    """Services without the header say in the body when to come back."""
    assert seconds_told(text) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("9" * 400, math.inf),
        (f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", None),
        (f"Fri, 31 Dec 2030 23:59:59 +{'9' * 20}", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_a_header_is_a_time_or_nothing(header: str, seconds: float | None) -> None:
    """Whatever stands there, no error comes of it."""
    assert seconds_of(header) == seconds


def test_one_output_fails_alone_and_all_fail_together() -> None:
    """Where something could be read the others have a verdict each; else there was no response at all."""
    answer = Answer(labels=())

    def read(output: str) -> Answer | Verdict:
        if output == "bad":
            raise BrokenContract("bad")
        return BROKEN if output == "refused" else answer

    assert read_each(["good", "bad", "refused"], read, lambda error: BROKEN) == [answer, BROKEN, BROKEN]
    assert read_each(["refused", "bad"], read, lambda error: BROKEN) == [BROKEN, BROKEN]
    assert read_each([], read, lambda error: BROKEN) == []
    with pytest.raises(BrokenContract):
        read_each(["bad", "bad"], read, lambda error: BROKEN)
