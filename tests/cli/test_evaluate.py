"""`api-smooth evaluate`: from a folder to a table, a file, an exit code."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import TOY, one_line, resume, start
from PIL import Image

import api_smoothing.evidence.verify as verifier
from api_smoothing.cli import main
from api_smoothing.recorded import read_run

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def data(project: Path) -> Path:
    """Four cats and a dog, 8×8, in a folder of classes."""
    for number in range(5):
        folder = project / "data" / ("dog" if number == 4 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number + 10).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return project / "data"


def evaluate(*arguments: str) -> int:
    return main(["evaluate", "data", *TOY, *arguments])


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What was right at each radius, with its interval; all of it on standard output."""
    assert evaluate("--radii", "0,0.1", "-n", "50") == 0
    told = capsys.readouterr().out
    for words in ("certified right at 0.1", "80.0%", "4 of 5", "average certified radius", "255"):
        assert words in told


def test_json_is_the_summary_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """One object, with the gates where there are any, and nothing else."""
    assert evaluate("--radii", "0.1", "-n", "50", "--json", "--fail-under", "0.5") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["schema"] == "api-smooth/summary/1"
    assert [at["certified"]["k"] for at in values["radii"]] == [4]
    assert [one["passed"] for one in values["gates"]] == [True]


def test_a_gate_that_is_not_passed_is_exit_1_with_the_reason(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--fail-under says why in a line, and in JUnit's file."""
    told = ["--radii", "0.1", "-n", "50", "--model", "share=0.5", "--junit", "j.xml"]
    assert evaluate(*told, "--fail-under", "0.9") == 1
    assert "not passed: accuracy is below 0.9: 0 of 5" in capsys.readouterr().err
    assert "<failure" in (project / "j.xml").read_text()


def test_a_run_file_is_resumed_and_holds_evidence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command goes on with what is missing, and asks nothing where nothing is."""
    told = ["--radii", "0.1", "--output", "run.jsonl", "--json"]
    assert evaluate(*told, "--model", "fail=60") == 4
    error = capsys.readouterr().err
    assert "resume with: api-smooth evaluate" in error
    assert "Traceback" not in error
    assert evaluate(*told, "--model", "fail=60") == 0
    assert verifier.check("run.jsonl")["faults"] == []
    first = json.loads(capsys.readouterr().out)
    assert evaluate(*told, "--model", "fail=60") == 0
    assert json.loads(capsys.readouterr().out)["queries"] == first["queries"]
    assert main(["verify", "run.jsonl"]) == 0


def test_a_spent_budget_is_exit_3_with_the_command_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """What is decided is in the table, and the command named in the message finishes the run."""
    told = ["--radii", "0,0.1", "-n", "50", "--output", "run.jsonl", "--model", "usd=0.001"]
    assert evaluate(*told, "--budget-usd", "0.12") == 3
    error = capsys.readouterr().err
    assert "images decided" in error
    line = next(line for line in error.splitlines() if "resume with" in line)
    again = resume(line)
    while main(again) == 3:
        line = next(line for line in capsys.readouterr().err.splitlines() if "resume with" in line)
        again = resume(line)
    assert len(read_run("run.jsonl").certificates) == 5
    assert verifier.check("run.jsonl")["faults"] == []


def test_an_image_that_cannot_be_read_is_told_and_not_called_decided(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts as failed, by name; of the others it is said only then that they are decided when they are."""
    (project / "data" / "cat" / "broken.png").write_bytes(b"no image")
    assert evaluate("--radii", "0", "-n", "30", "--output", "run.jsonl") == 0
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "decided already" not in error
    assert evaluate("--radii", "0", "-n", "30", "--output", "run.jsonl") == 0
    assert "5 of 6 images are decided already" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--output", "--resume"])
def test_an_output_that_needs_a_package_names_it(
    flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no question of rights and keys, and the same command does not help."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert evaluate("--radii", "0", "-n", "30", flag, "s3://bucket/run.jsonl") == 2
    error = capsys.readouterr().err
    assert "pip install 'api-smooth[remote]' s3fs" in error
    assert "resume" not in error


def test_a_claim_is_proved_or_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    """--at-least says what is known; refuted is exit 1."""
    assert evaluate("--radii", "0.1", "--at-least", "0.1") == 0
    table = capsys.readouterr().out
    assert "certified right at 0.1" in table
    assert "% to " not in table, "an interval that does not hold for a run that stopped by what it saw"
    assert evaluate("--radii", "0.1", "--at-least", "0.1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["claim"]["state"] == "proved"
    assert evaluate("--radii", "0.1", "--at-least", "0.9", "--json") == 1
    assert json.loads(capsys.readouterr().out)["claim"]["state"] == "refuted"


def test_a_dry_run_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what all images would cost."""
    assert evaluate("--radii", "0,0.1", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--radii", "a"], "--radii must be numbers"),
        (["--radii", "-0.1"], "--radii must be 0 or more"),
        (["--radii", "0,nan", "--dry-run"], "--radii must be 0 or more"),
        (["--radius", "nan", "--fail-under", "0.5"], "--radius must be 0 or more"),
        (["--at-least", "0.5"], "one radius"),
        (["--radii", "0.1", "--at-least", "1.5"], "a share from 0 to 1"),
        (["--radius", "0.1"], "--radius is that of the gates"),
        (["--junit", "j.xml"], "--junit reports gates"),
        (["--max-drop", "0.1"], "--baseline"),
        (["--baseline", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--output", "no/where.jsonl"], "a folder that is there"),
        (["--epoch", ""], "epoch must be a name"),
        (["--limit", "0"], "limit"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in a flag is exit 2 before anything is asked."""
    assert evaluate(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    one_line(captured.err, words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: (p / "empty").mkdir(), "empty"),
        (lambda p: (p / "empty").write_text("path,label\nx.png\n"), "empty"),
    ],
)
def test_bad_data_is_one_line(
    make: Any, words: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty folder, a table without its columns."""
    make(project)
    assert main(["evaluate", "empty", *TOY]) == 2
    one_line(capsys.readouterr().err, words)


def test_a_budget_that_pays_for_no_image_is_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no table then, and no gate; the message names the command that goes on."""
    told = [
        "--radii",
        "0.1",
        "-n",
        "50",
        "--output",
        "run.jsonl",
        "--model",
        "usd=0.001",
        "--fail-under",
        "0.5",
    ]
    assert evaluate(*told, "--budget-usd", "0.01", "--json") == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    one_line(captured.err, "0 of 5 images decided", "resume with: api-smooth evaluate")


def test_a_gate_is_about_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline that ended at a smaller radius, or is the run itself, would be fallen below by nothing."""
    assert evaluate("--radii", "0.1", "--output", "a.jsonl") == 0
    capsys.readouterr()
    told = ["--baseline", "a.jsonl", "--epoch", "b"]
    assert evaluate(*told, "--radii", "0.1,0.2") == 2
    assert "a.jsonl asked about radii up to 0.1, which shows nothing of 0.2" in capsys.readouterr().err
    assert evaluate(*told, "--radii", "0.1,0.2", "--radius", "0.1") == 0
    capsys.readouterr()
    assert evaluate("--radii", "0,0.1", "-n", "40", "--radius", "0", "--fail-under", "0.1") == 0
    capsys.readouterr()
    assert evaluate("--radii", "0.1", "--output", "a.jsonl", "--baseline", "a.jsonl") == 2
    one_line(capsys.readouterr().err, "is the --baseline itself")


def test_a_gate_against_kept_answers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """What the vendor has changed is seen in fresh answers only; another epoch has them."""
    told = ["--radii", "0.1", "-n", "40", "--model", "usd=0.0001", "--budget-usd", "none"]
    assert evaluate(*told, "--output", "a.jsonl") == 0
    capsys.readouterr()
    assert evaluate(*told, "--baseline", "a.jsonl") == 2
    one_line(capsys.readouterr().err, "--epoch NAME")
    assert evaluate(*told, "--baseline", "a.jsonl", "--epoch", "next", "--output", "b.jsonl") == 0
    assert read_run("b.jsonl").header.settings["epoch"] == "next"


# Corruptions


def test_corruptions_are_runs_beside_the_clean_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row each and their mean; a file each, which holds by itself and whose data set is called after it."""
    told = ["--radii", "0,0.1", "-n", "50", "--corruptions", "fog:3,snow", "--severities", "1,2"]
    assert evaluate(*told, "--output", "run.jsonl") == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["images", "unsmoothed", "accuracy"]
    assert "certified right at 0.1" in head
    assert [row.split()[0] for row in rows] == ["clean", "fog:3", "snow:1", "snow:2", "mean"]
    assert all("80.0% (28%–99%)" in row for row in rows[:4])
    files = ["run.fog-3.jsonl", "run.jsonl", "run.snow-1.jsonl", "run.snow-2.jsonl"]
    assert sorted(path.name for path in project.glob("*.jsonl")) == files
    for file, name in zip(files, ("data (fog 3)", "data", "data (snow 1)", "data (snow 2)"), strict=True):
        assert verifier.check(file)["faults"] == []
        assert read_run(file).header.settings["data"] == name
    digests = {found.image_sha256 for file in files for found in read_run(file).certificates}
    assert len(digests) == 4 * 5


def test_corrupted_runs_are_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    """The same command asks nothing; a further corruption only its own images."""
    told = ["--radii", "0.1", "-n", "50", "--output", "run.jsonl", "--json", "--corruptions"]
    assert evaluate(*told, "fog:3") == 0
    first = json.loads(capsys.readouterr().out)
    assert evaluate(*told, "fog:3") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert evaluate(*told, "fog:3,snow:1") == 0
    more = json.loads(capsys.readouterr().out)
    assert {name: more["runs"][name] for name in ("clean", "fog:3")} == first["runs"]
    assert (first["means"], set(more["runs"])) == ({}, {"clean", "fog:3", "snow:1"})
    assert more["means"]["certified right at 0.1"] == 0.8


def test_corruptions_share_one_budget(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends them where it ends, exit code 3; a larger one goes on with all of them, and pays for nothing twice."""
    told = ["--radii", "0,0.1", "-n", "50", "--model", "usd=0.001", "--yes", "--corruptions", "fog:3,snow:1"]
    told += ["--output", "run.jsonl", "--json"]
    assert evaluate(*told, "--budget-queries", "400") == 3
    printed = capsys.readouterr()
    assert "2 of 5 images of fog:3 (2 of 3 runs) decided" in printed.err
    runs = json.loads(printed.out)["runs"]
    assert set(runs) == {"clean", "fog:3"}
    assert sum(one["queries"] for one in runs.values()) <= 400
    assert not (project / "run.snow-1.jsonl").exists()
    (line,) = [line for line in printed.err.splitlines() if "with:" in line]
    assert "--corruptions" in line
    assert evaluate(*told, "--budget-queries", "5000") == 0
    whole = json.loads(capsys.readouterr().out)["runs"]
    assert sum(one["queries"] for one in whole.values()) == 3 * 5 * 51
    for file in project.glob("*.jsonl"):
        assert verifier.check(str(file))["faults"] == []


def test_the_price_of_corruptions_is_that_of_all_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run tells it beforehand."""
    told = ["--radii", "0.1", "-n", "50", "--dry-run", "--no-clean", "--json"]
    assert evaluate(*told) == 0
    alone = json.loads(capsys.readouterr().out)
    assert evaluate(*told, "--corruptions", "all:1") == 0
    all_ = json.loads(capsys.readouterr().out)
    assert all_["queries_high"] == 16 * alone["queries_high"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--corruptions", "fogg"], "fogg"),
        (["--corruptions", "fog:9"], "from 1 to 5"),
        (["--severities", "1"], "--severities are those of --corruptions"),
        (["--corruptions", "fog", "--severities", "9"], "--severities '9' must be from 1 to 5"),
        (["--corruptions", "fog", "--fail-under", "0.5"], "--fail-under is about one run"),
        (["--corruptions", "fog", "--at-least", "0.5", "--radii", "0.1"], "--at-least is about one run"),
    ],
)
def test_what_does_not_go_with_corruptions_is_one_line(
    flags: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked."""
    assert evaluate(*flags) == 2
    one_line(capsys.readouterr().err, why)


def test_a_baseline_of_other_pixels_is_refused_before_the_first_query(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file names with other pictures behind them: one line, and nothing is asked."""
    told = ["--radii", "0.1", "-n", "50"]
    assert evaluate(*told, "--output", "before.jsonl") == 0
    for number in (0, 1):
        Image.new("RGB", (8, 8), "teal").save(project / "data" / "cat" / f"{number}.png")
    capsys.readouterr()
    against = ["--baseline", "before.jsonl", "--epoch", "b"]
    assert evaluate(*told, "--output", "after.jsonl", *against, "--junit", "j.xml") == 2
    one_line(
        capsys.readouterr().err.splitlines(keepends=True)[-1],
        "cat/0.png and 1 more have other pixels here than in before.jsonl: compare runs of the same files, brought to "
        "the same --size, or make a new baseline",
    )
    assert not read_run("after.jsonl").certificates
    assert evaluate(*told, "--size", "6", "--output", "small.jsonl", *against) == 2
    assert "the same --size" in capsys.readouterr().err


def test_junit_of_a_run_that_did_not_end_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Build servers see no green where the budget was spent or the provider failed, nor an earlier run's file."""
    junit = project / "j.xml"
    told = ["--radii", "0.1", "-n", "50", "--junit", "j.xml", "--fail-under", "0.1"]

    def suite() -> tuple[dict[str, str], list[str]]:
        root = ElementTree.parse(junit).getroot()
        return dict(root.attrib), [one.get("message", "") for one in root.iter("error")]

    assert evaluate(*told) == 0
    assert suite()[0]["errors"] == "0"
    assert (
        evaluate(*told, "--model", "usd=0.001", "--budget-usd", "0.12", "--output", "a.jsonl", "--cache", "a")
        == 3
    )
    attributes, errors = suite()
    assert (attributes["tests"], attributes["errors"]) == ("2", "1")
    assert errors == ["the budget is spent; 2 of 5 images decided"]
    assert (
        evaluate(
            *told, "--model", "usd=0.001", "--budget-usd", "0.001", "--output", "b.jsonl", "--cache", "b"
        )
        == 3
    )
    assert suite()[1] == ["the budget is spent; 0 of 5 images decided"]
    assert evaluate(*told, "--model", "fail=60", "--output", "c.jsonl", "--cache", "c") == 4
    attributes, errors = suite()
    assert (attributes["tests"], attributes["errors"], len(errors)) == ("1", "1", 1)
    junit.write_text("<testsuite/>")
    assert evaluate("--radii", "9", "-n", "50", "--junit", "j.xml", "--fail-under", "0.1") == 2
    assert not junit.exists(), "an earlier run's verdict"
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [["--radii", "0,0.1"], ["--radii", "0.1", "--at-least", "0.6"]],
    ids=["several radii", "a claim"],
)
def test_interrupted_at_any_moment_the_table_is_the_undisturbed_one(
    question: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By Ctrl-C and by a manager, where answers end when they decide: nothing is lost, or paid twice."""
    for number in range(20, 32):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(project / "data" / "cat" / f"{number}.png")
    told = [*TOY, "--model", "share=0.95", *question, "--json"]
    for number, query in ((signal.SIGINT, 5), (signal.SIGTERM, 150)):
        process = start("evaluate", "data", *told, "--output", "run.jsonl", told=(number, query))
        _, error = process.communicate(timeout=120)
        assert process.returncode == 128 + number
        assert "Traceback" not in error
        assert resume(error.splitlines()[-1])[:2] == ["evaluate", "data"]
    assert main(["evaluate", "data", *told, "--output", "run.jsonl"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "data", *told, "--output", "other.jsonl", "--cache", "other"]) == 0
    undisturbed = json.loads(capsys.readouterr().out)
    assert again.pop("name") != undisturbed.pop("name")
    missing = undisturbed.pop("queries") - again.pop("queries")
    assert 0 <= missing <= 30, "answers under way when it was interrupted are in the budget, and kept"
    for spent in ("cached", "seconds"):
        again.pop(spent), undisturbed.pop(spent)
    for claimed in (again["claim"], undisturbed["claim"]):
        if claimed is not None:
            claimed.pop("created")
    assert again == undisturbed
    assert verifier.check("run.jsonl")["faults"] == []
