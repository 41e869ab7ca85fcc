from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing.cli import main

PLUGIN = Path(__file__).parents[1] / "plugin"
TOY = ["--provider", "toy", "--denoiser", "none", "--seed", "7", "--sigma", "0.25"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three images, where the toy provider is installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    folder = tmp_path / "project"
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate("abc"):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    monkeypatch.chdir(folder)
    return folder


Objects = list[dict[str, Any]]


@pytest.fixture
def certify(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Objects, str]]:
    """Runs `certify --json` and returns exit code, objects printed, and standard error."""

    def run(*arguments: str) -> tuple[int, Objects, str]:
        code = main(["certify", *TOY, "--json", *arguments])
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run


def resume(error: str) -> list[str]:
    """The arguments of the command a message names."""
    return shlex.split(error.strip().split("resume with: api-smooth ")[1])


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own, as a user would have it."""
    path = os.pathsep.join([str(PLUGIN), str(Path(__file__).parents[2])])
    return subprocess.Popen(
        [sys.executable, "-m", "api_smoothing", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=_as_from_a_terminal,
    )


def _as_from_a_terminal() -> None:
    """A job started in the background ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for_answers(count: int) -> None:
    """Until the cache holds `count` answers."""
    from contextlib import closing

    from api_smoothing.engine.storage.answers import DiskCache
    from api_smoothing.home import home

    for _ in range(600):
        if (home() / "votes" / "cache.db").is_file():
            with closing(DiskCache(home() / "votes")) as cache:
                if sum(answers for _, _, answers in cache.streams()) >= count:
                    return
        time.sleep(0.1)
    raise AssertionError("the run did not get anywhere")


def test_json_is_one_certificate_a_line(certify: Any) -> None:
    """--json prints each image's certificate as one object a line, in order, and nothing else."""
    code, done, _ = certify("images", "-n", "50")
    assert code == 0
    assert [one["image"] for one in done] == ["images/a.png", "images/b.png", "images/c.png"]
    for one in done:
        assert (one["label"], one["votes"], one["n"], one["queries"]) == ("cat", 50, 50, 50)
        assert one["stopped"] == "n"
        assert one["seed"] == "public:7"


