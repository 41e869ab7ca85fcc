"""Training that is killed and resumed, beside training that is not.

    python benchmarks/resume.py [--data DIR] [--steps 300] [--batch 32] [--seeds 3] [--kills 3]

A small U-Net is trained by the first phase of the recipe unet-cifar10, cut down, once for each seed. Then the first
seed's run is done again by processes that get `kill -9` at random moments, each going on where the one before left
off. Printed are the loss (mean of the last tenth of the steps), the PSNR of the card at σ = 0.25, whether the broken
run's lie within the spread of the unbroken ones, and whether its weights are the same to the bit.

Checkpoints are written every half second instead of every minute, so that kills fall between them and into them.
Without --data the images are smooth random patterns; with it CIFAR-10's in DIR/cifar10.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from api_smoothing.training.recipe import read_recipe

CHILD = """
import sys
from functools import partial
from pathlib import Path
import torch
from api_smoothing.training import denoiser
recipe, data, out, seed, save_every, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
denoiser.fit = partial(denoiser.fit, save_every=float(save_every), log_every=1)
tell = lambda figures: print(figures["step"], flush=True)
denoiser.train_denoiser(recipe, Path(data), Path(out), seed=int(seed), on_progress=tell)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a finished training left: mean of its last losses, PSNR in dB at σ = 0.25, SHA-256 of the weights."""

    loss: float
    psnr: float
    digest: str


def write_recipe(file: Path, steps: int, batch: int) -> None:
    """The first phase of unet-cifar10 with a tenth of the network."""
    plan = read_recipe("unet-cifar10", "denoiser")
    phase = plan["phase"][0] | {"steps": steps, "batch": batch, "share": 1.0}
    top = {k: v for k, v in plan.items() if k != "phase"} | {
        "id": "small",
        "channels": [32, 64],
        "blocks": [1, 1],
    }
    file.write_text(f"{_lines(top)}\n[[phase]]\n{_lines(phase)}", encoding="utf-8")


def _lines(table: Mapping[str, Any], place: str = "phase") -> str:
    """TOML of numbers, strings, lists and, after them, tables; JSON writes the first three alike."""
    plain = "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items() if not isinstance(v, dict))
    tables = (f"[{place}.{k}]\n{_lines(v)}" for k, v in table.items() if isinstance(v, dict))
    return plain + "".join(tables)


def write_patterns(folder: Path, count: int, held: int) -> None:
    """`count` training images and 500 + `held` test images of waves, as CIFAR-10's binary batches."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32] / 32
    for name, size in (("data_batch_1", count), ("test_batch", 500 + held)):
        slopes, phases, strengths = (
            draw.uniform(low, high, (size, 3, 3, 1, 1)) for low, high in ((-12, 12), (0, 7), (10, 50))
        )
        across = np.roll(slopes, 1, axis=2)
        waves = (strengths * np.sin(slopes * x + across * y + phases)).sum(2) + 127.5
        rows = np.zeros((size, 3073), np.uint8)
        rows[:, 1:] = waves.clip(0, 255).reshape(size, -1)
        rows.tofile(folder / f"{name}.bin")


def train(recipe: Path, data: Path, out: Path, seed: int, save_every: float, stop: int | None = None) -> int:
    """Train in a process of its own, killed soon after step `stop`; returns the first step that it made.

    The kill falls anywhere in the steps that follow, in the writing of a checkpoint as well.
    """
    words = [recipe, data, out, seed, save_every, torch.get_num_threads()]
    first = 0
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            first = first or int(line)
            if stop is not None and int(line) >= stop:
                time.sleep(random.uniform(0, 0.2))
                child.kill()
                break
    if stop is None and child.returncode:
        raise SystemExit(f"the training ended with {child.returncode}")
    return first


def losses(out: Path) -> dict[int, list[float]]:
    """The losses logged for each step; several where it was done again. A line torn by a kill is left out."""
    found: dict[int, list[float]] = {}
    for line in (out / "small" / "mse" / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found.setdefault(row["step"], []).append(row["loss"])
    return found


def finished(out: Path, steps: int) -> Run:
    card = json.loads((out / "small.json").read_text(encoding="utf-8"))
    last = [values[-1] for step, values in losses(out).items() if step > steps - max(steps // 10, 1)]
    digest = hashlib.sha256((out / "small.safetensors").read_bytes()).hexdigest()
    return Run(loss=sum(last) / len(last), psnr=card["quality"]["0.25"]["psnr"], digest=digest)


def show(name: str, run: Run) -> None:
    print(f"{name:<16} loss {run.loss:.5f}  {run.psnr:.2f} dB  weights {run.digest[:12]}", flush=True)


def within(value: float, others: list[float]) -> str:
    inside = min(others) <= value <= max(others)
    return f"{'within' if inside else 'OUTSIDE'} {min(others):.5g} to {max(others):.5g}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--save-every", type=float, default=0.5, help="seconds")
    parser.add_argument("--moments", type=int, default=None, help="seed of when to kill (default: by chance)")
    args = parser.parse_args()
    random.seed(args.moments)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        recipe, data = place / "small.toml", place if args.data is None else args.data / "cifar10"
        write_recipe(recipe, args.steps, args.batch)
        if args.data is None:
            write_patterns(place, 2000, 100)
        whole = []
        for seed in range(args.seeds):
            train(recipe, data, place / f"seed{seed}", seed, args.save_every)
            whole.append(finished(place / f"seed{seed}", args.steps))
            show(f"seed {seed}", whole[-1])
        out = place / "broken"
        for stop in sorted(random.sample(range(1, args.steps), args.kills)):
            first = train(recipe, data, out, 0, args.save_every, stop)
            print(f"from step {first}: killed after step {max(losses(out))}", flush=True)
        print(f"from step {train(recipe, data, out, 0, args.save_every)}: to the end", flush=True)
        broken = finished(out, args.steps)
        again = [values for values in losses(out).values() if len(values) > 1]
    show("seed 0, killed", broken)
    same = sum(len(set(values)) == 1 for values in again)
    print(f"{len(again)} steps were done again, {same} with the same loss to the last digit")
    print(f"loss {within(broken.loss, [run.loss for run in whole])} of the unbroken runs")
    print(f"PSNR {within(broken.psnr, [run.psnr for run in whole])}")
    equal = broken.digest == whole[0].digest
    print(f"weights {'equal' if equal else 'NOT equal'} to those of seed 0, bit for bit")
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
