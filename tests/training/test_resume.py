"""Training survives `kill -9`: what comes out is what an unbroken run gives, bit for bit."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from api_smoothing.training import train_denoiser
from api_smoothing.training.recipe import read_recipe
from api_smoothing.training.state import read_state

STEPS = 8  # of each of the two phases

RECIPE = """
id = "small"
kind = "denoiser"
channels = [16, 16]
blocks = [1, 1]
width = 16
sigma_range = [0.1, 0.5]
""" + "".join(
    f"""
[[phase]]
name = "{name}"
objective = "mse"
steps = {STEPS}
share = 0.5
batch = 8
lr = 0.002
clip = 1.0
decay = 0.9
[phase.sigma]
low = 0.1
high = 0.5
[phase.schedule]
peak = 0.2
"""
    for name in ("first", "second")
)

#: Trains with a checkpoint after every step, each waiting for a line; as told, it is killed amid a file of one.
CHILD = """
import os, signal, sys
from functools import partial
from pathlib import Path
import torch
from api_smoothing.training import denoiser, state
recipe, data, out, threads, torn = sys.argv[1:]
torch.set_num_threads(int(threads))
replace, written = os.replace, []

def torn_replace(part, file):
    if "state" in Path(file).name:
        written.append(file)
    if len(written) == int(torn):
        whole = Path(part).read_bytes()
        Path(part).write_bytes(whole[: len(whole) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    replace(part, file)

state.os.replace = torn_replace
denoiser.fit = partial(denoiser.fit, save_every=0.0, log_every=1)

def tell(figures):
    print(figures["step"], flush=True)
    sys.stdin.readline()

denoiser.train_denoiser(recipe, Path(data), Path(out), on_progress=tell)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe, 64 training images, and in `whole` what an unbroken run gives."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "small.toml").write_text(RECIPE, encoding="utf-8")
    rows = np.random.default_rng(0).integers(0, 256, (64, 3073), dtype=np.uint8)
    rows[:, 0] %= 10
    rows.tofile(folder / "data_batch_1.bin")
    train_denoiser(folder / "small.toml", folder, folder / "whole")
    return folder


def start(place: Path, out: Path, *, torn: int = 0) -> subprocess.Popen[str]:
    """A process that trains into `out`, and is killed while file number `torn` of its checkpoints is written."""
    words = [place / "small.toml", place, out, torch.get_num_threads(), torn]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def step_of(out: Path, phase: str) -> int:
    """How many steps the checkpoint of that phase holds."""
    return int(read_state(out / "small" / phase, "net")[1]["step"])


def finish(place: Path, out: Path) -> None:
    """Resume, and compare every file of weights and both last checkpoints' tensors with the unbroken run's."""
    train_denoiser(place / "small.toml", place, out)
    whole = place / "whole"
    for name in ("small", "small-first", "small-second"):
        assert (out / f"{name}.safetensors").read_bytes() == (whole / f"{name}.safetensors").read_bytes()
    for part in ("net", "average", "optimizer"):
        ours, theirs = (read_state(folder / "small" / "second", part)[0] for folder in (out, whole))
        assert ours
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_run_killed_between_steps_goes_on(place: Path, tmp_path: Path) -> None:
    """Killed from outside in its second phase, a run keeps what it had and ends where an unbroken one does."""
    with start(place, tmp_path) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for told, _ in enumerate(child.stdout, start=1):
            if told == STEPS + 4:  # done, but not yet saved
                child.kill()
                break
            child.stdin.write("go on\n")
            child.stdin.flush()
    assert child.returncode == -signal.SIGKILL
    assert (step_of(tmp_path, "first"), step_of(tmp_path, "second")) == (STEPS, 3)
    finish(place, tmp_path)


@pytest.mark.parametrize("torn", [7, 8])  # each checkpoint is one part and the manifest
def test_a_checkpoint_torn_by_the_kill_does_no_harm(place: Path, tmp_path: Path, torn: int) -> None:
    """Killed with a part or the manifest half written, a run goes on from the checkpoint before it."""
    with start(place, tmp_path, torn=torn) as child:
        child.communicate("go on\n" * STEPS)
    assert child.returncode == -signal.SIGKILL
    assert any((tmp_path / "small" / "first").glob("state*.part"))
    assert step_of(tmp_path, "first") == 3
    finish(place, tmp_path)


def test_the_benchmark_trains_what_the_recipe_says(tmp_path: Path) -> None:
    """The recipe that `benchmarks/resume.py` writes is the first phase of unet-cifar10, but for the size."""
    file = Path(__file__).parents[2] / "benchmarks" / "resume.py"
    spec = importlib.util.spec_from_file_location("resume_benchmark", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.write_recipe(tmp_path / "small.toml", 7, 5)
    found, bundled = (read_recipe(which, "denoiser") for which in (tmp_path / "small.toml", "unet-cifar10"))
    (phase,), first = found["phase"], bundled["phase"][0]
    assert phase == first | {"steps": 7, "batch": 5, "share": 1.0}
    assert found["sigma_range"] == bundled["sigma_range"]
