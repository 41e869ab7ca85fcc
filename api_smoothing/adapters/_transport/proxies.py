"""The proxy that the environment puts between us and a service: a slip in its address is told before a query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from api_smoothing.errors import ConfigurationError


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
    if address and not (_is_address(address) or proxy_bypass(parts.hostname or "")):
        raise _refusal([f"{scheme}_proxy", f"{scheme}_proxy".upper()], address)


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
    named = next((name for name in names if os.environ.get(name) == address), "the proxy of this machine")
    return ConfigurationError(
        f"{named} is not the address of a proxy; write it like http://proxy.example:3128, or unset it"
    )
