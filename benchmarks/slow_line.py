"""A TCP proxy in a process of its own that makes a line as long as one likes, or cuts it.

    python benchmarks/slow_line.py SOCKET_OR_HOST PORT SECONDS

prints the port it listens on. Each message is held back for half of SECONDS in each direction, in order.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Every piece of `reader` to `writer`, `delay` seconds after it came."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                with suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)

    writing = asyncio.create_task(write())
    while True:
        try:
            data = await reader.read(65_536)
        except OSError:
            data = b""
        queue.put_nowait((loop.time() + delay, data))
        if not data:
            break
    await writing


async def _serve(place: str, port: int, seconds: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if place.startswith("/"):
                there, back = await asyncio.open_unix_connection(f"{place}/.s.PGSQL.{port}")
            else:
                there, back = await asyncio.open_connection(place, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, back, seconds / 2), _pass_on(there, writer, seconds / 2))
        for one in (writer, back):
            one.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def slow_line(place: str, port: int, seconds: float) -> Iterator[int]:
    """The port of 127.0.0.1 behind which `place`, a host or a socket's folder, lies `seconds` away, there and back."""
    proxy = subprocess.Popen(
        [sys.executable, str(Path(__file__)), place, str(port), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert proxy.stdout is not None
    try:
        yield int(proxy.stdout.readline())
    finally:
        proxy.kill()
        proxy.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
