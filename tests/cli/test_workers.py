"""--ray and --accounts: what is refused before anything is asked, and a run as two accounts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import one_line
from PIL import Image

import api_smoothing.evidence.verify as verifier
from api_smoothing.cli import main

ASKED = ["evaluate", "data", "--provider", "http", "--sandbox", "--denoiser", "none", "--labels", "cifar10"]
QUESTION = ["--device", "cpu", "--seed", "3", "--radii", "0", "-n", "20"]

TWO = """
[[accounts]]
name = "one"
variables = {SOME_KEY = "KEY_1"}
rate = 40

[[accounts]]
name = "two"
variables = {SOME_KEY = "KEY_2"}
rate = 40
"""


@pytest.fixture(autouse=True)
def data(project: Path) -> Path:
    """Three images in a folder, and a file of two accounts."""
    (project / "data").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(project / "data" / f"{number}.png")
    (project / "accounts.toml").write_text(TWO)
    return project


def evaluate(*more: str) -> int:
    return main([*ASKED, *QUESTION, "--output", "run.jsonl", *more])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ray", "somewhere"], "auto, local, or the address HOST:PORT"),
        (["--accounts", "missing.toml"], "missing.toml: cannot be read"),
        (["--accounts", "own.toml", "--budget-usd", "1"], "budgets of their own"),
        (["--accounts", "accounts.toml"], "KEY_1, which is not set"),
    ],
)
def test_what_cannot_work_is_a_line_before_anything_is_asked(
    data: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, 4 for keys; there is no run file."""
    (data / "own.toml").write_text("[[accounts]]\nname = 'one'\nbudget_usd = 1")
    assert evaluate(*flags) == (4 if "KEY_1" in words else 2)
    one_line(capsys.readouterr().err, words)
    assert not (data / "run.jsonl").exists()


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line, with exit code 2."""
    monkeypatch.setattr("api_smoothing.cluster.on_ray.find_spec", lambda name: None)
    assert evaluate("--ray", "local") == 2
    one_line(capsys.readouterr().err, "pip install 'api-smooth[ray]'")


@pytest.mark.slow
def test_two_accounts_make_one_run(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are those of one, and no key is in the file or in what is printed."""
    monkeypatch.setenv("KEY_1", "s3cret-1")
    monkeypatch.setenv("KEY_2", "s3cret-2")
    assert evaluate("--accounts", "accounts.toml", "--json") == 0
    many, told = json.loads((out := capsys.readouterr()).out), out.err
    written = (data / "run.jsonl").read_text()
    assert verifier.check("run.jsonl")["faults"] == []
    assert "s3cret" not in written + told
    monkeypatch.setenv("API_SMOOTH_HOME", str(data / "elsewhere"))
    (data / "run.jsonl").unlink()
    assert evaluate("--json") == 0
    alone = json.loads(capsys.readouterr().out)
    assert many["queries"] == alone["queries"]
    assert [one["certified"] for one in many["radii"]] == [one["certified"] for one in alone["radii"]]
