"""What a query costs this machine beyond the SDK's own call: noise, PNG, ledger, rate limiter, cache, counting.

    python benchmarks/client_cpu.py [--provider aws] [--queries 400] [--rounds 3] [--threads 1 16 64]
        [--against CHECKOUT] [--latency 0] [--rate 1000000]

CPU time of a process, all its threads, for `predict` on a 224×224 image through the provider's real SDK, beside the
same number of bare calls of the adapter with a PNG that is ready, made by as many threads: with more of them the SDK
itself takes longer. Another checkout of this repository is measured the same way, in a process of its own. All of them
alternate, so that the ratios survive a noisy machine. Queries a second are those of the same calls, at `--rate` a
second at most.

The server is another process, which repeats what the provider's sandbox answered to the first request after `latency`
seconds: classifying every image again would make it the slower half. (gRPC: the sandbox itself.)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rows import Plan, Row

HERE = Path(__file__).resolve().parents[1]

SERVER = """
import asyncio, json, sys, threading
from urllib.parse import urlsplit
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

provider, latency = sys.argv[1], float(sys.argv[2])
replies, opened = {}, {}


async def message(reader):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\\r\\n")[1:] if b": " in line)
    if fields.get(b"expect") == b"100-continue":
        return head, None
    return head, await reader.readexactly(int(fields.get(b"content-length", 0)))


async def first(head, body):
    reader, writer = await asyncio.open_connection(*opened["sandbox"])
    writer.write(head.replace(b"Expect: 100-continue\\r\\n", b"") + body)
    reply = b"".join(await message(reader))
    writer.close()
    return reply


async def serve(reader, writer):
    loop = asyncio.get_running_loop()
    while True:
        try:
            head, body = await message(reader)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return writer.close()
        if body is None:
            writer.write(b"HTTP/1.1 100 Continue\\r\\n\\r\\n")
            length = head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]
            body = await reader.readexactly(int(length))
        asked = head.split(b"\\r\\n")[0], len(body)  # a batch of other size has another answer
        if asked not in replies:
            replies[asked] = await first(head, body)
        if latency:
            await asyncio.sleep(latency)
        writer.write(replies[asked])


async def main(sandbox):
    if sandbox.declared.rpc:
        print(json.dumps(sandbox.options()), flush=True)
        return await asyncio.to_thread(sys.stdin.read)
    at = urlsplit(sandbox.endpoint)
    opened["sandbox"] = at.hostname, at.port
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps(sandbox.options_at(f"http://127.0.0.1:{port}")), flush=True)
    await asyncio.to_thread(sys.stdin.read)


with Sandbox(provider, classifier=scripted_brain({"cat": 0.9, "dog": 0.1})) as sandbox:
    asyncio.run(main(sandbox))
"""

WORKER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from api_smoothing import SmoothedAPI, adapters
from api_smoothing.adapters.base import EncodedImage
from api_smoothing.images import encode_png

given = json.loads(sys.argv[1])
provider, options, rate = given["provider"], given["options"], given["rate"]
pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
image = EncodedImage(data=encode_png(pixels), height=224, width=224)
adapter = adapters.load(provider, **options)


def bare(threads, queries, seed):
    batch = adapter.card.batch
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(adapter.label, [[image] * batch] * threads))  # connections are opened
        began = time.process_time(), time.perf_counter()
        list(pool.map(adapter.label, [[image] * batch] * (queries // batch)))
        return began, queries // batch * batch


def whole(threads, queries, seed):
    settings = {"denoiser": None, "seed": seed, "rate": rate, "concurrency": threads, **options}
    with SmoothedAPI(provider, **settings) as api:
        api.predict(pixels, n=2 * threads + 16)
        began = time.process_time(), time.perf_counter()
        api.predict(pixels, n=2 * threads + 16 + queries)
        return began, queries


for line in sys.stdin:
    what, *arguments = json.loads(line)
    began, queries = {"bare": bare, "whole": whole}[what](*arguments)
    cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
    print(json.dumps([cpu / queries * 1e3, queries / wall]), flush=True)
"""


