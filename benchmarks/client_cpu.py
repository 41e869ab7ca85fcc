"""What a query costs this machine beyond the SDK's own call: noise, PNG, ledger, rate limiter, cache, counting.

    python benchmarks/client_cpu.py [--provider aws] [--queries 400] [--rounds 3] [--threads 16]

CPU time of this process, all threads, for `predict` on a 224×224 image through the provider's real SDK, beside the
same number of bare calls of the adapter with a PNG that is ready, made by as many threads: with more of them the SDK
itself takes longer. The server runs in another process. Side by side, alternating, so that the ratio survives a noisy
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ["API_SMOOTH_HOME"] = tempfile.mkdtemp(prefix="api-smooth-cpu-")
os.environ["API_SMOOTH_MACHINE"] = os.environ["API_SMOOTH_HOME"]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rows import Plan, Row

from api_smoothing import SmoothedAPI, adapters
from api_smoothing.engine.sending.pixels import encode

SERVER = """
import json, sys
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain
with Sandbox(sys.argv[1], classifier=scripted_brain({"cat": 0.9, "dog": 0.1})) as sandbox:
    print(json.dumps(sandbox.options()), flush=True)
    sys.stdin.read()
"""


def bare(adapter: Any, image: Any, queries: int, threads: int) -> float:
    """CPU milliseconds a query of the adapter's calls alone."""
    batch = adapter.card.batch
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(adapter.label, [[image] * batch] * threads))  # connections are opened
        began = time.process_time()
        list(pool.map(adapter.label, [[image] * batch] * (queries // batch)))
        return (time.process_time() - began) / (queries // batch * batch) * 1e3


def whole(
    provider: str, options: dict[str, Any], pixels: Any, queries: int, seed: int, threads: int
) -> float:
    """CPU milliseconds a query of a prediction, without what is done once."""
    settings = {"denoiser": None, "seed": seed, "rate": 1_000_000, "concurrency": threads, **options}
    with SmoothedAPI(provider, **settings) as api:
        api.predict(pixels, n=32)
        began = time.process_time()
        api.predict(pixels, n=32 + queries)
        return (time.process_time() - began) / queries * 1e3


def measured(provider: str, *, queries: int, rounds: int, threads: int) -> list[tuple[float, float]]:
    """CPU milliseconds a query of the SDK's call alone and of the whole, a pair a round."""
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, provider],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    options = json.loads(server.stdout.readline())
    adapter, image = adapters.load(provider, **options), encode(pixels)
    bare(adapter, image, 4 * adapter.card.batch, threads)
    pairs = []
    for number in range(rounds):
        alone = bare(adapter, image, queries, threads)
        pairs.append((alone, whole(provider, options, pixels, queries, number, threads)))
    server.communicate("")
    return pairs


def rows(plan: Plan) -> Iterator[Row]:
    """The median ratio; it has no limit."""
    pairs = measured("aws", queries=100 if plan.quick else 400, rounds=3, threads=16)
    ratio = statistics.median(together / alone for alone, together in pairs)
    extra = statistics.median(together - alone for alone, together in pairs)
    yield Row(
        name="client_cpu: a query over the SDK's call", figure=ratio, note=f"{extra:.2f} ms more, 224×224"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="aws")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=16)
    args = parser.parse_args()
    pairs = measured(args.provider, queries=args.queries, rounds=args.rounds, threads=args.threads)
    for alone, together in pairs:
        print(f"SDK call {alone:.2f} ms, whole query {together:.2f} ms, beyond it {together - alone:.2f} ms")
    extra = statistics.median(together - alone for alone, together in pairs)
    ratio = statistics.median(together / alone for alone, together in pairs)
    print(f"{args.provider}, 224×224: {extra:.2f} ms beyond the SDK's own call, {ratio:.2f} times its CPU")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
