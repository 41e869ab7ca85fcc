"""URLs of databases: what is shown of them, and what is passed on."""

from __future__ import annotations

import pytest

from api_smoothing.engine.storage.postgres.address import Address, is_address, masked
from api_smoothing.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:s3cret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:s3@cr/et?@db/x", "postgresql://me:***@db/x"),
        (
            "postgresql://me@db/x?password=s3cret&sslmode=require",
            "postgresql://me@db/x?password=***&sslmode=require",
        ),
        ("postgres:///x?sslkey=k.pem&sslpassword=s3cret", "postgres:///x?sslkey=k.pem&sslpassword=***"),
        ("postgresql://me@db:5433/x", "postgresql://me@db:5433/x"),
    ],
)
def test_passwords_are_masked(url: str, told: str) -> None:
    """Wherever in a URL they stand, and whatever characters they have."""
    assert masked(url) == told


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3/cret@db/x", "postgresql://me:s3cret@x@db/y", "postgresql://%zz:s3cret@db"]
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    """One line that shows how to write it; libpq's own message would quote a piece of the password."""
    with pytest.raises(ConfigurationError, match="%40") as caught:
        Address(url)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_tls_settings_pass_through() -> None:
    """What libpq knows goes to libpq, over our own defaults."""
    found = Address("postgresql://db/x?sslmode=verify-full&sslrootcert=ca.pem&connect_timeout=3").parameters
    assert (found["sslmode"], found["sslrootcert"], found["connect_timeout"]) == (
        "verify-full",
        "ca.pem",
        "3",
    )


def test_a_secret_is_taken_out_of_a_message() -> None:
    """The server's own words are on one line, without the password as it was decoded."""
    assert Address("postgresql://me:s3%40cret@db/x").without_secrets("no\n s3@cret here") == "no *** here"


def test_which_texts_are_addresses() -> None:
    """Those that begin like one."""
    assert [is_address(text) for text in ("postgresql://x", "postgres://x", "memory", "mysql://x")] == [
        True,
        True,
        False,
        False,
    ]
