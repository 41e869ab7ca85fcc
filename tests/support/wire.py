"""A service that speaks HTTP on loopback, as a test scripts it, down to how a connection misbehaves."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any


class Wire:
    """A server that gives one scripted answer and keeps every request.

    `answer` is (status, body), (status, body, headers), a function of the request's body that returns one of
    these, or how the connection misbehaves: "reset", "silent", "stall" (half a body), "drip" or "drip-headers".
    """

    def __init__(self, answer: Any, *, content_type: str, half: bytes) -> None:
        self.requests: list[SimpleNamespace] = []
        self.answer = answer
        self.hang_up = False  # close the connection after an answer, without having said so
        self.over = threading.Event()
        self.closed = closed = threading.Semaphore(0)  # released once for every connection closed
        self._content_type, self._half = content_type, half

        class Server(ThreadingHTTPServer):
            def shutdown_request(self, request: Any) -> None:
                super().shutdown_request(request)
                closed.release()

        self._server = Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self) -> int:
        """Requests so far, once at least one has been read; a client that gave up may be ahead of the server."""
        end = time.monotonic() + 10
        while not self.requests and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.requests)

    def _handler(wire) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def do_POST(self) -> None:
                body = self.read()
                request = SimpleNamespace(
                    method=self.command, path=self.path, headers=self.headers, body=body
                )
                wire.requests.append(request)
                answer = wire.answer(body) if callable(wire.answer) else wire.answer
                if isinstance(answer, str):
                    self.close_connection = True
                    return self.misbehave(answer)
                status, content, *rest = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                headers = {"Content-Type": wire._content_type, "Content-Length": str(len(data))}
                self.send_response(status)
                for name, value in {**headers, **(rest[0] if rest else {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = self.close_connection or wire.hang_up

            do_GET = do_POST

            def read(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def misbehave(self, how: str) -> None:
                if how == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
                if how in {"stall", "drip"}:
                    self.wfile.write(head + wire._half)
                while how.startswith("drip") and not wire.over.wait(0.05):
                    try:
                        self.wfile.write(b" " if how == "drip" else head[:1])
                        head = head[1:] or b" "
                    except OSError:
                        return
                if how in {"silent", "stall"}:
                    wire.over.wait(30)

        return Handler
