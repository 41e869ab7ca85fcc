"""One budget for several processes that fail, are killed and are started again: what the provider's meter says.

    python benchmarks/budget.py [--processes 4] [--threads 16] [--images 12] [--n 100] [--provider aws]
                                [--faults 0.3] [--kills 6]

Every process labels the same images on the same run, through the provider's real SDK, against a sandbox server
with a billing meter. Two rehearsals:

cap       random faults, kills, and a cap far below what the work costs: the meter must never pass it.
complete  kills but no faults and money enough: after the last start every answer is in the cache, each image was
          paid once, and what was paid beyond that is at most what was under way when a process was killed.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from processes import started
from rows import Plan, Row

from api_smoothing.sandbox import Faults, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

WORKER = """
import json, sys
import numpy as np
from api_smoothing import Budget, SmoothedAPI
from api_smoothing.errors import ApiSmoothError
given = json.loads(sys.argv[1])
images = [np.random.default_rng(k).integers(0, 256, (96, 96, 3), np.uint8) for k in range(given["images"])]
order = images[given["first"]:] + images[:given["first"]]
with SmoothedAPI(given["provider"], denoiser=None, labels="cifar10", seed=0, concurrency=given["threads"],
                 budget=Budget(queries=given["cap"], run="rehearsal"), rate=10_000, **given["options"]) as api:
    sent = cached = 0
    try:
        for image in order:
            found = api.predict(image, n=given["n"])
            sent, cached = sent + found.queries, cached + found.cached
    except ApiSmoothError as error:
        print("stopped:", error, file=sys.stderr)
print(json.dumps({"sent": sent, "cached": cached}))
"""

FAULTS = ("500", "503", "reset", "empty", "missing-key", "truncated", "html", "bad-image", "billed-400")


def start(home: Path, given: dict[str, Any]) -> subprocess.Popen[str]:
    """One process of the run."""
    return started(WORKER, json.dumps(given), home=home)


def lives(args: argparse.Namespace, sandbox: Sandbox, home: Path, cap: int, watch: Any) -> None:
    """Start the processes, kill them at random moments and start them again; the last ones run to their end."""
    chance = random.Random(args.seed)

    def given() -> dict[str, Any]:
        return {
            "provider": args.provider,
            "options": sandbox.options(),
            "images": args.images,
            "first": chance.randrange(args.images),
            "n": args.n,
            "threads": args.threads,
            "cap": cap,
        }

    running = [start(home, given()) for _ in range(args.processes)]
    killed = 0
    while running:
        time.sleep(0.05)
        watch()
        began = sandbox.meter.requests > 0
        if killed < args.kills and began and chance.random() < 0.05:
            victim = running.pop(chance.randrange(len(running)))
            victim.kill()
            victim.wait()
            killed += 1
            running.append(start(home, given()))
        running = [process for process in running if process.poll() is None]
    print(f"  {args.processes} processes of {args.threads} threads, {killed} killed and started again")


def entries(home: Path) -> Counter[str]:
    """Queries in the ledger by state."""
    with sqlite3.connect(home / "ledger.db") as db:
        return Counter(dict(db.execute("SELECT state, SUM(queries) FROM entries GROUP BY state").fetchall()))


def rehearse_cap(args: argparse.Namespace) -> tuple[int, int]:
    """(images the server saw or the ledger has, the cap)."""
    work = args.images * args.n
    cap = work // 2 + 7
    print(f"cap: {work} queries of work, {cap} allowed, {args.faults:.0%} of the requests fail")
    faults = Faults(rate=args.faults, kinds=FAULTS, seed=args.seed)
    with (
        Sandbox(
            args.provider, classifier=scripted_brain({"cat": 0.9, "dog": 0.1}), faults=faults, latency=0.02
        ) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        seen = [0]

        def watch() -> None:
            seen[0] = max(seen[0], sandbox.meter.images)

        lives(args, sandbox, Path(folder), cap, watch)
        last = start(Path(folder), {**_given(args, sandbox), "cap": cap})
        last.communicate()
        watch()
        states = entries(Path(folder))
    print(f"  the server saw {seen[0]} images, the cap is {cap}; the ledger has {dict(states)}")
    return max(seen[0], sum(states.values()) - states["unsent"]), cap


def rehearse_complete(args: argparse.Namespace) -> tuple[int, int]:
    """Images paid beyond the work and what was under way at kills, and images that a last run asked again."""
    work = args.images * args.n
    print(f"complete: {work} queries of work, no faults")
    classifier = scripted_brain({"cat": 0.9, "dog": 0.1})
    with (
        Sandbox(args.provider, classifier=classifier, latency=0.02) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        lives(args, sandbox, Path(folder), 10 * work, lambda: None)
        open_at_kills = entries(Path(folder))["open"]
        paid = sandbox.meter.billed
        out, _ = start(Path(folder), {**_given(args, sandbox), "cap": 10 * work}).communicate()
        again = sandbox.meter.images - paid
    print(
        f"  paid {paid}, of them {paid - work} beyond one undisturbed run; under way at the kills: {open_at_kills}"
    )
    print(f"  a last run read everything from the cache: {out.strip()}, the server saw {again} more")
    return max(0, paid - work - open_at_kills), again


def _given(args: argparse.Namespace, sandbox: Sandbox) -> dict[str, Any]:
    return {
        "provider": args.provider,
        "options": sandbox.options(),
        "images": args.images,
        "first": 0,
        "n": args.n,
        "threads": args.threads,
    }


def rows(plan: Plan) -> Iterator[Row]:
    """Both rehearsals; small ones with --quick."""
    small = ["--processes", "2", "--threads", "4", "--images", "2", "--n", "40", "--kills", "1"]
    args = _parser().parse_args(small if plan.quick else [])
    seen, cap = rehearse_cap(args)
    yield Row(name="budget: queries of its cap", figure=seen / cap, limit=1, note=f"{seen} of {cap}")
    twice, again = rehearse_complete(args)
    yield Row(name="budget: paid twice, but for the kills", figure=twice, limit=0)
    yield Row(name="budget: asked again by a last run", figure=again, limit=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="aws")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> int:
    args = _parser().parse_args()
    seen, cap = rehearse_cap(args)
    holds = [seen <= cap, rehearse_complete(args) == (0, 0)]
    print("holds" if all(holds) else "DOES NOT HOLD")
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
