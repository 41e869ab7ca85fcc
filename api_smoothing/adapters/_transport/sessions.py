"""An HTTP session that sends a request as it was made: once, and with nothing of the user's added to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from api_smoothing.adapters._transport.calls import on_this_machine
from api_smoothing.adapters._transport.deadline import LONGEST_BODY, bounded_adapter, too_long
from api_smoothing.adapters._transport.proxies import check_proxy
from api_smoothing.adapters._transport.service import sdk
from api_smoothing.errors import ConfigurationError

_THREADS: Final = 64


def plain_session(url: str, *, extra: str) -> Any:
    """A `requests.Session` for 64 threads and the service at `url`. It sends nothing twice, and a response takes
    no longer in all than twice the timeout it is given.

    `requests` would put credentials of ~/.netrc in the place of the key, and send back cookies, so that an answer
    may depend on earlier ones. A proxy of the environment is used but for this machine, which none can reach.

    Raises ConfigurationError where the environment names a proxy that cannot be one.
    """
    from http.cookiejar import DefaultCookiePolicy

    requests = sdk("requests", extra=extra)
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, bounded_adapter(pool_maxsize=_THREADS, max_retries=0))
    session.auth = _as_it_is
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = not on_this_machine(url)
    if session.trust_env:
        check_proxy(url)
    return session


def body_of(response: Any) -> bytes:
    """All of the body of a response of `requests`, which keeps it. Raises BrokenContract when there is too much."""
    body = bytearray()
    for piece in response.iter_content(65536):
        body += piece
        if len(body) > LONGEST_BODY:
            response.close()
            raise too_long()
    response._content = found = bytes(body)
    return found


def check_encrypted(url: str, *, named: str, allowed: Sequence[str] = ()) -> None:
    """Raise ConfigurationError if a key that goes to `url` would leave this machine unencrypted.

    A proxy on this machine, such as the end of a tunnel, may get it; so may the `allowed` hosts. The setting is
    `named` in the error.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or on_this_machine(url) or host in allowed:
        return
    proxies = getproxies()
    proxy = None if proxy_bypass(host) else proxies.get("http") or proxies.get("all")
    if proxy is not None and on_this_machine(proxy if "://" in proxy else f"http://{proxy}"):
        return
    raise ConfigurationError(f"{named} would have the key sent to {host} unencrypted; write it with https://")


def _as_it_is(request: Any) -> Any:
    """Keeps `requests` from replacing the key by what ~/.netrc has for the host."""
    return request