class Worker:
    """A process that imports `checkout` and measures what it is told."""

    def __init__(self, checkout: Path, home: Path, **given: Any) -> None:
        home.mkdir()
        surroundings = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "API_SMOOTH_HOME": str(home),
            "API_SMOOTH_MACHINE": str(home),
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings,
            cwd=checkout,
        )

    def measure(self, *what: Any) -> tuple[float, float]:
        """CPU milliseconds a query, and queries a second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        cpu, rate = json.loads(self._process.stdout.readline())
        return cpu, rate

    def end(self) -> None:
        self._process.communicate("")


@contextmanager
def running(
    provider: str, checkouts: Mapping[str, Path], *, latency: float = 0.0, rate: float = 1_000_000.0
) -> Iterator[dict[str, Worker]]:
    """A worker of each checkout, and the server they ask."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, provider, str(latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert server.stdout is not None
    given = {"provider": provider, "options": json.loads(server.stdout.readline()), "rate": rate}
    with tempfile.TemporaryDirectory(prefix="api-smooth-cpu-") as folder:
        workers = {name: Worker(path, Path(folder) / name, **given) for name, path in checkouts.items()}
        yield workers
        for worker in workers.values():
            worker.end()
    server.communicate("")


def rows(plan: Plan) -> Iterator[Row]:
    """The ratio at 16 threads; it has no limit."""
    with running("aws", {"this": HERE}) as workers:
        sdk, beyond = compare(workers, 16, 100 if plan.quick else 400, 3, tell=False)
    yield Row(
        name="client_cpu: a query over the SDK's call",
        figure=(sdk + beyond["this"]) / sdk,
        note=f"{beyond['this']:.2f} ms more, 224×224",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="aws")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=1_000_000.0)
    args = parser.parse_args()
    checkouts = {"this": HERE} | ({} if args.against is None else {"that": args.against.resolve()})
    with running(args.provider, checkouts, latency=args.latency, rate=args.rate) as workers:
        for threads in args.threads:
            compare(workers, threads, args.queries, args.rounds)
    return 0


def compare(
    workers: Mapping[str, Worker], threads: int, queries: int, rounds: int, *, tell: bool = True
) -> tuple[float, dict[str, float]]:
    """Measure, and print unless not to `tell`, one number of threads: milliseconds of the SDK's call, and beyond it."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds + 1):
        turn = [("SDK", "this", "bare"), *((name, name, "whole") for name in workers)]
        for name, worker, what in turn if number % 2 else reversed(turn):
            measured = workers[worker].measure(what, threads, queries, 1000 * threads + number)
            if number:  # the first loads what is loaded once
                found[name].append(measured)
    sdk = statistics.median(cpu for cpu, _ in found["SDK"])
    bare = statistics.median(rate for _, rate in found["SDK"])
    lines = [f"{threads} threads: SDK call {sdk:.2f} ms, {bare:.0f}/s"]
    beyond = {}
    for name in workers:
        pairs = list(zip(found[name], found["SDK"], strict=True))
        beyond[name] = statistics.median(cpu - alone for (cpu, _), (alone, _) in pairs)
        reached = statistics.median(rate for _, rate in found[name])
        share = statistics.median(rate / alone for (_, rate), (_, alone) in pairs)
        lines.append(f"  {name}: {beyond[name]:.2f} ms beyond it, {reached:.0f}/s, {share:.2f} of the SDK's")
    if len(beyond) > 1:
        lines.append(
            f"  beyond the SDK's call: {beyond['this'] / beyond['that']:.2f} of the other checkout's"
        )
    if tell:
        print("\n".join(lines), flush=True)
    return sdk, beyond


if __name__ == "__main__":
    raise SystemExit(main())
