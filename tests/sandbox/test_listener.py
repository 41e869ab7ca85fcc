"""Connections: held, cut, malformed, and many at once."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from doors import ANALYZE, AWS, AZURE, CAT, DOORS, PNG, Said

from api_smoothing.sandbox import Sandbox

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


def test_latency_holds_no_lock(sandbox: StartSandbox) -> None:
    """An answer takes at least the latency, and thirty wait for it at once."""
    server = sandbox("azure", classifier=CAT, latency=0.3)
    began = time.monotonic()
    assert AZURE.ask(server).status == 200
    assert time.monotonic() - began >= 0.3

    def ask(_: int) -> None:
        with suppress(OSError, http.client.HTTPException):
            AZURE.ask(server, timeout=300)

    server.latency = 3600
    with ThreadPoolExecutor(30) as threads:
        waiting = [threads.submit(ask, number) for number in range(30)]
        while server.meter.requests < 31:
            time.sleep(0.01)
        assert not any(one.done() for one in waiting)
        server.stop()


@pytest.mark.parametrize("kind", ["timeout", "drip", "latency"])
def test_stopping_ends_requests_that_are_held(kind: str) -> None:
    """A client that would wait for ever is let go when the server stops, and the port is closed."""
    server = Sandbox("http", classifier=CAT, latency=3600 if kind == "latency" else 0).start()
    if kind != "latency":
        server.faults.inject(kind)
    outcome: list[BaseException | Said] = []

    def ask() -> None:
        try:
            outcome.append(DOORS["http image"].ask(server, timeout=60))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    address = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    thread.start()
    while not server.meter.requests:
        time.sleep(0.01)
    server.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Exception)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    assert server.meter.requests == 1
    server.stop()


def test_a_connection_serves_many_requests_in_any_framing(sandbox: StartSandbox) -> None:
    """On one connection: plain and chunked bodies, errors in between, and answers of the right length."""
    server = sandbox("azure", classifier=CAT)
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10)
    connection.connect()
    first = connection.sock
    key = {"Ocp-Apim-Subscription-Key": server.key, "Content-Type": "application/octet-stream"}
    pieces = [PNG[start : start + 1000] for start in range(0, len(PNG), 1000)]
    requests: list[tuple[Any, dict[str, str], int]] = [
        (PNG, key, 200),
        (iter(pieces), {**key, "Transfer-Encoding": "chunked"}, 200),
        (b"junk", key, 400),
        (PNG, {**key, "Ocp-Apim-Subscription-Key": "wrong"}, 401),
        (PNG, key, 200),
    ]
    for body, headers, status in requests:
        connection.request("POST", ANALYZE, body, headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.version) == (status, 11)
        json.loads(response.read())
    assert connection.sock is first
    connection.close()
    assert server.meter.requests == 5


def test_malformed_requests_are_no_requests(sandbox: StartSandbox) -> None:
    """A body cut short, one too large and one of nonsense length never reach the meter, nor stop the server."""
    server = sandbox("azure", classifier=CAT)
    address = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    head = f"POST {ANALYZE} HTTP/1.1\r\nHost: a\r\nOcp-Apim-Subscription-Key: {server.key}\r\n"
    for rest, status in [
        ("Content-Length: 100\r\n\r\nshort", b""),
        ("Content-Length: 999999999999\r\n\r\n", b"413"),
        ("Content-Length: many\r\n\r\n", b"400"),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        ("Transfer-Encoding: chunked\r\n\r\n-5\r\n", b"413"),
    ]:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall((head + rest).encode())
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100)[9:12] == status
    assert server.meter.requests == 0
    assert AZURE.ask(server).status == 200


def test_a_brain_that_fails_is_an_internal_error(
    sandbox: StartSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client gets the provider's 500, the meter has it, and the owner of the classifier sees the traceback."""

    def broken(images: object) -> Any:
        raise ZeroDivisionError("my classifier hurts")

    server = sandbox("aws", classifier=broken)
    said = AWS.ask(server)
    assert (said.status, said.body["__type"]) == (500, "InternalServerError")
    assert (server.meter.requests, server.meter.billed) == (1, 1)
    assert "my classifier hurts" in capsys.readouterr().err
    server.classifier = CAT
    assert AWS.ask(server).status == 200
