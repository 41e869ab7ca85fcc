"""Many processes on one database that are killed while the service fails: what the provider's meter says.

    python benchmarks/machines.py [--processes 8] [--threads 8] [--images 1000] [--n 16] [--quota 60] [--faults 0.3]
                                  [--kills 8] [--provider http] [--store URL] [--turns]

Every process certifies the same images, each from another one on, through a sandbox server; the storage is in a
PostgreSQL server of its own, or in the empty database at URL, which has the tables. Processes get `kill -9` at random
moments and are started again. First the budget is half of what the work costs: the meter must not pass it. Then it is
enough. Told are

- images as they leave, of which no second may have more than the quota (a busy machine crowds them as they arrive),
- queries that were answered twice although nobody who asked them was killed just then,
- answers that reached a process and are not in the database, and images that a last run has to ask for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from budget import FAULTS
from numpy.typing import NDArray
from processes import ROOT, started
from rows import Plan, Row
from store import prepared

from api_smoothing.sandbox import Faults, Request, Sandbox
from api_smoothing.sandbox.classifier import Classifier, scripted_brain

sys.path.insert(0, str(ROOT / "tests" / "support"))

from postgres_server import missing, server

LATENCY: Final = 0.05  # seconds
#: Of the faults those after which no image of a request has an answer.
WITHOUT_ANSWER: Final = tuple(fault for fault in FAULTS if fault != "bad-image")
#: Seconds around a kill in which an answer may have been on its way to a process that was no more.
NEAR: Final = 2.0

WORKER: Final = """
import json, os, sys, time
import numpy as np
from api_smoothing import Budget, SmoothedAPI
from api_smoothing.errors import ApiSmoothError
given = json.loads(sys.argv[1])
log = os.open(given["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def noting(label):
    def leave(images, /):
        os.write(log, f"{time.monotonic()} {len(images)}\\n".encode())
        return label(images)
    return leave
count, first = given["images"], given["first"]
images = (np.random.default_rng((first + k) % count).integers(0, 256, (64, 64, 3), np.uint8) for k in range(count))
done = sent = short = 0
try:
    with SmoothedAPI(given["provider"], denoiser=None, labels="cifar10", seed=0, concurrency=given["threads"],
                     store=given["store"], budget=Budget(queries=given["cap"], run="rehearsal"),
                     rate=given["quota"], **given["options"]) as api:
        api._adapter.label = noting(api._adapter.label)
        for found in api.certify_many(images, n=given["n"]):
            done, sent, short = done + 1, sent + found.queries, short + (found.n < given["n"])
except ApiSmoothError as error:
    print("stopped:", error, file=sys.stderr)
print(json.dumps({"done": done, "sent": sent, "short": short}))
"""


#: Takes turns and reserves as a sender does, and sends nothing: what the database alone makes of a quota.
TAKER: Final = """
import os, sys, threading, time
from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage import open_database
from api_smoothing.results import Budget
url, log, end, threads, quota = sys.argv[1:]
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
storage = open_database(url)
limiter = storage.limiter("turns", [Quota(unit="image", count=int(quota))])
account = storage.budget(Budget(), run="turns", provider="p", micro_usd=1)
def work():
    while time.monotonic() < float(end):
        limiter.wait(1)
        turn = time.monotonic()
        reserved = account.reserve("s", [0])
        if time.monotonic() - turn > 0.01:
            limiter.spare(1)
        os.write(log, f"{time.monotonic()} 1\\n".encode())
        account.settle(reserved, sent=True)
        time.sleep(0.2)
running = [threading.Thread(target=work) for _ in range(int(threads))]
[thread.start() for thread in running]
[thread.join() for thread in running]
"""


@dataclass(slots=True)
class Witness:
    """What was answered, by the digest of the image: when each time. Every query has an image of its own."""

    answered: dict[bytes, list[float]] = field(default_factory=lambda: defaultdict(list))
    _seen: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watching(self, classifier: Classifier) -> Classifier:
        """`classifier`, which remembers what it was shown by this thread."""

        def classify(images: Sequence[NDArray[np.uint8]]) -> Sequence[Mapping[str, float]]:
            self._seen.digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
            return classifier(images)

        return classify

    def at(self, sandbox: Sandbox) -> None:
        """Hear of every request that `sandbox` has finished."""
        record = sandbox.meter.record

        def hear(request: Request) -> None:
            record(request)
            digests, self._seen.digests = getattr(self._seen, "digests", []), []
            if request.fault is None:
                with self._lock:
                    for digest in digests:
                        self.answered[digest].append(time.monotonic())

        sandbox.meter.record = hear  # type: ignore[method-assign]

    def twice(self, kills: Sequence[float]) -> tuple[int, int]:
        """Answers beyond the first of their query, and those of them that no kill explains."""
        again = [times for times in self.answered.values() if len(times) > 1]
        strange = [times for times in again if not all(_near(at, kills) for at in times[:-1])]
        return sum(len(times) - 1 for times in again), len(strange)


def _near(at: float, kills: Sequence[float]) -> bool:
    return any(abs(at - kill) <= NEAR for kill in kills)


def _busiest(log: Path) -> int:
    """The most images in any second of a log of times and counts."""
    left = sorted((float(at), int(count)) for at, count in map(str.split, log.open()))
    return max(sum(count for at, count in left if start <= at < start + 1.0) for start, _ in left)


class Rehearsal:
    """The processes of one run, their kills, and what came of them."""

    def __init__(self, args: argparse.Namespace, sandbox: Sandbox, home: Path, store: str) -> None:
        self._args, self._sandbox, self._home, self._store = args, sandbox, home, store
        self._chance = random.Random(args.seed)
        self.kills: list[float] = []

    def start(self, cap: int, first: int | None = None) -> subprocess.Popen[str]:
        """One process."""
        args = self._args
        given = {
            "provider": args.provider,
            "options": self._sandbox.options(),
            "images": args.images,
            "first": self._chance.randrange(args.images) if first is None else first,
            "n": args.n,
            "threads": args.threads,
            "quota": args.quota,
            "cap": cap,
            "store": self._store,
            "log": str(self._home / "left"),
        }
        return started(WORKER, json.dumps(given), home=self._home, stderr=subprocess.DEVNULL)

    def busiest(self) -> int:
        """The most images that left in any second."""
        return _busiest(self._home / "left")

    def lives(self, cap: int, kills: int) -> None:
        """Processes that are killed and started again until so many kills are done, and then come to their end."""
        step = self._args.images // self._args.processes
        running = [self.start(cap, k * step) for k in range(self._args.processes)]
        due, began = 0.0, self._sandbox.meter.requests
        while running:
            time.sleep(0.1)
            if kills and self._sandbox.meter.requests > began and time.monotonic() > due:
                victim = running.pop(self._chance.randrange(len(running)))
                victim.kill()
                self.kills.append(time.monotonic())
                victim.wait()
                kills, due = kills - 1, time.monotonic() + self._chance.uniform(1.0, 8.0)
                running.append(self.start(cap))
            running = [process for process in running if process.poll() is None]


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with server() as running:
        prepared(running)
        yield running.url("store")


def rehearse(args: argparse.Namespace) -> dict[str, int]:
    """All of it; the figures by name."""
    from api_smoothing.engine.storage import open_database

    work, witness = args.images * args.n, Witness()
    faults = Faults(rate=args.faults, kinds=WITHOUT_ANSWER, seed=args.seed)
    brain = witness.watching(scripted_brain({"cat": 0.9, "dog": 0.1}))
    with (
        _database(args.store) as store,
        Sandbox(args.provider, classifier=brain, faults=faults, latency=LATENCY) as sandbox,
        tempfile.TemporaryDirectory() as home,
    ):
        witness.at(sandbox)
        run = Rehearsal(args, sandbox, Path(home), store)
        cap, began = work // 2 + 7, time.monotonic()
        run.lives(cap, args.kills // 2)
        capped = sandbox.meter.images
        print(f"  cap {cap}: the meter saw {capped} images; {time.monotonic() - began:.0f} s", flush=True)
        run.lives(20 * work, args.kills - args.kills // 2)
        seen, arrived, busiest = sandbox.meter.images, sandbox.meter.busiest(1.0), run.busiest()
        out, _ = run.start(20 * work, 0).communicate()
        last = json.loads(out)
        storage = open_database(store)
        kept = storage.contents().answers
        [(spent,)] = storage.server.call("SELECT queries FROM api_smooth.runs WHERE run = 'rehearsal'")
        storage.close()
    twice, strange = witness.twice(run.kills)
    print(
        f"  in all {sandbox.meter.images} images in {time.monotonic() - began:.0f} s, {len(run.kills)} kills, "
        f"busiest second {busiest} of {args.quota} "
        f"(arriving {arrived}); answers {len(witness.answered)}, kept {kept}; "
        f"answered again {twice}; a last run: {last}",
        flush=True,
    )
    return {
        "beyond the cap": max(0, capped - cap),
        "beyond the ledger": max(0, sandbox.meter.images - spent),
        "busiest second": busiest,
        "answered twice, unexplained": strange,
        "answers lost": max(0, len(witness.answered) - kept),
        "images not done": args.images - last["done"],
        "asked again by a last run": sandbox.meter.images - seen,
    }


def rehearse_turns(args: argparse.Namespace, seconds: float = 30.0) -> int:
    """Turns in the busiest second of processes that take them, some of which are killed, and do nothing else."""
    chance = random.Random(args.seed)
    with _database(args.store) as store, tempfile.TemporaryDirectory() as home:
        log, end = Path(home) / "left", time.monotonic() + seconds
        words = (store, str(log), str(end), str(args.threads), str(args.quota))
        running = [started(TAKER, *words, home=home) for _ in range(args.processes)]
        time.sleep(seconds / 2)
        for _ in range(args.kills // 2):
            victim = running.pop(chance.randrange(len(running)))
            victim.kill()
            victim.wait()
            running.append(started(TAKER, *words, home=home))
            time.sleep(seconds / 4 / args.kills)
        for process in running:
            process.communicate()
        return _busiest(log)


def rows(plan: Plan) -> Iterator[Row]:
    """The rehearsal; a small one with --quick."""
    if why := missing():
        yield Row(name="machines: beyond the cap", figure=None, note=why)
        return
    small = ["--processes", "2", "--threads", "4", "--images", "20", "--kills", "2"]
    args = _parser().parse_args(small if plan.quick else [])
    found = {"busiest second of turns alone": rehearse_turns(args, 10.0 if plan.quick else 30.0)}
    for name, figure in (found | rehearse(args)).items():
        yield Row(
            name=f"machines: {name}", figure=figure, limit=args.quota if name.startswith("busiest") else 0
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="http")
    parser.add_argument("--store")
    parser.add_argument(
        "--turns", action="store_true", help="take turns alone, which a busy machine hardly disturbs"
    )
    for name, number in (
        ("processes", 8),
        ("threads", 8),
        ("images", 1000),
        ("n", 16),
        ("quota", 60),
        ("kills", 8),
    ):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> int:
    args = _parser().parse_args()
    if args.store is None and (why := missing()):
        print(f"not run: {why}")
        return 2
    found = {"busiest second of turns alone": rehearse_turns(args)}
    found |= {} if args.turns else rehearse(args)
    for name, figure in found.items():
        print(f"  {name:<30} {figure}")
    holds = all(figure <= (args.quota if name.startswith("busiest") else 0) for name, figure in found.items())
    print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
