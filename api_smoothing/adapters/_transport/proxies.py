"""The proxy that the environment puts between us and a service: a slip in its address is told before a query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from api_smoothing.errors import ConfigurationError

_SOCKS: Final = ("socks", "socks4", "socks4a", "socks5", "socks5h")


def check_proxy(url: str) -> None:
    """Raise ConfigurationError if what is sent to `url` would go by a proxy whose address cannot be one.

    The clients find out about it with each request, too late to know that it was never sent, so that it would be
    charged. The proxies are those that `requests` and boto3 use; the address is not repeated, as it may hold a
    password.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    scheme = parts.scheme if proxies.get(parts.scheme) else "all"
    address = proxies.get(scheme)
    if not address or proxy_bypass(parts.hostname or ""):
        return
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper()]
    if not _is_address(address):
        raise _refusal(names, address)
    if "://" in address and not _is_spoken(kind := urlsplit(address).scheme.lower()):
        raise ConfigurationError(
            f"{_named(names, address)} is a {kind} proxy, which cannot be used here; "
            + ("run: pip install pysocks" if kind in _SOCKS else "use an http or https one, or unset it")
        )


def _is_spoken(kind: str) -> bool:
    """Whether the clients speak to such a proxy: to one of SOCKS only with PySocks."""
    return kind in ("http", "https") or (kind in _SOCKS and find_spec("socks") is not None)


def check_grpc_proxy() -> bool:
    """Whether gRPC would use a proxy for a service elsewhere. Raises ConfigurationError if its address is none."""
    names = ("grpc_proxy", "https_proxy", "http_proxy")  # those it reads, in their order; none in capitals
    found = [name for name in names if os.environ.get(name)]
    if found and not _is_address(os.environ[found[0]]):
        raise _refusal(found, os.environ[found[0]])
    return bool(found)


def _is_address(text: str) -> bool:
    """Whether `text` is HOST[:PORT] or a URL."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        return bool(parts.hostname) and parts.port != 0 and not any(map(str.isspace, text))
    except ValueError:
        return False


def _refusal(names: Sequence[str], address: str) -> ConfigurationError:
    return ConfigurationError(
        f"{_named(names, address)} is not the address of a proxy; write it like http://proxy.example:3128, or unset it"
    )


def _named(names: Sequence[str], address: str) -> str:
    return next((name for name in names if os.environ.get(name) == address), "the proxy of this machine")
