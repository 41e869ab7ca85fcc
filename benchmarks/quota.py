"""How much of a provider's quota a run over many images uses, from its first request to its last.

A sandbox server answers after a latency and keeps the time of every arrival; a process of its own certifies images
through the provider's real SDK in target mode. Once more with 30 % faults and a kill -9 in the middle: what was
answered before is not asked again, but for what was under way when the process died.
"""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from processes import started
from rows import Plan, Row

from api_smoothing.engine.storage import FolderStorage
from api_smoothing.sandbox import Faults, Request, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

QUOTA: Final = 30  # images a second
LATENCIES: Final = (0.2, 1.0)  # seconds
HALF: Final = 40  # requests an image: about half of what faults leave to ask
SHARES: Final = {"cat": 0.99, "dog": 0.01}  # of the votes
#: What a service at its quota shows; none asks to wait, which would be the service's time and not ours.
FAULTS: Final = ("500", "503", "reset", "empty", "missing-key", "truncated", "html")

WORKER: Final = """
import json, sys
import numpy as np
from api_smoothing import Budget, SmoothedAPI
given = json.loads(sys.argv[1])
images = (np.random.default_rng(k).integers(0, 256, (96, 96, 3), np.uint8) for k in range(given["images"]))
with SmoothedAPI(given["provider"], denoiser=None, labels="cifar10", seed=0, rate=given["quota"],
                 budget=Budget(usd=None, run="quota"), **given["options"]) as api:
    for found in api.certify_many(images, radius=0.25, n=1_000):
        print(json.dumps({"n": found.n, "failed": found.failed, "queries": found.queries}), flush=True)
"""


def worker(home: Path, sandbox: Sandbox, images: int, quota: int) -> subprocess.Popen[str]:
    """One process of the run."""
    given = {"provider": sandbox.provider, "options": sandbox.options(), "images": images, "quota": quota}
    return started(WORKER, json.dumps(given), home=home)


def used(log: list[Request], quota: int) -> float:
    """The share of the quota that the requests of `log` used, between the first and the last of them."""
    arrivals = sorted((request.at, request.images) for request in log)
    if len(arrivals) < 2:
        return math.nan
    return sum(images for _, images in arrivals[:-1]) / ((arrivals[-1][0] - arrivals[0][0]) * quota)


def undisturbed(images: int, latency: float, *, quota: int = QUOTA, provider: str = "aws") -> dict[str, Any]:
    """Share used and busiest second of a run nothing happens to."""
    with tempfile.TemporaryDirectory() as home:
        with Sandbox(provider, classifier=scripted_brain(SHARES), latency=latency) as sandbox:
            process = worker(Path(home), sandbox, images, quota)
            out, _ = process.communicate()
        log = sandbox.meter.log()
    return {
        "used": used(log, quota),
        "busiest": sandbox.meter.busiest(1.0),
        "seen": len(log),
        "done": len(out.splitlines()) if process.returncode == 0 else 0,
    }


def killed(images: int, latency: float, *, quota: int = QUOTA, provider: str = "aws") -> dict[str, Any]:
    """The same with faults, and killed in the middle.

    `used` is that of both lives, without the time in which no process was there to send: from the last request before
    the kill to the first after it. `twice` is how many answers were paid beyond one of each query and those under
    way at the kill.
    """
    faults = Faults(rate=0.3, kinds=FAULTS, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Sandbox(provider, classifier=scripted_brain(SHARES), latency=latency, faults=faults) as sandbox:
            first = worker(home, sandbox, images, quota)
            while first.poll() is None and sandbox.meter.images < HALF * images:
                time.sleep(0.02)
            first.kill()
            first.wait()
            time.sleep(latency + 0.5)  # what was sent arrives
            before, open_at_kill = sandbox.meter.log(), _open(home)
            second = worker(home, sandbox, images, quota)
            out, _ = second.communicate()
        log, busiest = sandbox.meter.log(), sandbox.meter.busiest(1.0)
        with closing(FolderStorage(home)) as storage:
            kept = storage.contents().answers
    results = [json.loads(line) for line in out.splitlines()]
    after = log[len(before) :]
    spans = [max(r.at for r in part) - min(r.at for r in part) for part in (before, after) if part]
    answered = sum(request.images for request in log if request.fault is None)
    return {
        "used": (sum(request.images for request in log) - len(spans)) / (sum(spans) * quota),
        "busiest": busiest,
        "done": len(results) if second.returncode == 0 else 0,
        "twice": max(0, answered - kept - open_at_kill),
        "seen": len(log),
        "open": open_at_kill,
    }


def _open(home: Path) -> int:
    """Queries that the ledger has under way."""
    with sqlite3.connect(home / "ledger.db") as db:
        return db.execute("SELECT COALESCE(SUM(queries), 0) FROM entries WHERE state = 'open'").fetchone()[0]


def rows(plan: Plan) -> Iterator[Row]:
    """Shares of the quota at two latencies, with and without faults and a kill."""
    count = plan.count(200, 24)
    for latency in LATENCIES:
        found = undisturbed(count, latency)
        how = f"{found['seen']:,} images in all, {found['done']} of {count} certificates"
        yield Row(
            name=f"quota: share used, latency {latency:g} s",
            figure=found["used"],
            than="≥",
            limit=0.97,
            note=how,
        )
        yield Row(name=f"quota: busiest second, latency {latency:g} s", figure=found["busiest"], limit=QUOTA)
    found = killed(count, LATENCIES[0])
    how = f"{found['seen']:,} images in all, {found['open']} under way at the kill"
    yield Row(name="quota: share used, faults and kill", figure=found["used"], than="≥", limit=0.90, note=how)
    yield Row(name="quota: busiest second, faults and kill", figure=found["busiest"], limit=QUOTA)
    yield Row(
        name="quota: answers paid twice, faults and kill",
        figure=found["twice"],
        limit=0,
        note=f"{found['done']} of {count} certificates",
    )
