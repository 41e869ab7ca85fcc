"""The scripts that repeat published tables: every page of them, on made images and networks that were never trained."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_files import write_binary

from api_smoothing.training.held_out import IMAGENETTE
from api_smoothing.training.surrogates import CifarResNet

pytest.importorskip("matplotlib", reason="the pages have pictures")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared"
PAGES = {
    "denoised_smoothing": ["accuracy", "objectives", "surrogates", "architectures", "services"],
    "distribution_transfer": [
        f"{page}-{place}"
        for page in ("attacked", "adaptive", "corrupted", "budget", "steps", "losses", "likeness", "pictures", "plane")
        for place in ("cifar10", "photographs")
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real data: noise for images, and networks as they are before training."""
    torchvision = pytest.importorskip("torchvision")
    folder = tmp_path_factory.mktemp("data")
    for name in ("cifar10", "weights", "photos"):
        (folder / name).mkdir()
    write_binary(folder / "cifar10", 32)
    write_binary(folder / "cifar10", 16, split="test")
    torch.manual_seed(0)
    for depth in (20, 32, 44, 56):
        net = CifarResNet((depth - 2) // 6)
        torch.save({"state_dict": net.state_dict()}, folder / "weights" / f"resnet{depth}-made.th")
    made = torchvision.models.mobilenet_v2(weights=None)
    torch.save(made.state_dict(), folder / "weights" / "mobilenet_v2_made.pth")
    files = [png(seed) for seed in range(3)]
    np.savez(
        folder / "photos" / "imagenette_ilsvrcval500.npz",
        data=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.array(IMAGENETTE[:3]),
    )
    return folder


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def command(script: str, data: Path, out: Path, *words: str) -> list[str]:
    file = EXAMPLES / f"reproduce_{script}.py"
    return [sys.executable, str(file), "--data", str(data), "--out", str(out), "--quick", *words]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(script: str, data: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, data, out, *words), capture_output=True, text=True, check=False, env=environment()
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", PAGES)
def test_a_quick_run_writes_every_page_and_a_second_measures_nothing(
    script: str, data: Path, tmp_path: Path
) -> None:
    """All pages with their pictures, in under three minutes of processor time; then every cell is there."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run(script, data, tmp_path)
    assert done.returncode == 0, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 180
    paper = script.replace("_", "-")
    for page in PAGES[script]:
        text = (tmp_path / f"{paper}-{page}.md").read_text(encoding="utf-8")
        assert re.search(r"^\| --- \|", text, flags=re.M) or page.startswith("pictures")
        assert "**What differs:**" in text
        assert "| not run" not in text
        assert f"({paper}-{page}.png)" in text
        with Image.open(tmp_path / f"{paper}-{page}.png") as picture:
            assert min(picture.size) > 200
    whole = (tmp_path / f"{paper}.md").read_text(encoding="utf-8")
    assert whole.count("\n## ") == len(PAGES[script])
    again = run(script, data, tmp_path)
    assert again.returncode == 0, again.stderr
    assert "…" not in again.stderr
    assert (tmp_path / f"{paper}.md").read_text(encoding="utf-8") == whole


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    """What was measured when the process was killed is not measured again."""
    words = ("--pages", "attacked-cifar10", "--images", "8")
    with subprocess.Popen(
        command("distribution_transfer", data, tmp_path, *words), env=environment(), stderr=subprocess.DEVNULL
    ) as running:
        while running.poll() is None and not list((tmp_path / "cells").glob("*.json")):
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.json")}
    done = run("distribution_transfer", data, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert kept
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


@pytest.mark.slow
def test_without_time_nothing_is_begun_and_told_as_not_run(data: Path, tmp_path: Path) -> None:
    """A page without time has its table, which says so in place of figures."""
    done = run("denoised_smoothing", data, tmp_path, "--pages", "accuracy,services", "--minutes", "0")
    assert done.returncode == 0, done.stderr
    for page in ("accuracy", "services"):
        assert "| not run" in (tmp_path / f"denoised-smoothing-{page}.md").read_text(encoding="utf-8")
    assert not list((tmp_path / "cells").glob("*.json"))


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--pages", "acuracy"), "did you mean accuracy"), (("--data", "nowhere"), "no folder nowhere")],
)
def test_a_slip_is_one_line(words: tuple[str, ...], told: str, data: Path, tmp_path: Path) -> None:
    """A page that there is not, and data that are not there, are one line with what to do."""
    done = run("denoised_smoothing", data, tmp_path, *words)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert told in last
    assert "Traceback" not in done.stderr


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `reproduce.cells`."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("reproduce.cells")


def test_a_cell_is_of_its_settings(cells: ModuleType, tmp_path: Path) -> None:
    """A measurement is made once for its settings, and again for others; half a file is no cell."""
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    kept = cells.Cells(tmp_path)
    assert [kept.get("x", {"n": 1}, make), kept.get("x", {"n": 1}, make), kept.get("x", {"n": 2}, make)] == [
        1,
        1,
        2,
    ]
    assert sorted(json.loads(file.read_text())["found"] for file in tmp_path.glob("x-*.json")) == [1, 2]
    kept.file("x", {"n": 3}).with_suffix(".part").write_text("{")
    assert kept.get("x", {"n": 3}, make) == 3
    assert cells.Cells(tmp_path, minutes=0.0).get("x", {"n": 4}, make) is None


def test_cells_are_found_by_the_name_that_was_asked(cells: ModuleType, tmp_path: Path) -> None:
    """A defence whose setting is the default has a shorter name of its own; a page asks by the one it was given."""
    comparing = importlib.import_module("reproduce.comparing")
    places = importlib.import_module("reproduce.places")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    place = places.Place(
        name="made", title="", images=2, size=16, victims=["net"], defences={}, method="none", classes=["a", "b"],
        pairs=lambda count: [(x, "a") for x in images[:count]], network=lambda name: net, noise=(0, 1), differs=[],
        missing=[],
    )  # fmt: skip
    args = argparse.Namespace(seed=0, attack_steps=1, adaptive_steps=1, draws=1)
    asked = ["none", "jpeg?quality=75"]
    (found,) = comparing.measured(args, cells.Cells(tmp_path), place, "net", ["none"], asked, images=2)
    assert [found[one]["n"] for one in asked] == [2, 2]


def numbers(found: Any) -> Iterator[float]:
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        for one in found:
            yield from numbers(one)
    elif isinstance(found, int | float):
        yield found


@pytest.mark.parametrize("paper", PAGES)
def test_published_figures_are_those_of_the_list(paper: str) -> None:
    """Every published figure a page shows stands in the list of published figures, where that is at hand."""
    file = SHARED / "design" / "published.md"
    if not file.is_file():
        pytest.skip("no list of published figures here")
    listed = set(re.findall(r"\d*\.?\d+", file.read_text(encoding="utf-8")))
    figures = {
        f"{x:g}"
        for x in numbers(tomllib.loads((EXAMPLES / "reproduce" / f"{paper}.toml").read_text("utf-8")))
    }
    assert len(figures) > 15
    written = {f"{float(x):g}" for x in listed}
    assert figures <= written
