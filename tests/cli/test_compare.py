"""`api-smooth compare`: the table, the JSON, the run file and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing.cli import main

QUICK = "--defences none,bits-3 --attacks none,pgd-linf-4/255 --steps 2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures of 32×32."""
    for k in range(2):
        pixels = np.random.default_rng(k).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["compare", *line.split()])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_table_has_every_defence_and_condition(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without labels the answers as they are count; the costs follow."""
    code, out, _ = run(f". {QUICK} --adaptive --corruptions fog:3", capsys)
    assert code == 0
    cells, costs = out.split("\n\n")
    assert [line.split()[0] for line in cells.splitlines()[1::2]] == [
        "none",
        "pgd-linf-4/255",
        "adaptive",
        "fog:3",
        "all",
    ]
    assert "beside none" in cells.splitlines()[0]
    assert "100.0%" in cells.splitlines()[1]
    assert [line.split()[0] for line in costs.splitlines()] == ["defence", "none", "bits-3"]


def test_a_run_file_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command adds nothing, and says the same."""
    line = f"0.png 1.png {QUICK} --output run.jsonl --json"
    code, first, _ = run(line, capsys)
    size = Path("run.jsonl").stat().st_size
    assert (code, json.loads(first)["images"]) == (0, 2)
    assert run(line, capsys)[1] == first
    assert Path("run.jsonl").stat().st_size == size
    code, _, told = run(f"{line} --seed 1", capsys)
    assert code == 2
    assert "seed" in told


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--defences jpg", "unknown defence 'jpg'"),
        ("--attacks pgd", "no attack 'pgd'"),
        ("--corruptions fogg", "fogg"),
        ("--attacks none --adaptive", "adaptive attacks are attacks"),
        ("--model resnet1000", "resnet1000"),
        ("--output no/run.jsonl", "in a folder that is there"),
    ],
)
def test_a_slip_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], flags: str, why: str) -> None:
    """With exit code 2, and nothing on standard output."""
    code, out, told = run(f". {flags}", capsys)
    assert (code, out) == (2, "")
    assert why in told.splitlines()[-1]


def test_what_cannot_be_read_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are compared."""
    Path("2.png").write_bytes(b"no image")
    code, out, told = run(f". {QUICK} --json", capsys)
    assert (code, json.loads(out)["images"]) == (0, 2)
    assert "2.png cannot be read, and is left out" in told


def test_an_interrupted_run_says_how_to_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done is kept, and the same command needs not do it again."""
    from api_smoothing.defences import comparing

    real, done = comparing.purified, []

    def stopped(defence: Any, images: Any, seed: int) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(defence.name)
        return real(defence, images, seed)

    line = f". {QUICK} --output run.jsonl --json"
    with monkeypatch.context() as patch:
        patch.setattr(comparing, "purified", stopped)
        code, out, told = run(line, capsys)
    assert (code, out) == (130, "")
    assert "interrupted; the same command goes on with run.jsonl" in told
    before = Path("run.jsonl").read_bytes()
    assert run(line, capsys)[0] == 0
    assert Path("run.jsonl").read_bytes().startswith(before)
    assert before.count(b"defended/1") == 4
