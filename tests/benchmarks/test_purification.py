"""The purification benchmark: a comparison of defences on real images, and likeness beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from api_smoothing import defences
from api_smoothing.training.data import ImageSet
from api_smoothing.training.likeness import ssim

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("purification")
    sys.modules.pop("purification")


def test_likeness_falls_with_the_bits(bench: ModuleType) -> None:
    """1 of the images themselves; batches do not matter."""
    pixels = torch.randint(0, 256, (5, 16, 16, 3), generator=torch.Generator().manual_seed(0)).byte()
    images = ImageSet(images=pixels, labels=None, name="toy")
    made = [defences.load(name) for name in ("none", "bits-4", "bits-1")]
    found = bench.likeness(images, made, {"ssim": ssim}, batch=2)
    assert found["none"]["ssim"] == pytest.approx(1.0)
    assert 1 > found["bits-4"]["ssim"] > found["bits-1"]["ssim"]
    whole = bench.likeness(images, made, {"ssim": ssim}, batch=5)
    assert [one["ssim"] for one in whole.values()] == pytest.approx([one["ssim"] for one in found.values()])


def test_it_runs_from_the_command_line(
    bench: ModuleType, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On two real images ResNet-56 falls to the attack, and both tables have a line a defence."""
    line = f"x --data {shared / 'data'} --first 500 --images 2 --defences none,bits-3 --steps 3"
    monkeypatch.setattr("sys.argv", line.split())
    assert bench.main() == 0
    cells, costs, likeness = capsys.readouterr().out.split("\n\n")
    assert "0.0%" in next(line for line in cells.splitlines() if line.startswith("pgd-linf-8/255"))
    assert [line.split()[0] for line in costs.splitlines()] == ["defence", "none", "bits-3"]
    assert [line.split()[0] for line in likeness.splitlines()] == ["none", "bits-3"]


@pytest.mark.parametrize(
    ("line", "words"),
    [("--defences magic", "magic"), ("--first 5000", "no images from 5000"), ("--output no/a", "no/a")],
)
def test_a_slip_is_one_line(
    line: str,
    words: str,
    bench: ModuleType,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be is said in one line before anything is computed."""
    monkeypatch.setattr("sys.argv", ["x", "--data", str(shared / "data"), *line.split()])
    assert bench.main() == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
