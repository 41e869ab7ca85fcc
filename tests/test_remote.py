"""Addresses of files: which are known, how they are shown, and that none leads out of its folder."""

from __future__ import annotations

import pytest

from api_smoothing import remote
from api_smoothing.errors import ConfigurationError, MissingExtraError
from api_smoothing.remote import Remote


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("s3://b/k", True),
        ("https://h/a.csv", True),
        ("photos/s3", False),
        ("postgresql://h/d", False),
        (3, False),
    ],
)
def test_what_is_remote(source: object, known: bool) -> None:
    """The kinds that are known, and nothing that may be a path."""
    assert remote.is_remote(source) is known


def test_an_address_is_shown_without_what_lets_in() -> None:
    """Neither a password nor a signature; a question mark may be a part of an object's name."""
    assert str(Remote("https://me:s3cret@host/a.csv?X-Amz-Signature=s3cret")) == "https://host/a.csv?…"
    assert str(Remote("s3://bucket/what?.png")) == "s3://bucket/what?.png"
    assert str(Remote("s3://AKIA1:s3/cr3t@bucket/a@b.png")) == "s3://b.png"  # rather too little than a key
    assert str(Remote("https://host:8080/a.png")) == "https://host:8080/a.png"
    assert str(Remote("s3://bucket/a@b.png")) == "s3://bucket/a@b.png"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../other/a.png", "a/../../b.png", "https://elsewhere/a.png"]
)
def test_nothing_outside_of_the_folder_is_read(name: str) -> None:
    """Only sources that the user has named."""
    with pytest.raises(ConfigurationError, match="leads out"):
        Remote("s3://bucket/set/rows.csv").beside(name)
    assert Remote("https://h/set/rows.csv?sig=1").beside("cat/a.png").url == "https://h/set/cat/a.png"


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec itself, or what it needs for the kind of address."""
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"api-smooth\[remote\]' gcsfs"):
        Remote("gs://bucket/a.png").read_bytes()
