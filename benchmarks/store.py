"""What a database that many machines share costs: messages a query, and the share of the quota at a distance.

    python benchmarks/store.py [--quota 50] [--images 24] [--trips 0,5,20] [--provider aws] [--beside]

A PostgreSQL server of its own (fsync on) lies behind a proxy that adds so many milliseconds to every message and its
reply. One process certifies images through a sandbox server that answers after 0.2 s and keeps the time of every
arrival. With --beside the same run is made with the storage in a folder, for what the machine itself costs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from processes import ROOT, started
from quota import SHARES, used
from rows import Plan, Row
from slow_line import slow_line

from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

sys.path.insert(0, str(ROOT / "tests" / "support"))

from postgres_server import PostgresServer, missing, server

QUOTA: Final = 50  # images a second
TRIPS: Final = (0.0, 5.0, 20.0)  # milliseconds
LATENCY: Final = 0.2  # seconds
MOST_LOST: Final = 0.03  # of the quota, at 5 ms

WORKER: Final = """
import json, sys
import numpy as np
from api_smoothing import Budget, SmoothedAPI
from api_smoothing.engine.storage import FolderStorage
from api_smoothing.home import home
given = json.loads(sys.argv[1])
if given["url"] is None:
    store = FolderStorage(home())
else:
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage
    store = PostgresStorage(given["url"])
images = (np.random.default_rng(k).integers(0, 256, (96, 96, 3), np.uint8) for k in range(given["images"]))
with SmoothedAPI(given["provider"], denoiser=None, labels="cifar10", seed=0, rate=given["quota"], store=store,
                 budget=Budget(usd=None, run="store"), **given["options"]) as api:
    queries = sum(found.queries for found in api.certify_many(images, radius=0.25, n=1_000))
print(json.dumps({"queries": queries, "calls": 0 if given["url"] is None else store.server.calls}), flush=True)
"""


def prepared(running: PostgresServer) -> None:
    """A database with the tables, in place of the one before."""
    from api_smoothing.engine.storage.postgres import schema
    from api_smoothing.engine.storage.postgres.storage import connect

    running.sql("DROP DATABASE IF EXISTS store WITH (FORCE)", "CREATE DATABASE store")
    there = connect(running.url("store"))
    schema.create(there)
    there.close()


def measured(
    running: PostgresServer | None, images: int, quota: int, trip: float, provider: str = "aws"
) -> dict[str, Any]:
    """A run with the database `trip` milliseconds away, or with a folder."""
    if running is not None:
        prepared(running)
    line = nullcontext() if running is None else slow_line(str(running.folder), running.port, trip / 1000)
    with tempfile.TemporaryDirectory() as home, line as port:
        url = None if running is None else f"postgresql://owner@127.0.0.1:{port}/store"
        with Sandbox(provider, classifier=scripted_brain(SHARES), latency=LATENCY) as sandbox:
            given = {
                "provider": provider,
                "url": url,
                "images": images,
                "quota": quota,
                "options": sandbox.options(),
            }
            out, _ = started(WORKER, json.dumps(given), home=Path(home)).communicate()
        told = json.loads(out)
        log = sandbox.meter.log()
        return {
            "share": used(log, quota),
            "busiest": sandbox.meter.busiest(1.0),
            "queries": told["queries"],
            "seen": sandbox.meter.images,
            "calls": told["calls"] / max(1, told["queries"]),
        }


def rows(plan: Plan) -> Iterator[Row]:
    """Share of the quota, busiest second and messages a query at each distance."""
    if why := missing():
        yield Row(name="store: share of the quota, 5 ms", figure=None, note=why)
        return
    with server() as running:
        near = 1.0
        for trip in TRIPS:
            found = measured(running, plan.count(48, 12), QUOTA, trip)
            near = found["share"] if trip == 0 else near
            how = f"{found['queries']:,} queries, {found['calls']:.1f} messages to the database each"
            limit = near - MOST_LOST if trip == 5 else None
            yield Row(
                name=f"store: share of the quota, {trip:g} ms",
                figure=found["share"],
                than="≥",
                limit=limit,
                note=how,
            )
            yield Row(name=f"store: busiest second, {trip:g} ms", figure=found["busiest"], limit=QUOTA)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quota", type=int, default=QUOTA)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--provider", default="aws")
    parser.add_argument("--trips", default="0,5,20")
    parser.add_argument("--beside", action="store_true")
    args = parser.parse_args()
    if why := missing():
        print(f"not run: {why}")
        return 2

    def tell(name: str, found: dict[str, Any]) -> None:
        print(
            f"{name:>8}  share {found['share']:.3f}  busiest second {found['busiest']} of {args.quota}  "
            f"queries {found['queries']} (seen {found['seen']})  messages a query {found['calls']:.2f}",
            flush=True,
        )

    if args.beside:
        tell("folder", measured(None, args.images, args.quota, 0, args.provider))
    with server() as running:
        for trip in args.trips.split(","):
            tell(f"{trip} ms", measured(running, args.images, args.quota, float(trip), args.provider))
    return 0


if __name__ == "__main__":
    sys.exit(main())
