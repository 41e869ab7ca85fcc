"""A Ray cluster of two nodes on this machine whose workers, nodes and drivers are killed, against one process.

    python benchmarks/cluster.py [faults] [database] [local] [scaling] [quota] [cards] [--images 200] [--n 20]
                                 [--senders 1,2,4,8]

faults    200 images through a sandbox: a worker gets `kill -9`, a node is taken away, the driver gets `kill -9` and is
          started again. Certificates are compared with those of one process, field by field but for `created` and what
          says how much was kept (`queries`, `cached`, `cost_usd`); the meter with what one process paid.
database  the same with the storage in PostgreSQL, whose server is stopped at once and started again, too
local     the same through the bundled classifier, in which nothing is paid
scaling   images a second of the photographs' denoiser: one worker, two workers, and two processes that know nothing of
          one another, which is what the hardware has
quota     the share of a quota that 2, 4 and 8 senders use together, beside one process's
cards     one process on one graphics card against one denoising actor on each; not run where there is none
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from machines import Witness
from PIL import Image
from processes import ROOT, environment, started
from store import prepared

from api_smoothing import runs
from api_smoothing.evidence import verify
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

sys.path.insert(0, str(ROOT / "tests" / "support"))

from many_workers import facts
from postgres_server import PostgresServer, missing, server

PARTS: Final = ("faults", "database", "local", "scaling", "quota", "cards")
LATENCY: Final = 0.05  # seconds

#: A run as a user would make it; a line for the memory now and then, and one at the end.
DRIVER: Final = """
import json, resource, sys, time
from api_smoothing import Budget, SmoothedAPI, evaluate
from api_smoothing.cluster import Processes, Ray
from api_smoothing.events import ImageCertified, ImageStarted
given = json.loads(sys.argv[1])
done, first, began = 0, None, time.monotonic()
def hear(event):
    global done, first
    if isinstance(event, ImageStarted) and first is None:
        first = time.monotonic()
    if isinstance(event, ImageCertified):
        done += 1
        if done % 10 == 0:
            print(json.dumps({"done": done, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                              "seconds": time.monotonic() - began}), flush=True)
engine = None
if given["address"] is not None:
    engine = Ray(given["address"], workers=given["workers"])
elif given["workers"]:
    engine = Processes(given["workers"])
budget = Budget(run="cluster")
with SmoothedAPI(given["provider"], seed=0, store=given["store"], budget=budget, **given["options"]) as api:
    found = evaluate(api, given["data"], radii=given["radii"], n=given["n"], clean=False, output=given["output"],
                     observers=(hear,), engine=engine)
print(json.dumps({"queries": sum(one.queries for one in found.run.certificates), "left": found.left,
                  "seconds": time.monotonic() - began, "rate": done / (time.monotonic() - first) if first else 0}))
"""


class Nodes:
    """Ray's head and one more node, each with one processor, as processes of this machine."""

    def __init__(self, home: Path) -> None:
        os.environ.update({**environment(home), "RAY_worker_niceness": "0"})  # beside one process, as it is
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self._second = self._cluster.add_node(num_cpus=1)
        self.address = str(self._cluster.address)

    def lose(self) -> None:
        """The second node dies, and another one takes its place."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        self._cluster.shutdown()


def pids_of_workers(nodes: str = "ray::Hosting") -> list[int]:
    """The processes in which this machine's actors run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(nodes.encode()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@contextmanager
