"""What README and docs claim, measured: `python -m benchmarks [NAME…] [--quick] [--data DIR] [--json]`.

Each measurement runs in a process of its own with a home of its own. Nothing is fetched: images come from --data
(CIFAR-10 as its makers or torchvision leave it, or a folder of pictures), or are made here. Exit code 1 where a limit
is not kept. `device [--device cpu] [--seconds S] [--quick]` stands alone: a table that names the card it was run on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the scripts beside this one import one another by their names alone

from processes import ROOT, environment  # noqa: E402
from rows import Plan, Row, table  # noqa: E402

#: Measurement: what it answers. Each is a module with `rows(plan)`.
NAMES: Final = {
    "scheduler": "answers counted a second over many images, against the bare networks; rows computed an answer",
    "decisions": "time to decide a radius, against the loop of Cohen et al. (2019)",
    "quota": "share of a provider's quota that is used, with and without faults and a kill",
    "growth": "exponents of time in n, images, cached answers, threads and pixels; memory in images",
    "rate": "four processes on one quota: its share, and the busiest second",
    "throughput": "rate of `certify` on one image, against the bare networks",
    "memory": "peak memory of one image in n",
    "startup": "start of `--help`, `plan` and `--dry-run`, against Python's own and `import torch`",
    "client_cpu": "CPU of a query beyond the SDK's own call",
    "faults": "certificates while 30 % of the requests fail: false, dropped, requests beyond ours",
    "budget": "one budget for four processes that are killed: what the provider's meter says",
    "evidence": "honest run files that pass the check, and tampered ones that do not",
    "claims": "error and images of a claim, the gate's power, one budget over many images (--replay DIR for the last)",
    "store": "a shared database: messages a query, and the share of the quota 0, 5 and 20 ms away from it",
    "machines": "many processes on one shared database that are killed while the service fails",
    "replay": "answers each rule takes on published vote shares (--replay DIR), against the information limit",
}

ALONE: Final = "device"  # what is true of one card is no row among those of a processor

_ROW = "row "  # begins a line of a child's output that is a row


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == [ALONE]:
        done: int = import_module(ALONE).main(argv[1:])
        return done
    args = _parser().parse_args(argv)
    if args.list:
        print("\n".join(f"{name:<12} {about}" for name, about in NAMES.items()))
        return 0
    if args.child:
        plan = Plan(quick=args.quick, images=args.images, data=args.data, replay=args.replay)
        for row in import_module(args.names[0]).rows(plan):
            print(_ROW + json.dumps(row.to_dict(), ensure_ascii=False), flush=True)
        return 0
    found = []
    for name in args.names or NAMES:
        for row in measured(name, _plan_words(args)):
            found.append(row)
            if args.json:
                print(json.dumps(row.to_dict(), ensure_ascii=False), flush=True)
    if not args.json:
        print(table(found))
    return 1 if any(row.met is False for row in found) else 0


def measured(name: str, words: list[str]) -> Iterator[Row]:
    """The rows of one measurement, as they come. One that fails is a row that was not measured, and limit not kept."""
    with tempfile.TemporaryDirectory(prefix="api-smooth-benchmark-") as home:
        child = subprocess.Popen(
            [sys.executable, str(HERE / "__main__.py"), name, "--child", *words],
            cwd=ROOT,
            env=environment(home),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                if line.startswith(_ROW):
                    told: dict[str, Any] = json.loads(line.removeprefix(_ROW))
                    told.pop("met")
                    yield Row(**told)
                else:
                    sys.stderr.write(line)
        if child.wait():
            yield Row(name=f"{name}: exit code", figure=child.returncode, limit=0, note="it failed")


def _plan_words(args: argparse.Namespace) -> list[str]:
    words = ["--quick"] if args.quick else []
    for name in ("images", "data", "replay"):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*NAMES, []], help="default: all of --list"
    )
    parser.add_argument("--list", action="store_true", help="the names, and what each answers")
    parser.add_argument("--quick", action="store_true", help="fewer images and smaller sizes")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--data", type=Path, metavar="DIR", help="CIFAR-10, or a folder of pictures")
    parser.add_argument(
        "--replay", type=Path, metavar="DIR", help="published vote shares, for `replay` and `claims`"
    )
    parser.add_argument("--images", type=int, metavar="K", help="how many images, for those that take many")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
