"""The command that checks a run file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api_smoothing import evidence, runs
from api_smoothing.certify import Spec
from api_smoothing.cli import main


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run that came to none of its two images."""
    path = tmp_path / "run.jsonl"
    images = [{"id": name, "path": name, "truth": None, "image_sha256": name * 64} for name in "ab"]
    with runs.open(path, {"sigma": 0.25}) as run:
        evidence.commit(run, images, spec=Spec(sigma=0.25, n=100), price_usd=0.001)
        evidence.finish(run, seconds=0.0, left=2)
    return path


def test_what_holds_is_told_in_a_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, the sums, and the chain that can be published."""
    assert main(["verify", str(run_file)]) == 0
    out = capsys.readouterr().out
    chain = json.loads(run_file.read_text().splitlines()[-1])["chain"]
    assert out.startswith("verified: 0 certificates of 2 images, 0 queries, $0.0000")
    assert chain in out
    assert main(["verify", str(run_file), "--chain", chain]) == 0
    assert main(["verify", str(run_file), "--chain", "0" * 64]) == 1


def test_each_fault_is_a_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: as text a line each, as JSON one object."""
    lines = run_file.read_text().splitlines(keepends=True)
    run_file.write_text("".join([*lines[:2], *lines[3:]]).replace("0.001", "0.002"))
    assert main(["verify", str(run_file)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("not verified")
    assert main(["verify", str(run_file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is False
    assert found["faults"] == told[:-1]


def test_a_run_file_without_a_commitment_is_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so, whatever certificates it has."""
    golden = Path(__file__).parents[1] / "golden" / "run-0.1.0.jsonl"
    assert main(["verify", str(golden)]) == 1
    assert capsys.readouterr().out.splitlines()[0].startswith("it has no commitment")


HEADER = '{"schema": "api-smooth/run/1", "settings": {}, "version": "0", "created": ""}\n'


@pytest.mark.parametrize(
    "text",
    ["", "no json\n", '{"schema": "other/1"}\n', "[1]\n", "[" * 100_000 + "\n", HEADER + "[1]\n"],
    ids=["empty", "no_json", "other", "list", "deep", "list_at_the_end"],
)
def test_what_is_no_run_file_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, also where there is no file."""
    path = tmp_path / "run.jsonl"
    assert main(["verify", str(path)]) == 2
    path.write_text(text)
    assert main(["verify", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