def pictures(count: int, side: int = 32) -> Iterator[Path]:
    """A folder of images without labels."""
    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            pixels = np.random.default_rng(k).integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(Path(folder) / f"{k:05}.png")
        yield Path(folder)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The last line of a driver, and its memory."""
    out, _ = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if process.returncode:
        raise RuntimeError(f"a driver ended with {process.returncode}")
    memory = [line["mib"] for line in lines if "mib" in line]
    return {**lines[-1], "memory": memory}


class Rehearsal:
    """One process, then the cluster with its accidents."""

    def __init__(self, args: argparse.Namespace, base: Path, given: Mapping[str, Any], nodes: Nodes) -> None:
        self._args, self._base, self._given, self._nodes = args, base, given, nodes
        self.kills: list[float] = []

    def start(self, name: str, address: str | None, workers: int | None = None) -> subprocess.Popen[str]:
        given = {
            **self._given,
            "output": str(self._base / f"{name}.jsonl"),
            "address": address,
            "workers": workers,
        }
        return started(DRIVER, json.dumps(given), home=self._base / name)

    def accidents(self, done: Callable[[], int], more: Callable[[], None] | None) -> None:
        """A worker, a node, the driver, and whatever else; each once so many images are certified."""
        total = self._args.images

        def worker() -> None:
            os.kill(random.Random(0).choice(pids_of_workers()), signal.SIGKILL)

        def driver() -> None:
            self._process.kill()
            self._process.wait()
            self._process = self.start("many", self._nodes.address)

        accidents = [worker, self._nodes.lose, driver, *([more] if more else [])]
        for number, accident in enumerate(accidents, 1):
            share = number / (len(accidents) + 1)
            while done() < share * total:
                if self._process.poll() is not None:
                    return
                time.sleep(0.1)
            self.kills.append(time.monotonic())
            print(f"    {getattr(accident, '__name__', 'accident')} at {done()} images", flush=True)
            accident()
            self.kills.append(time.monotonic())

    def run(self, more: Callable[[], None] | None = None) -> dict[str, Any]:
        output = self._base / "many.jsonl"

        def done() -> int:
            return output.read_bytes().count(b"api-smooth/certificate/") if output.exists() else 0

        began = time.monotonic()
        self._process = self.start("many", self._nodes.address)
        self.accidents(done, more)  # in the main thread, in which Ray wants nodes to be made
        found = finished(self._process)
        return {**found, "wall": time.monotonic() - began}


def compare(base: Path) -> tuple[int, int]:
    """Images, and those whose certificate is another one than that of one process."""
    alone, many = (facts(runs.read(base / f"{name}.jsonl")) for name in ("alone", "many"))
    return len(alone), sum(a != b for a, b in zip(alone, many, strict=True))


def rehearse(args: argparse.Namespace, nodes: Nodes, part: str) -> dict[str, Any]:
    """One part of faults, database and local."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = stack.enter_context(pictures(args.images))
        witness, sandbox = Witness(), None
        options: dict[str, Any] = {"model": "cifar10", "device": "cpu"}
        if part != "local":
            brain = witness.watching(scripted_brain({"cat": 0.83, "dog": 0.17}))
            sandbox = stack.enter_context(Sandbox("http", classifier=brain, latency=LATENCY))
            witness.at(sandbox)
            options = {
                **sandbox.options(),
                "denoiser": None,
                "labels": "cifar10",
                "device": "cpu",
                "rate": args.rate,
            }
        provider, postgres = "torchvision" if sandbox is None else "http", None
        store: str | None = None
        if part == "database":
            postgres = stack.enter_context(server())
            prepared(postgres)
            store = postgres.url("store")
        given = {
            "provider": provider, "options": options, "data": str(data), "n": args.n, "radii": [0.0], "store": None,
        }  # fmt: skip
        alone = Rehearsal(args, base, given, nodes)
        one = finished(alone.start("alone", None))
        paid = sandbox.meter.images if sandbox else 0
        witness.answered.clear()
        many = Rehearsal(args, base, {**given, "store": store}, nodes)
        found = many.run(None if postgres is None else lambda: _restart(postgres))
        again = sandbox.meter.images if sandbox else 0
        twice, strange = witness.twice(many.kills)
        last = finished(many.start("many", nodes.address))
        count, other = compare(base)
        return {
            "images": count,
            "certificates that differ": other,
            "evidence: faults": len(verify.check(str(base / "many.jsonl"))["faults"]),
            "images paid by one process": paid,
            "images paid with accidents": again - paid,
            "answered twice": twice,
            "answered twice, unexplained": strange,
            "asked again by a last run": (sandbox.meter.images - again) if sandbox else 0,
            "not done": last["left"],
            "seconds of one process": round(one["seconds"], 1),
            "seconds with accidents": round(found["wall"], 1),
            "MiB of the driver, then": [round(mib) for mib in found["memory"]],
        }


def _restart(postgres: PostgresServer) -> None:
    postgres.stop()
    time.sleep(2.0)
    postgres.start()


