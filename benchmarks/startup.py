"""How long a command takes to begin, as ratios taken side by side in one run.

    python benchmarks/startup.py [--repetitions 15]

--help is held against a bare interpreter, `plan`, `--dry-run` and a setting that is refused against `import torch`.
Every repetition runs each program once, in turn; reported is the median of the ratios within a repetition, of wall
time and of CPU time. Where other work runs beside it, go by CPU time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Plan, Row

#: As the script that pip installs, but for this working tree.
COMMAND = "import sys; from api_smoothing.cli import main; sys.exit(main())"

BARE, TORCH = ["-c", "pass"], ["-c", "import torch"]
DRY = ["certify", "a.png", "--dry-run", "--radius", "0.25", "-n", "1000"]

#: Program: what it is held against, and the limit of the ratio.
PROGRAMS: dict[str, tuple[list[str], str, float]] = {
    "--help": (["--help"], "bare", 1.6),
    "plan": (["plan", "--radius", "0.25"], "torch", 1 / 3),
    "--dry-run": (DRY, "torch", 1 / 3),
    "--dry-run --provider google": ([*DRY, "--provider", "google"], "torch", 1 / 3),
    "an unknown setting": (["certify", "a.png", "--sigmma", "0.25"], "torch", 1 / 3),
}


def timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a Python process."""
    environment = {**os.environ, "API_SMOOTH_HOME": str(folder / "home")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(repetitions: int) -> Iterator[tuple[str, float, float]]:
    """Each program's name, and the medians of its ratios of wall and CPU time."""
    commands = {name: ["-c", COMMAND, *words] for name, (words, *_) in PROGRAMS.items()}
    runs = {"bare": BARE, "torch": TORCH, **commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from PIL import Image

        Image.new("RGB", (32, 32), "grey").save(folder / "a.png")
        rows = []
        for number in range(repetitions + 1):
            taken = {name: timed(words, folder) for name, words in runs.items()}
            rows += [taken] * (number > 0)  # the first one compiles, and fills the disk's cache
    for name, (_, against, _) in PROGRAMS.items():
        wall, cpu = (statistics.median(row[name][i] / row[against][i] for row in rows) for i in (0, 1))
        yield name, wall, cpu


def rows(plan: Plan) -> Iterator[Row]:
    """CPU time of each, as wall time is the machine's."""
    for name, wall, cpu in measured(3 if plan.quick else 15):
        _, against, limit = PROGRAMS[name]
        beside = "a bare interpreter" if against == "bare" else "import torch"
        yield Row(
            name=f"startup: {name}", figure=cpu, limit=limit, note=f"CPU, over {beside}; wall {wall:.2f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=15)
    args = parser.parse_args()
    kept = True
    for name, wall, cpu in measured(args.repetitions):
        _, against, limit = PROGRAMS[name]
        kept &= cpu <= limit
        beside = "a bare interpreter" if against == "bare" else "import torch"
        print(f"{name:<28} {wall:.2f} (CPU {cpu:.2f}) times {beside}, limit {limit:.2f}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
