"""A response that is bounded in time and in size: else a server that drips it, headers or body, would hold a thread for
ever, and one that never stops would fill the memory.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import MutableMapping
from functools import cache
from typing import Any, Final

from api_smoothing.adapters._transport.service import BrokenContract

#: So many waits for one byte is what a whole response may take.
_WAITS: Final = 2.0
#: So many bytes a body may have, packed or not; the answer to a full batch has some hundred thousand.
LONGEST_BODY: Final = 16 * 2**20
_LONGEST_HEAD: Final = 2**20


def too_long() -> BrokenContract:
    """The error for a body that is longer than any answer."""
    return BrokenContract(f"the answer is longer than {LONGEST_BODY // 2**20} MiB")


class _Until(io.RawIOBase):
    """Reads from a socket's file until the deadline. Raises TimeoutError after it, BrokenContract for a flood."""

    def __init__(self, raw: Any, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        self._wait = connection.gettimeout()
        self._left = LONGEST_BODY + _LONGEST_HEAD
        self._deadline = time.monotonic() + _WAITS * (self._wait or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._wait is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer did not end in time")
            self._connection.settimeout(min(self._wait, left))
        found: int | None = self._raw.readinto(buffer)
        self._left -= found or 0
        if self._left < 0:
            raise too_long()
        return found

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


@cache
def _bounded_response() -> type:
    """The class of a response that is there, whole, within twice of the connection's wait for a byte."""
    import http.client  # with fifty modules that nobody needs before a request

    class BoundedResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp: io.BufferedReader = io.BufferedReader(_Until(self.fp.detach(), sock))

    return BoundedResponse


def bound(pools: MutableMapping[str, Any]) -> None:
    """Have the pools of `urllib3` connections, by scheme, read responses that are bounded in time."""
    for scheme, pool in pools.items():
        connection = type("Bounded", (pool.ConnectionCls,), {"response_class": _bounded_response()})
        pools[scheme] = type("BoundedPool", (pool,), {"ConnectionCls": connection})


def bounded_adapter(**options: Any) -> Any:
    """A `requests` HTTPAdapter whose responses are bounded in time; `options` are its own."""
    from requests.adapters import HTTPAdapter
    from urllib3.poolmanager import pool_classes_by_scheme

    pools = dict(pool_classes_by_scheme)
    bound(pools)
    adapter: Any = HTTPAdapter(**options)
    adapter.poolmanager.pool_classes_by_scheme = pools
    direct = adapter.proxy_manager_for

    def proxied(proxy: str, **options: Any) -> Any:
        manager = direct(proxy, **options)
        manager.pool_classes_by_scheme = pools
        return manager

    adapter.proxy_manager_for = proxied
    return adapter


def bound_boto(client: Any) -> None:
    """The same for a client of boto3, as far as its inside is what it was in every version known."""
    pools = getattr(getattr(client._endpoint, "http_session", None), "_pool_classes_by_scheme", None)
    if isinstance(pools, dict):
        bound(pools)