def test_people_get_a_block(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json each image is a short block that says label, radius, votes, α, why it stopped, and cost."""
    assert main(["certify", "images/a.png", *TOY, "--radius", "0.25"]) == 0
    block = capsys.readouterr().out
    assert block.startswith("images/a.png\n")
    for words in ["cat", "0.2500 ℓ2", "8×8", "0.25: reached", "α = 0.001", "queries sent", "public seed 7"]:
        assert words in block
    assert main(["certify", "images/a.png", *TOY, "--model", "share=0.5", "-n", "60"]) == 0, (
        "abstaining is done"
    )
    assert "abstained" in capsys.readouterr().out


def test_asking_again_costs_nothing(certify: Any) -> None:
    """The same question twice sends nothing the second time and gives the same votes."""
    _, [first], _ = certify("images/a.png", "-n", "80", "--model", "share=0.9")
    _, [again], _ = certify("images/a.png", "-n", "80", "--model", "share=0.9")
    assert (first["queries"], first["cached"]) == (80, 0)
    assert (again["queries"], again["cached"]) == (0, 80)
    assert again["counts"] == first["counts"]


def test_a_run_file_is_resumed(project: Path, certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Images in the run file are skipped; new ones are appended; other settings are refused."""
    command = ["certify", *TOY, "-n", "40", "--output", "run.jsonl"]
    assert main([*command, "images/a.png", "images/b.png"]) == 0
    assert main([*command, "images"]) == 0
    printed = capsys.readouterr()
    assert "2 of 3 images are already in run.jsonl" in printed.err
    lines = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert [one["image"] for one in lines[1:]] == ["images/a.png", "images/b.png", "images/c.png"]
    assert lines[0]["settings"]["sigma"] == 0.25
    assert main([*command, "images", "--sigma", "0.5"]) == 2
    assert "run.jsonl was made with sigma = 0.25, this run has 0.5" in capsys.readouterr().err
    assert main([*command, "images", "-n", "41"]) == 2


def test_an_exhausted_budget_is_exit_3_and_resumable(
    certify: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3 names the command that resumes; run until it is through, it has paid each query once."""
    code, done, error = certify("images", "-n", "50", "--budget-queries", "70")
    assert (code, [one["stopped"] for one in done]) == (3, ["n", "budget", "budget"])
    assert "the budget is exhausted; 1 of 3 images decided" in error
    sent, rounds = sum(one["queries"] for one in done), 1
    while code == 3:
        code = main(resume(error.splitlines()[-1]))
        printed = capsys.readouterr()
        done, error = [json.loads(line) for line in printed.out.splitlines()], printed.err
        sent, rounds = sent + sum(one["queries"] for one in done), rounds + 1
    assert (code, sent, rounds) == (0, 150, 3)
    assert [one["label"] for one in done] == ["cat"] * 3


def test_a_budget_too_small_for_anything_spends_nothing(certify: Any) -> None:
    """A fixed number of queries the budget cannot pay is not begun, and the message says to raise the budget."""
    code, [done], error = certify("images/a.png", "-n", "90", "--budget-queries", "40")
    assert (code, done["queries"], done["label"]) == (3, 0, None)
    assert "raise it" in error


def test_dollars_are_a_budget_too(certify: Any) -> None:
    """--budget-usd is never exceeded: what it cannot pay is not begun."""
    code, done, _ = certify("images", "-n", "50", "--model", "usd=0.01", "--budget-usd", "0.75")
    assert code == 3
    assert [(one["queries"], one["cost_usd"]) for one in done] == [(50, 0.5), (0, 0.0), (0, 0.0)]


def test_a_failing_provider_is_exit_4_and_keeps_what_is_paid(certify: Any) -> None:
    """When the provider fails for good: exit 4, one line with the provider's reason, no answer lost."""
    code, done, error = certify("images/a.png", "images/b.png", "-n", "50", "--model", "fail=70")
    assert (code, len(done)) == (4, 1)
    assert "the key was revoked" in error
    assert "1 of 2 images decided" in error
    assert len([line for line in error.splitlines() if "error" in line]) == 1
    code, done, _ = certify("images/a.png", "images/b.png", "-n", "50")
    assert code == 0
    assert done[0]["cached"] == 50
    assert 0 < done[1]["cached"] <= 20


def test_a_dry_run_sends_nothing(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints an estimate and asks the provider nothing."""
    code, [estimate], _ = certify("images", "-n", "50", "--model", "fail=0,usd=0.001", "--dry-run")
    assert code == 0
    assert estimate["images"] == 3
    assert estimate["queries_high"] == 150
    assert estimate["usd_high"] == pytest.approx(0.15)
    assert main(["estimate", "--count", "3", *TOY, "--radius", "0.25"]) == 0
    assert "nothing was sent" in capsys.readouterr().out


def test_one_bad_image_costs_no_query(project: Path, certify: Any) -> None:
    """All images are opened before the first query: a bad last one is refused while nothing is spent."""
    (project / "images" / "z.png").write_text("no image")
    code, done, error = certify("images", "-n", "50")
    assert (code, done) == (2, [])
    assert "z.png" in error
    _, done, _ = certify("images/a.png", "-n", "50")
    assert done[0]["cached"] == 0


def test_predict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """predict gives a label without a radius, and shares its answers with certify."""
    assert main(["predict", "images/a.png", *TOY, "-n", "60", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["label"], one["votes"], one["queries"]) == ("cat", 60, 60)
    assert main(["certify", "images/a.png", *TOY, "-n", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cached"] == 60


def test_cache_info_and_clear(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache info` counts the answers; `cache clear` refuses without --yes and then forgets them all."""
    certify("images/a.png", "-n", "30")
    assert main(["cache", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == 30
    assert main(["cache", "clear"]) == 2
    assert "30 answers" in capsys.readouterr().err
    assert main(["cache", "clear", "--yes"]) == 0
    capsys.readouterr()
    _, [done], _ = certify("images/a.png", "-n", "30")
    assert done["queries"] == 30


def test_cache_clear_forgets_answers_only(
    certify: Any, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run has spent, and the looks, stay where the answers were, in whichever folder."""
    from contextlib import closing

    from api_smoothing.engine.storage.folder import FolderStorage
    from api_smoothing.results import Budget

    where = ["--cache", "answers"]
    certify("images/a.png", "-n", "30", "--run", "r", *where)
    storage = FolderStorage(project / "home", cache=project / "answers")
    with closing(storage.looks()) as looks:
        looks.record("s", "n=30")
        assert main(["cache", "path", *where]) == 0
        assert capsys.readouterr().out.strip() == "answers"
        assert main(["cache", "clear", "--yes", *where]) == 0
        assert capsys.readouterr().out == "30 answers forgotten\n"
        assert storage.contents().answers == 0
        assert looks.of("s") == ("n=30",)
    with closing(storage.budget(Budget(), run="r", provider="p", micro_usd=0)) as account:
        assert account.spent()[0] == 30


def test_kill_9_loses_no_paid_answer(project: Path, certify: Any) -> None:
    """Killed in the middle and run again: every query is asked once, and the certificate is the undisturbed one."""
    slow = ["--model", "share=0.9,delay=0.01"]
    command = ["certify", *TOY, *slow, "--json", "-n", "600", "images/a.png"]
    process = start(*command)
    wait_for_answers(50)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    _, [again], _ = certify(*slow, "-n", "600", "images/a.png")
    assert again["cached"] >= 50
    assert again["queries"] > 0
    assert again["queries"] + again["cached"] == 600
    _, [undisturbed], _ = certify("--model", "share=0.9", "--cache", "other", "-n", "600", "images/a.png")
    assert undisturbed["queries"] == 600
    assert again["counts"] == undisturbed["counts"]
    assert again["radius"] == undisturbed["radius"]


def test_ctrl_c_is_exit_130_and_resumable(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Interrupted: exit 130, one line that says what is kept and how to resume, and resuming uses it."""
    process = start("certify", *TOY, "--model", "share=0.9,delay=0.01", "--json", "-n", "600", "images/a.png")
    wait_for_answers(50)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in error
    assert "interrupted; 0 of 1 image decided, all answers are kept" in error.splitlines()[-1]
    assert main(resume(error.splitlines()[-1])) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["cached"] >= 50
    assert done["queries"] + done["cached"] == 600


def test_a_closed_pipe_is_quiet(project: Path) -> None:
    """`api-smooth certify … --json | head -1` ends without a word."""
    process = start("certify", *TOY, "--model", "delay=0.01", "--json", "-n", "40", "images")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["label"] == "cat"
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in error
    assert "error" not in error.lower()
