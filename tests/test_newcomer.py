"""What someone meets who follows the docs and the messages literally: slips, small budgets, odd machines."""

from __future__ import annotations

import importlib
import io
import json
import shlex
import socket
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing.adapters import Verdict, azure_errors
from api_smoothing.cli import main
from api_smoothing.cli.commands.certify import SETTINGS
from api_smoothing.cli.entry import build_parser
from api_smoothing.cli.settings import resolve_settings

PLUGIN = Path(__file__).parent / "plugin"
TOY = ["--provider", "toy", "--denoiser", "none", "--seed", "7", "--sigma", "0.25"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder but for two photographs, and the toy provider installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for number, name in enumerate("ab"):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{name}.png")


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def resume(error: str) -> list[str]:
    """The arguments of the command a message names."""
    return shlex.split(error.strip().split("resume with: api-smooth ")[1])


def one_line(error: str, *words: str) -> None:
    """Nothing but one line, without a program's own words, that has these."""
    assert error.count("\n") == 1
    assert "internal error" not in error
    for word in words:
        assert word in error


# budgets


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


def test_a_prediction_cut_short_by_the_budget_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A prediction that abstains because its budget ended is exit 3, with the command that goes on."""
    command = ["predict", "a.png", *TOY, "--model", "share=0.9", "-n", "60", "--budget-queries", "5"]
    assert main(command) == 3
    assert "resume with: api-smooth predict" in capsys.readouterr().err


def test_presence_has_a_budget_of_its_own() -> None:
    """Which labels are reported is another question than which is first, and is not charged to that one's budget."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--no-cache", "--budget-queries", "80"]
    assert main(command) == 0
    assert main([*command, "--labels-present", "cat"]) == 0


@pytest.mark.xfail(strict=True, reason="twice the flag's budget may be less than the run has spent already")
def test_the_resuming_command_pays_for_something(capsys: pytest.CaptureFixture[str]) -> None:
    """However much a run has spent before, the command that a message names goes on."""
    command = ["certify", *TOY, "--run", "audit"]
    assert main([*command, "a.png", "-n", "60"]) == 0
    assert main([*command, "b.png", "-n", "40", "--budget-queries", "20"]) == 3
    assert main(resume(capsys.readouterr().err.splitlines()[-1])) == 0


# estimates


def test_the_estimate_counts_what_chooses_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    """The dry run of a fixed number of queries is the number the run sends, n0 included."""
    command = ["certify", "a.png", *TOY, "-n", "60", "--n0", "10", "--method", "clopper-pearson", "--json"]
    assert main([*command, "--dry-run"]) == 0
    assert main(command) == 0
    estimate, done = objects(capsys)
    assert estimate["queries_high"] == done["queries"] == 70


def test_the_estimate_of_presence_is_not_that_of_the_top_label(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run with --labels-present is refused, or says that presence is what it is about."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--labels-present", "cat", "--dry-run"]
    code = main(command)
    printed = capsys.readouterr()
    assert code == 2 or "presen" in printed.out


# presence


def test_a_label_that_is_never_reported_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Every label named has a certificate, one that abstains where no answer reports the label."""
    assert main(["certify", "a.png", *TOY, "-n", "40", "--labels-present", "cat,unicorn", "--json"]) == 0
    found = objects(capsys)
    assert [one["label"] for one in found] == ["cat", None]
    assert "unicorn" in found[1]["counts"] or "unicorn" in found[1]["reason"]


@pytest.mark.parametrize("labels", ["", " ", "cat,", ":0.7"])
def test_an_empty_label_is_refused(labels: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--labels-present without a name is a slip, and costs nothing."""
    assert main(["certify", "a.png", *TOY, "-n", "40", "--labels-present", labels]) == 2
    one_line(capsys.readouterr().err, "--labels-present")


def test_an_abstention_about_presence_names_the_label(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several blocks about one image, each says which label it is about, certified or not."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--budget-queries", "20"]
    assert main([*command, "--labels-present", "cat"]) == 3
    assert "cat" in capsys.readouterr().out


# slips

OPTIONS = [
    ("aws", "regoin=us-east-1"),
    ("azure", "regoin=westeurope"),
    ("google", "regoin=eu"),
    ("clarifai", "regoin=eu"),
    ("aws", "timeout=abc"),
    ("azure", "timeout=abc"),
    ("google", "timeout=abc"),
    ("google", "max_labels=many"),
    ("clarifai", "timeout=abc"),
]


@pytest.mark.parametrize(("provider", "option"), OPTIONS)
def test_a_slip_in_a_providers_option_is_one_line(
    provider: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that the provider does not have, or a value it cannot use, is exit 2 and one line with its name."""
    command = ["estimate", "--count", "1", "-n", "100", "--denoiser", "none", "--provider", provider]
    assert main([*command, "--options", option]) == 2
    one_line(capsys.readouterr().err, option.partition("=")[0])


@pytest.mark.xfail(strict=True, reason="classes=[…] is Python; a shell's list is written cat|dog")
def test_an_option_is_asked_for_as_a_shell_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a description needs a list, the message writes it as --options reads it."""
    command = ["estimate", "--count", "1", "-n", "100", "--denoiser", "none", "--provider", "http"]
    assert main([*command, "--model", "openai", "--options", "vision_model=m,usd_per_query=0"]) == 2
    one_line(capsys.readouterr().err, "classes=", "|")


@pytest.mark.xfail(strict=True, reason="`providers check http` alone says that http needs a model")
def test_the_test_command_of_an_endpoint_can_be_pasted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command a message names to test a key checks the endpoint that refused it."""
    pytest.importorskip("requests")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint = ["--model", "openai", "--options", "vision_model=m,usd_per_query=0,classes=cat|dog"]
    command = ["certify", "a.png", "--provider", "http", *endpoint, "--denoiser", "none", "-n", "20"]
    assert main(command) == 4
    advice = capsys.readouterr().err.split("test it with: api-smooth ")[1].split(";")[0]
    assert main([*shlex.split(advice), "--yes"]) == 4
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def test_an_unknown_flag_points_to_the_help_that_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """The help a message names is that of the command given."""
    assert main(["certify", "a.png", "--raduis", "0.1"]) == 2
    one_line(capsys.readouterr().err, "--raduis", "api-smooth certify --help")


# failures


def test_the_error_line_has_the_providers_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every query fails, the line that says so also says why, in the provider's words."""
    from api_smoothing.engine import attempt

    defaults = attempt.Sender.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", lambda seconds: None)
    toy = importlib.import_module("toy_provider").Toy
    offline = Verdict(kind="transient", message="no connection: the cable is out", sent=False)
    monkeypatch.setattr(toy, "verdict", lambda self, error: offline)
    assert main(["certify", "a.png", *TOY, "--model", "fail=0", "--radius", "0.25", "--json"]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if "api-smooth: error:" in line]
    assert "the cable is out" in line


def test_a_canary_that_gets_no_answer_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first query is a canary and fails, the line has the reason, as it has for any other query."""
    from api_smoothing.engine import attempt

    defaults = attempt.Sender.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", lambda seconds: None)
    plugin = importlib.import_module("toy_provider")
    load = plugin.load

    def watched(**options: Any) -> Any:
        toy = load(**options)
        toy.card = replace(toy.card, drift="canary")
        return toy

    offline = Verdict(kind="transient", message="no connection: the cable is out", sent=False)
    monkeypatch.setattr(plugin, "load", watched)
    monkeypatch.setattr(plugin.Toy, "verdict", lambda self, error: offline)
    assert main(["certify", "a.png", *TOY, "--model", "fail=0", "--radius", "0.25"]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if "api-smooth: error:" in line]
    assert "the cable is out" in line


def test_a_host_that_is_not_known_costs_nothing() -> None:
    """A name in VISION_ENDPOINT that does not resolve, or no network, is not charged, and is told."""
    requests = pytest.importorskip("requests")
    urllib3 = pytest.importorskip("urllib3")
    unknown = urllib3.exceptions.NameResolutionError(
        "nobody.example", object(), socket.gaierror(-2, "unknown")
    )
    error = requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", unknown))
    verdict = azure_errors.verdict_of(error)
    assert not verdict.sent
    assert "no connection" in verdict.message


# machines


@pytest.mark.parametrize("command", [["plan", "--radius", "0.1"], ["certify", "a.png", *TOY, "-n", "40"]])
def test_output_that_knows_no_greek(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard output cannot show a σ, as in a pipe on Windows, the rest of the text still comes."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    assert main(command) == 0
    assert b"0." in out.getvalue()


@pytest.mark.xfail(strict=True, reason="a character that the pipe cannot take becomes a question mark")
def test_json_is_whole_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --json prints reads back as it was meant, whatever standard output can show."""
    out = io.BytesIO()
    Path("a.png").rename("猫.png")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    assert main(["certify", "猫.png", *TOY, "-n", "40", "--json"]) == 0
    assert json.loads(out.getvalue())["image"] == "猫.png"


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the run ends with one line that says so and what to do."""
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 12")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    assert main(["certify", "a.png", *TOY, "-n", "400"]) in (2, 4)
    error = "".join(line for line in capsys.readouterr().err.splitlines(True) if "error:" in line)
    one_line(error, "full", "API_SMOOTH_HOME")


# the sandbox


def test_a_rehearsal_looks_like_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads of a certificate from the sandbox says that it is from the sandbox."""
    pytest.importorskip("requests")
    command = ["certify", "a.png", "--provider", "http", "--sandbox", "--rate", "10000", "--seed", "1"]
    assert main([*command, "--denoiser", "none", "-n", "20"]) == 0
    assert "sandbox" in capsys.readouterr().out


def test_a_sandbox_in_another_terminal_is_not_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate made with the environment that `api-smooth sandbox` prints does not pass for the service's."""
    pytest.importorskip("boto3")
    from api_smoothing.sandbox import Sandbox
    from api_smoothing.sandbox.brain import scripted_brain

    command = ["certify", "a.png", "--provider", "aws", "--rate", "10000", "--denoiser", "none"]
    with Sandbox("aws", brain=scripted_brain({"cat": 1.0})) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        assert main([*command, "-n", "20", "--json"]) == 0
    [done] = objects(capsys)
    assert done["provider"] == "aws@loopback"
