"""What a data set may be, and how much of it is taken."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ImageError
from api_smoothing.images import load

Fill = Callable[..., Path]


def test_a_limit_takes_the_first_and_a_sample_random_ones(fill: Fill) -> None:
    """A seed alone shuffles the whole; a seed and a limit are a sample; the seed is 0 where none is given."""
    folder = fill(*(f"{k:02d}.png" for k in range(20)))
    names = [f"{k:02d}.png" for k in range(20)]
    assert [e.id for e in open_dataset(folder, limit=3)] == names[:3]
    drawn = open_dataset(folder, sample=5)
    assert (drawn.sample, drawn.sample_seed) == (5, 0)
    whole = open_dataset(folder, sample_seed=0)
    assert [e.id for e in whole[:5]] == [e.id for e in drawn] != names[:5]
    assert sorted(e.id for e in whole) == names
    assert [e.id for e in open_dataset(folder, sample_seed=0, limit=5)] == [e.id for e in drawn]
    again = open_dataset(whole, limit=2)
    assert [e.id for e in again] == [e.id for e in whole[:2]]


def test_a_file_is_a_data_set_of_one(fill: Fill) -> None:
    """Its id is its name."""
    (example,) = open_dataset(fill("a.png") / "a.png")
    assert (example.id, example.truth) == ("a.png", None)


def test_an_unreadable_file_in_the_middle_is_found_when_it_is_read(fill: Fill) -> None:
    """Opening does not look; reading tells in one line, and the images around it are there. So it is with a bomb."""
    folder = fill("a.png", "b.png", "c.png", "d.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    (folder / "c.png").write_bytes(bomb())
    data, failed = open_dataset(folder), {}
    for example in data:
        try:
            load(example.read())
        except ImageError as error:
            failed[example.id] = str(error)
    assert list(failed) == ["b.png", "c.png"]
    assert "damaged" in failed["b.png"]
    assert "megapixels" in failed["c.png"]


def bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels in a few bytes."""
    chunk = b"IHDR" + struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = b"IDAT" + zlib.compress(bytes(1000))
    return head + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("", {}, "the name of the data set is empty"),
        ("gone", {}, "gone: no such file or folder"),
        ("notes.txt", {}, "no data set: name a folder"),
        ("a\0b", {}, "no such file or folder"),
        ("/dev/null", {}, "neither a file nor a folder"),
        (".", {"limit": 0}, "limit must be a whole number"),
        (".", {"sample": 0}, "sample must be a whole number"),
        (".", {"limit": 2, "sample": 2}, "give one of them"),
        (".", {"sample_seed": "x"}, "sample_seed must be a whole number"),
        (".", {"column_path": "x"}, "column_path names a column of a table"),
        (["a.png"], {"column_label": "x"}, "column_label names a column of a table"),
        (".", {"classes": "gone.txt"}, "gone.txt: cannot be read"),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, source: Any, options: dict[str, Any], message: str
) -> None:
    """Each says what to give instead."""
    monkeypatch.chdir(fill("a.png", "notes.txt"))
    with pytest.raises(ApiSmoothError, match=message) as caught:
        open_dataset(source, **options)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ConfigurationError | ImageError)
