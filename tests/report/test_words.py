from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_smoothing.report.words import (
    between,
    common_folder,
    escaped,
    floored,
    in_script,
    p_value,
    points,
    short,
    told,
)


@given(st.text())
def test_no_text_leaves_its_place(text: str) -> None:
    """In HTML nothing begins an element or ends an attribute; in a script nothing ends it, and it reads back."""
    assert not set("<>\"'") & set(escaped(text))
    inside = in_script([text])
    assert not set("<>&\u2028\u2029") & set(inside)
    assert json.loads(inside) == [text]


@pytest.mark.parametrize(
    "path",
    ["/home/ann/photos/cat.png", "/Users/ann/cat.png", "C:\\Users\\ann\\cat.png", "see /home/ann, there"],
)
def test_nobody_is_named_by_a_path(path: str) -> None:
    assert "ann" not in told(path)


def test_my_own_home_is_not_told_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/ann")
    assert told("/srv/people/ann/set/cat.png") == "~/set/cat.png"


@pytest.mark.parametrize(
    "key", ["AKIAIOSFODNN7EXAMPLE", "sk-proj-abcdefgh12345678", "AIzaSyA1234567890abcdefg"]
)
def test_a_key_in_a_text_is_not_told(key: str) -> None:
    assert key not in told(f"https://example.org/?key={key}&x=1")


@given(st.floats(0, 5))
def test_a_radius_never_grows(radius: float) -> None:
    assert floored(radius) <= radius + 1e-12


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_an_interval_is_rounded_outwards(a: int, b: int) -> None:
    low, high = sorted((a / 1000 + 0.00037, b / 1000 + 0.00037))
    first, last = between(low, high).removesuffix(" %").split("–")
    assert float(first) <= 100 * low
    assert float(last) >= 100 * high


def test_how_numbers_are_said() -> None:
    assert points(-0.0301, 0.04) == "−3.1 to +4.0"
    assert p_value(0.03141) == "0.0315"
    assert p_value(3e-9) == "< 0.0001"
    assert short("a" * 100 + "b" * 100, 30) == "a" * 9 + "…" + "b" * 20
    assert common_folder(["/d/cifar/cat/1.png", "/d/cifar/car/2.png"]) == "/d/cifar/"