def scaling(args: argparse.Namespace, nodes: Nodes) -> dict[str, Any]:
    """Images a second of pure denoising and one local model, by workers."""
    with tempfile.TemporaryDirectory() as folder, pictures(args.images) as data:
        base = Path(folder)
        given = {
            "provider": "torchvision", "options": {"model": "cifar10", "device": "cpu", "cache": True}, "n": args.n,
            "data": str(data), "radii": [0.0], "store": None,
        }  # fmt: skip
        run = Rehearsal(args, base, given, nodes)

        def rate(name: str, workers: int) -> float:
            return float(finished(run.start(name, nodes.address, workers))["rate"])

        one, two = rate("one", 1), rate("two", 2)
        apart = [run.start(f"apart-{k}", None) for k in range(2)]
        ceiling = sum(finished(process)["rate"] for process in apart)
        single = finished(run.start("alone", None))["rate"]
        return {
            "images a second, one worker": round(one, 3),
            "two workers": round(two, 3),
            "two over one": round(two / one, 2),
            "one process": round(single, 3),
            "two processes apart": round(ceiling, 3),
            "what the hardware has": round(ceiling / single, 2),
        }


def quota(args: argparse.Namespace, nodes: Nodes) -> dict[str, Any]:
    """The share of a quota that so many senders use, and its busiest second."""
    found: dict[str, Any] = {}
    for count in map(int, args.senders.split(",")):
        senders = count if count > 1 else None
        with (
            tempfile.TemporaryDirectory() as folder,
            pictures(args.images) as data,
            Sandbox(
                "http", classifier=scripted_brain({"cat": 0.83, "dog": 0.17}), latency=LATENCY
            ) as sandbox,
        ):
            options = {
                **sandbox.options(),
                "denoiser": None,
                "labels": "cifar10",
                "device": "cpu",
                "rate": args.rate,
            }
            given = {
                "provider": "http", "options": options, "data": str(data), "n": args.n, "radii": [0.0], "store": None,
            }  # fmt: skip
            run = Rehearsal(args, Path(folder), given, nodes)
            memory = finished(run.start("many", None, senders))["memory"]
            log = sorted(sandbox.meter.log(), key=lambda request: request.at)
            middle = log[len(log) // 10 : -len(log) // 10]
            images = sum(request.images for request in middle[1:])
            name = "one process" if senders is None else f"{senders} senders"
            share = images / (middle[-1].at - middle[0].at) / args.rate
            found[f"{name}: share of {args.rate:g} a second"] = round(share, 2)
            found[f"{name}: busiest second"] = sandbox.meter.busiest(1.0)
            found[f"{name}: MiB of the driver, first, last"] = [round(memory[0]), round(memory[-1])]
    return found


def cards(args: argparse.Namespace) -> dict[str, Any]:
    """One process on one card, then an actor on each."""
    import torch

    if not torch.cuda.is_available():
        return {"not run": "there is no graphics card here"}
    with tempfile.TemporaryDirectory() as folder, pictures(args.images, 224) as data:
        options = {"model": "cifar10", "device": "cuda", "size": 224, "denoiser": "unet-natural"}
        given = {
            "provider": "torchvision", "options": options, "data": str(data), "n": args.n, "radii": [0], "store": None,
        }  # fmt: skip
        run = Rehearsal(args, Path(folder), given, None)  # type: ignore[arg-type]
        one = finished(run.start("alone", None))
        many = finished(run.start("many", "local", torch.cuda.device_count()))
        return {
            "cards": torch.cuda.device_count(),
            "images a second, one process": round(args.images / one["seconds"], 2),
            "one actor a card": round(args.images / many["seconds"], 2),
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--senders", default="1,2,4,8", help="of the quota; 1 is one process without Ray")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        nodes = Nodes(Path(home)) if {*args.parts} - {"cards", "quota"} else None
        try:
            for part in args.parts:
                if part == "database" and (why := missing()):
                    found: dict[str, Any] = {"not run": why}
                elif part in ("faults", "database", "local"):
                    found = rehearse(args, nodes, part)  # type: ignore[arg-type]
                elif part == "cards":
                    found = cards(args)
                else:
                    found = {"scaling": scaling, "quota": quota}[part](args, nodes)  # type: ignore[arg-type]
                print(part, flush=True)
                for name, figure in found.items():
                    print(f"  {name:<40} {figure}", flush=True)
        finally:
            if nodes is not None:
                nodes.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
