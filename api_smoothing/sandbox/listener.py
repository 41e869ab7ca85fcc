"""HTTP/1.1 on a loopback socket: reads requests, sends replies, and breaks off where a fault says so."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qsl

MAX_BODY: Final = 64 * 2**20
MAX_LINE: Final = 65536

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_POLL: Final = 0.01  # seconds until a stop is noticed
_PADDING: Final = 10**6  # blanks after an answer that drips, which no timeout outlasts
_NO_FAREWELL: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An HTTP request; `at` is `time.monotonic()` on arrival."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """What decides about requests; `drip` is the time in seconds between the bytes of an answer that drips."""

    @property
    def drip(self) -> float: ...

    def serve(self, call: Call) -> tuple[Reply, str | None]:
        """What to send, and the fault that befalls it on the way."""
        ...


class Listener(socketserver.ThreadingTCPServer):
    """One thread a connection. Knows the open connections, so that it can end them."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # connections that wait for their thread; the usual 5 would stall a pool of 64

    def __init__(self, port: int, front: Service) -> None:
        self.front = front
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL,), daemon=True)
        super().__init__(("127.0.0.1", port), _Connection)

    def start(self) -> int:
        """Accept connections from now on; returns the port."""
        self._thread.start()
        return int(self.server_address[1])

    def stop(self) -> None:
        """Accept no more, close all connections, and wait up to 5 seconds for their threads."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._changed:
            for request in self._open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # the other side was faster
                    continue
            self._changed.wait_for(lambda: not self._open, timeout=5)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()


class _Connection(BaseHTTPRequestHandler):
    """The requests of one connection, one after another."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the meter is the log."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone
            self.close_connection = True

    def do_POST(self) -> None:
        at = time.monotonic()
        front = cast(Listener, self.server).front
        body = self._body()
        if body is None:
            self.close_connection = True
            return
        path, _, rest = self.path.partition("?")
        query = dict(parse_qsl(rest, keep_blank_values=True))
        reply, fault = front.serve(
            Call(at=at, method=self.command, path=path, query=query, headers=self.headers, body=body)
        )
        if fault == "reset":
            self._reset()
        elif fault == "timeout":
            self._hold()
        elif fault == "drip":
            self._drip(reply, front.drip)
        else:
            self.wfile.write(self._head(reply, len(reply.body)) + reply.body)

    do_GET = do_PUT = do_DELETE = do_POST

    def _body(self) -> bytes | None:
        """The whole body, chunked or not; None when it is cut short, malformed or too large."""
        try:
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                return self._chunks()
            return self._exactly(int(self.headers.get("Content-Length") or 0))
        except EOFError:
            return None
        except OverflowError:
            self.send_error(413)
        except ValueError:
            self.send_error(400)
        return None

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self._line().partition(b";")[0], 16):
            body += self._exactly(size, already=len(body))
            self._line()
        while self._line().strip():  # trailers
            pass
        return bytes(body)

    def _exactly(self, size: int, *, already: int = 0) -> bytes:
        if not 0 <= size <= MAX_BODY - already:
            raise OverflowError
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _line(self) -> bytes:
        line = self.rfile.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def _head(self, reply: Reply, length: int) -> bytes:
        headers = {"Date": formatdate(usegmt=True), **reply.headers, "Content-Length": str(length)}
        lines = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _reset(self) -> None:
        """Close without TCP's farewell, so that the client sees its connection reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_FAREWELL)
        self.connection.close()
        self.close_connection = True

    def _hold(self) -> None:
        """Say nothing until the client hangs up, or the server stops."""
        self.close_connection = True
        while self.connection.recv(MAX_LINE):
            pass

    def _drip(self, reply: Reply, pause: float) -> None:
        """The answer a byte at a time, with blanks behind it that keep it from ever ending."""
        self.close_connection = True
        self.wfile.write(self._head(reply, len(reply.body) + _PADDING))
        self.connection.settimeout(pause)
        for place in range(len(reply.body) + _PADDING):
            self.wfile.write(reply.body[place : place + 1] or b" ")
            try:
                if not self.connection.recv(MAX_LINE):
                    return  # the client hung up, or the server stops
            except TimeoutError:
                continue
