"""Budgets of a command, and the command that goes on where one ended."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from command_line import TOY, objects, resume

from api_smoothing.cli import main
from api_smoothing.cli.commands.certify import SETTINGS
from api_smoothing.cli.entry import build_parser
from api_smoothing.cli.resume import how_to_resume, retrying, run_name, with_larger_budget
from api_smoothing.cli.settings import Settings, resolve_settings
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.home import home
from api_smoothing.results import Budget
from api_smoothing.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--options", "key=planted-secret-51", "--budget-queries", "3"],
        ["--options", "key=planted-secret-51,x"],
    ],
    ids=["resume", "malformed"],
)
def test_a_key_among_the_options_is_not_repeated(
    arguments: list[str], server: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key given as an option does not come back in messages, which end up in logs."""
    assert main(["certify", "0.png", "-n", "30", *arguments]) in (2, 3)
    assert "planted-secret-51" not in capsys.readouterr().err


def test_the_flag_that_retries_goes_before_what_are_no_flags() -> None:
    """It is given once, and before "--", after which everything is a file."""
    assert retrying(["certify", "a.png"]) == ["certify", "a.png", "--retry-failures"]
    assert retrying(["certify", "--", "-a.png"]) == ["certify", "--retry-failures", "--", "-a.png"]
    assert retrying(retrying(["certify", "a.png"])) == ["certify", "a.png", "--retry-failures"]


def test_a_named_run_shares_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that name the same run spend from one budget."""
    command = ["certify", *TOY, "-n", "40", "--json", "--run", "audit", "--budget-queries", "60"]
    assert main([*command, "a.png"]) == 0
    assert main([*command, "b.png"]) == 3
    assert [one["queries"] for one in objects(capsys)] == [40, 0]


def test_different_questions_have_different_budgets() -> None:
    """A budget is for one question about the same files: another question is not charged to it."""
    command = ["certify", *TOY, "-n", "40", "--budget-queries", "60"]
    assert main([*command, "a.png"]) == 0
    assert main([*command, "b.png"]) == 0


def test_a_run_without_a_name_is_named_after_its_question() -> None:
    """Without --run no name is set, so that the same command again, after a kill too, has the same budget."""
    args = build_parser().parse_args(["certify", "a.png", *TOY, "-n", "40", "--budget-queries", "60"])
    assert resolve_settings(args, SETTINGS).run is None


def test_a_budget_below_the_fewest_answers_is_a_budget_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the budget makes a radius unreachable, the message is about the budget and its command decides."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--budget-queries", "30"]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "budget" in error
    assert main(resume(error.splitlines()[-1])) == 0


def test_presence_has_a_budget_of_its_own() -> None:
    """Which labels are reported is another question than which is first, and is not charged to that one's budget."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--no-cache", "--budget-queries", "80"]
    assert main(command) == 0
    assert main([*command, "--labels-present", "cat"]) == 0


def test_the_resuming_command_pays_for_something(capsys: pytest.CaptureFixture[str]) -> None:
    """However much a run has spent before, the command that a message names goes on."""
    command = ["certify", *TOY, "--run", "audit"]
    assert main([*command, "a.png", "-n", "60"]) == 0
    assert main([*command, "b.png", "-n", "40", "--budget-queries", "20"]) == 3
    assert main(resume(capsys.readouterr().err.splitlines()[-1])) == 0


@pytest.mark.parametrize(
    ("budget", "spends"), [(["--budget-queries", "7"], "queries"), (["--budget-usd", "0.07"], "cost_usd")]
)
def test_one_larger_budget_is_enough_to_begin(
    budget: list[str], spends: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget far below what an image takes is raised to what it takes, not doubled again and again."""
    command = ["certify", "a.png", *TOY, "--model", "usd=0.01", "-n", "90", "--json", *budget]
    assert main(command) == 3
    assert main(resume(capsys.readouterr().err.splitlines()[-1])) == 0
    [done] = objects(capsys)
    assert done[spends] > 0


def test_a_flag_is_set_before_the_end_of_flags() -> None:
    """What a resuming command adds goes before "--", after which everything is an image."""
    again = with_larger_budget(Settings(budget_queries=5), ["certify", "--budget-queries=5", "--", "-a.png"])
    assert again == ["certify", "--budget-queries", "10", "--", "-a.png"]


@pytest.mark.parametrize("command", ["certify", "predict"])
def test_nothing_is_said_to_be_kept_where_nothing_was_asked(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that could not begin has no answers to keep, and still names its command."""
    for name in ("CLARIFAI_PAT", "CLARIFAI_GRPC_BASE"):
        monkeypatch.delenv(name, raising=False)
    pytest.importorskip("clarifai_grpc")
    assert main([command, "a.png", "--provider", "clarifai", "--denoiser", "none", "-n", "20"]) == 4
    error = capsys.readouterr().err
    assert "nothing was asked; resume with: " in error
    assert "kept" not in error
    assert "0 of 1 image decided" in error


def test_a_budget_with_money_left_is_not_called_exhausted(capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is told where it is too little, and "exhausted" is said where nothing is."""
    command = ["certify", "a.png", "b.png", *TOY, "-n", "50"]
    assert main([*command, "--budget-queries", "70"]) == 3
    assert "the budget has 20 queries left, too little for another image" in capsys.readouterr().err
    assert main([*command, "--budget-queries", "50", "--no-cache", "--run", "r"]) == 3
    assert "the budget is exhausted" in capsys.readouterr().err
    assert main(["predict", "a.png", "b.png", *TOY, "-n", "30", "--budget-queries", "40", "--no-cache"]) == 3
    assert "the budget is exhausted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word",
    [
        "a  b.png",
        "it's.png",
        "we\nird.png",
        "tab\there\\.png",
        "\u202egnp.exe",
        "monkey=1.png",
        "é 猫.png",
        "",
    ],
)
def test_the_resuming_command_is_the_one_given(word: str, tmp_path: Path) -> None:
    """A shell that is given the command of the message gets every word as it was, in one line."""
    told = how_to_resume(Settings(), ["certify", word, "--options", "key=k,only=a"])
    assert "\n" not in told
    command = told.split("resume with: api-smooth ")[1]
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stdout.decode().split("\0")[:-1] == ["certify", word, "--options", "key=***,only=a"]


@pytest.mark.parametrize(("where", "most"), [("folder", "14"), ("home", "10"), (False, "10")])
def test_a_larger_budget_is_more_than_the_run_has_spent_where_its_answers_lie(
    tmp_path: Path, where: str | bool, most: str
) -> None:
    """Twice what the ledger beside the answers has of the run, or twice the old budget where it has less."""
    folder = str(tmp_path / "answers")
    with closing(
        FolderStorage(home(), cache=Path(folder)).budget(Budget(), run="r", provider="p", micro_usd=1)
    ) as account:
        account.reserve("s", range(7))
    cache = {"folder": folder, "home": True}.get(str(where), False)
    settings = Settings(budget_queries=5, run="r", cache=cache)
    again = with_larger_budget(settings, ["certify", "--budget-queries", "5"])
    assert again == ["certify", "--budget-queries", most]


def test_a_run_keeps_the_name_it_had() -> None:
    """Settings that are younger than the budgets that are kept are no part of its name where they are not used."""
    of_plain = run_name(Settings(), ["/a.png"], about="certify False None")
    assert of_plain == "command-d7a6a6d7502e57e1ba0542fc"
    for younger in (Settings(prior="learn"), Settings(reuse="ball")):
        assert run_name(younger, ["/a.png"], about="certify False None") != of_plain
