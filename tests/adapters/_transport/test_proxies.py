"""The proxy of the environment: one that cannot be used is told before a query."""

from __future__ import annotations

import sys

import pytest

from api_smoothing.adapters import check_proxy
from api_smoothing.errors import ConfigurationError

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the proxies that a test sets."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("socks5://127.0.0.1:1080", "pip install pysocks"),
        ("socks5h://me:planted@127.0.0.1:1080", "pip install pysocks"),
        ("ftp://proxy.example", "use an http or https one"),
        ("http://", "not the address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str, says: str
) -> None:
    """One line with its variable, without the password in it, and nothing is sent."""
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setattr("api_smoothing.adapters._transport.proxies.find_spec", lambda module: None)
    monkeypatch.setenv(name, address)
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_proxy("http://vision.example/v1")
    assert str(caught.value).lower().startswith(name.lower())
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "127.0.0.1:9", "https://proxy.example"])
def test_a_proxy_of_the_usual_kinds_is_used(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """With or without a scheme."""
    monkeypatch.setenv("http_proxy", address)
    check_proxy("http://vision.example/v1")


def test_with_pysocks_one_of_socks_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is there."""
    monkeypatch.setattr("api_smoothing.adapters._transport.proxies.find_spec", lambda module: object())
    monkeypatch.setenv("http_proxy", "socks5h://127.0.0.1:1080")
    check_proxy("http://vision.example/v1")
