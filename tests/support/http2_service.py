"""A server that speaks just enough HTTP/2 to answer a gRPC call with what no gRPC server would say."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Final

_PREFACE: Final = 24
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_STREAM_WINDOW, _WINDOW = 4, 2**30  # a setting, and its bytes: requests of any size are taken at once
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_NAMES: Final = {"content-type": 31, "retry-after": 53}  # of the static table of RFC 7541


class Http2Service:
    """Answers every request with `status`, `headers` and `body`, and counts them; no header of gRPC's is added."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, *, on_request: Callable[[], None]
    ) -> None:
        self._answer = status, headers, body
        self._on_request = on_request
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                stream.read(_PREFACE)
                connection.sendall(_frame(_SETTINGS, 0, 0, struct.pack(">HI", _STREAM_WINDOW, _WINDOW)))
                connection.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW)))
                while head := stream.read(9):
                    size = int.from_bytes(head[:3])
                    kind, flags, number = head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF
                    content = stream.read(size)
                    if kind in (_SETTINGS, _PING) and not flags & _ACK:
                        connection.sendall(_frame(kind, _ACK, 0, content if kind == _PING else b""))
                    elif kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                        self._on_request()
                        self._reply(connection, number)
            except OSError:
                return

    def _reply(self, connection: socket.socket, number: int) -> None:
        status, headers, body = self._answer
        block = b"\x08" + _text(str(status))  # :status
        for name, value in headers.items():
            block += b"\x0f" + bytes([_NAMES[name] - 15]) + _text(value)
        last = 0 if body else _END_STREAM
        connection.sendall(_frame(_HEADERS, _END_HEADERS | last, number, block))
        if body:
            connection.sendall(_frame(_DATA, _END_STREAM, number, body))


def _frame(kind: int, flags: int, number: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", number) + content


def _text(value: str) -> bytes:
    """A string of HPACK, which must be shorter than 127 bytes."""
    return bytes([len(value)]) + value.encode()
