"""A server that drips its response holds nobody for long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from api_smoothing.adapters import plain_session
from api_smoothing.adapters._transport import deadline

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Dripping:
    """A server whose responses begin at once and then come byte by byte, a tenth of a second apart."""

    def __init__(self, at_once: bytes, drops: bytes) -> None:
        self._at_once, self._drops = at_once, drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(self._at_once)
                for drop in self._drops:
                    if self._ended.wait(0.1):
                        return
                    connection.sendall(bytes([drop]))
            except OSError:
                return

    def close(self) -> None:
        self._ended.set()
        self._listener.close()


@pytest.fixture(params=["headers", "body", "chunks"])
def dripping(request: pytest.FixtureRequest) -> Iterator[Dripping]:
    pytest.importorskip("requests")
    at_once, drops = {
        "headers": (HEAD, b"X-Long: " + b"a" * 500),
        "body": (HEAD + b"Content-Length: 500\r\n\r\n", b"a" * 500),
        "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 100),
    }[request.param]
    server = Dripping(at_once, drops)
    yield server
    server.close()


def test_a_response_that_drips_ends_in_twice_the_timeout(dripping: Dripping) -> None:
    """Each byte comes in time, and the whole does not: headers, a body, and chunks."""
    import requests

    began = time.monotonic()
    with plain_session(dripping.url, extra="http") as session, pytest.raises(requests.RequestException):
        session.get(dripping.url, timeout=0.5)
    assert 0.4 < time.monotonic() - began < 40.0  # of the 50 s that it would take


def test_a_response_that_drips_to_an_sdk_leaves_no_thread_behind(dripping: Dripping) -> None:
    """The call through boto3 is given up after twice its timeout, and what made it ends with it."""
    pytest.importorskip("boto3")
    from api_smoothing.adapters import EncodedImage, load

    keys = {"access_key_id": "a", "secret_access_key": "b"}
    adapter = load("aws", endpoint=dripping.url, region="eu-west-1", timeout=0.5, **keys)
    before = set(threading.enumerate())
    with pytest.raises(Exception, match=r".*") as caught:  # whatever the SDK makes of it
        adapter.label([EncodedImage(data=b"", width=1, height=1)])
    assert adapter.verdict(caught.value).kind in ("transient", "broken")
    until = time.monotonic() + 30.0
    while calls := [one for one in set(threading.enumerate()) - before if "_drip" not in one.name]:
        assert time.monotonic() < until, calls
        time.sleep(0.1)


def test_a_session_goes_on_after_responses_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is used again, with a deadline of its own for each response."""
    monotonic, later = time.monotonic, [0.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: monotonic() + later[0])
    pytest.importorskip("requests")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    connections = set()

    class Prompt(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.add(self.client_address)
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"a" * 100_000)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Prompt) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with plain_session(url, extra="http") as session:
            for _ in range(4):
                assert len(session.get(url, timeout=30).content) == 100_000
                later[0] += 100.0
        server.shutdown()
    assert len(connections) == 1
