"""`evaluate --resume RUN`: the command that began a run file, from wherever one stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import TOY, one_line
from object_store import in_memory

import api_smoothing.evidence.verify as verifier
from api_smoothing import runs
from api_smoothing.cli import main

pytestmark = pytest.mark.usefixtures("begun")

QUESTION = ["--radii", "0,0.1", "-n", "40", "--model", "usd=0.001", "--limit", "3"]


@pytest.fixture
def begun(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run whose budget ends in the middle, of another folder than one stands in then."""
    monkeypatch.setenv("API_SMOOTH_ALPHA", "0.01")
    told = ["evaluate", "images", *TOY, *QUESTION, "--output", "run.jsonl", "--budget-usd", "0.06", "--json"]
    assert main(told) == 3
    monkeypatch.delenv("API_SMOOTH_ALPHA")
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    capsys.readouterr()
    return project / "run.jsonl"


def test_nothing_is_repeated_but_the_file(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings of flags and of variables hold, with the data that were meant; a larger budget counts instead."""
    decided = len([*runs.read(begun)])
    assert main(["evaluate", "--resume", str(begun)]) == 3, "the budget is that of the run, and spent"
    assert "resume with: api-smooth evaluate --resume" in capsys.readouterr().err
    assert main(["evaluate", "--resume", "../project/run.jsonl", "--budget-usd", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 3
    assert runs.header(begun).settings["alpha"] == 0.01
    assert 0 < decided < len([*runs.read(begun)])
    assert verifier.check(str(begun))["faults"] == []
    assert Path.cwd().name == "elsewhere"


def test_it_ends_as_the_same_command_does(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is that of a run which nothing disturbed, and no answer is asked for twice."""
    assert main(["evaluate", "--resume", str(begun), "--budget-usd", "1"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    words = [*TOY, *QUESTION, "--alpha", "0.01", "--output", "other.jsonl", "--cache", "other", "--json"]
    assert main(["evaluate", str(begun.parent / "images"), *words]) == 0
    undisturbed = json.loads(capsys.readouterr().out)
    for name in ("name", "seconds", "cached", "usd"):
        resumed.pop(name), undisturbed.pop(name)
    assert resumed == undisturbed


def test_a_file_that_has_been_moved_goes_on_where_it_is(begun: Path) -> None:
    """The folder is that of the data; the file may lie anywhere."""
    shutil.move(begun, "moved.jsonl")
    assert main(["evaluate", "--resume", "moved.jsonl", "--budget-usd", "1"]) == 0
    assert not begun.exists()


def test_a_run_in_an_object_store_is_resumed_by_its_address(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file of this machine is."""
    pytest.importorskip("fsspec")
    with in_memory() as bucket:
        url = f"{bucket}/run.jsonl"
        monkeypatch.chdir(project)
        told = ["evaluate", "images", *TOY, *QUESTION, "--output", url, "--budget-usd", "0.06"]
        assert main(told) == 3
        monkeypatch.chdir(project.parent)
        assert main(["evaluate", "--resume", url, "--budget-usd", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--resume", "../project/run.jsonl", "--output", "other.jsonl"], "give one of them"),
        (["--resume", "../project/run.jsonl", "--sigma", "0.5"], "sigma"),
        ([], "--resume RUN"),
    ],
)
def test_what_cannot_be_resumed_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is asked."""
    assert main(["evaluate", *arguments]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def changed(path: Path, **facts: object) -> None:
    """The command in the header of a run file, changed; None for no command."""
    first, *rest = path.read_text().splitlines()
    header = json.loads(first)
    header["command"] = {**header["command"], **facts} if facts else None
    path.write_text("\n".join([json.dumps(header), *rest]) + "\n")


def test_a_file_that_no_command_began_says_so(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one from Python: then the whole command is needed, which is said."""
    changed(begun)
    assert main(["evaluate", "--resume", str(begun)]) == 2
    one_line(capsys.readouterr().err, "does not tell the command that began it", f"--output {begun}")


def test_a_folder_that_has_gone_is_named(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data that are not there are not looked for elsewhere."""
    changed(begun, folder="/nowhere/at/all")
    assert main(["evaluate", "--resume", str(begun)]) == 2
    one_line(capsys.readouterr().err, "/nowhere/at/all, which is not there")


@pytest.mark.parametrize(
    ("argument", "value", "flag"),
    [
        ("--options", "endpoint=http://127.0.0.1:9", "--options"),
        ("--options", "region=x,profile=other", "--options"),
        ("--store", "postgresql://nobody@127.0.0.1:9/x", "--store"),
        ("--model", "endpoint.toml", "--model"),
        ("--ray", "127.0.0.1:9", "--ray"),
    ],
)
def test_a_file_does_not_decide_where_a_key_goes(
    argument: str, value: str, flag: str, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be somebody else's."""
    argv = runs.header(begun).command
    assert argv is not None
    changed(begun, argv=[*argv["argv"], argument, value])
    assert main(["evaluate", "--resume", str(begun)]) == 2
    one_line(capsys.readouterr().err, f"give {flag} once more")


def test_a_variable_of_the_file_does_not_either(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same holds of what it says the environment was."""
    changed(begun, environment={"options": "endpoint=http://127.0.0.1:9"})
    assert main(["evaluate", "--resume", str(begun)]) == 2
    one_line(capsys.readouterr().err, "give --options once more")


def test_secrets_are_not_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of flags nor of variables."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("API_SMOOTH_STORE", "postgresql://me:planted-1@127.0.0.1:9/x")
    from api_smoothing.cli.begun import command_of

    kept = command_of(
        ["evaluate", "images", "--options", "key=planted-2", "--store=postgresql://a:planted-3@h/d"]
    )
    assert "planted" not in json.dumps(kept)
