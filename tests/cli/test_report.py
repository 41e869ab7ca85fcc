"""`api-smooth report`: a page, and tables for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import one_line, start
from run_files import run_file

from api_smoothing.cli import main

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    run_file(tmp_path / "run.jsonl", 30)
    return "run.jsonl"


def test_all_outputs_at_once(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is what its name says; standard output has the JSON object alone."""
    pytest.importorskip("matplotlib")
    files = ["-o", "r.html", "--csv", "r.csv", "--markdown", "r.md", "--png", "r.png"]
    assert main(["report", run, *files, "--json"]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert json.loads(line)["runs"][0]["images"] == 30
    assert Path("r.html").read_text().startswith("<!DOCTYPE html>")
    assert len(Path("r.csv").read_text().splitlines()) == 31
    assert Path("r.md").read_text().startswith("|")
    assert Path("r.png").read_bytes().startswith(b"\x89PNG")
    assert "written: r.html" in printed.err


def test_without_a_file_the_table_is_printed(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", run]) == 0
    assert "certified at 0.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run.jsonl", "-o", "run.jsonl"], ["run.jsonl is one of the runs"]),
        (["run.jsonl", "-o", "a", "--csv", "./a"], ["same file"]),
        (["run.jsonl"] * 9, ["at most 8"]),
        ([str(GOLDEN / "presence-0.1.0.jsonl")], ["about labels present"]),
        (["nothing.jsonl"], ["cannot read nothing.jsonl"]),
        (["r.tsv"], ["--sigma"]),
        (["run.jsonl", "--pictures", "-1"], ["--pictures"]),
        (["r.tsv", "--sigma", "0"], ["--sigma"]),
        (["run.jsonl", "-o", "no/where.html"], ["no/where.html"]),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    run: str, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    Path("r.tsv").write_text("idx\tlabel\tpredict\tradius\tcorrect\ttime\n1\t3\t3\t0.5\t1\t0:00:01\n")
    before = Path(run).read_bytes()
    assert main(["report", *arguments]) == 2
    one_line(capsys.readouterr().err, *words)
    assert Path(run).read_bytes() == before


def test_a_page_without_pictures_needs_no_torch(run: str) -> None:
    """10,000 images are to take seconds: what takes them to import is left alone."""
    code = (
        "import sys; from api_smoothing.cli import main; "
        "main(['report', 'run.jsonl', '-o', 'r.html']); sys.exit('torch' in sys.modules)"
    )
    import subprocess
    import sys

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert start("report", run, "-o", "again.html").wait() == 0
