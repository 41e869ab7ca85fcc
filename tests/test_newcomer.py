"""What someone meets who follows the docs and the messages literally: slips, small budgets, odd machines."""

from __future__ import annotations

import importlib
import io
import json
import os
import shlex
import socket
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing.adapters import Verdict
from api_smoothing.adapters.azure import errors as azure_errors
from api_smoothing.cli import main
from api_smoothing.cli.commands.certify import SETTINGS
from api_smoothing.cli.commands.sandbox import _describe as describe
from api_smoothing.cli.entry import build_parser
from api_smoothing.cli.json_output import one_object
from api_smoothing.cli.resume import with_larger_budget
from api_smoothing.cli.settings import Settings, resolve_settings
from api_smoothing.sandbox import PROVIDERS, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain
from api_smoothing.secret import home

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


def queries_spent(run: str) -> int:
    """What the ledger has of a run."""
    with closing(sqlite3.connect(home() / "ledger.db")) as ledger:
        [(queries,)] = ledger.execute("SELECT queries FROM runs WHERE run = ?", (run,))
    return int(queries)


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
    assert "there are no answers yet; resume with: " in error
    assert "kept" not in error
    assert "0 of 1 image decided" in error


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


def test_presence_without_a_cap_says_which_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run about presence needs no -n: it says how many queries it takes for granted, and counts those."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--labels-present", "all", "--dry-run", "--json"]
    assert main(command) == 0
    [estimate] = objects(capsys)
    assert estimate["queries_high"] == 1000
    assert "1,000" in estimate["assumptions"][0]
    assert "-n 1000" in estimate["assumptions"][0]


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


def test_an_option_is_asked_for_as_a_shell_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a description needs a list, the message writes it as --options reads it."""
    command = ["estimate", "--count", "1", "-n", "100", "--denoiser", "none", "--provider", "http"]
    assert main([*command, "--model", "openai", "--options", "vision_model=m,usd_per_query=0"]) == 2
    one_line(capsys.readouterr().err, "classes=", "|")


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


def test_all_missing_options_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is sent to the next error when the first is mended."""
    command = ["estimate", "--count", "1", "-n", "100", "--denoiser", "none", "--provider", "http"]
    assert main([*command, "--model", "openai"]) == 2
    one_line(capsys.readouterr().err, "vision_model=", "classes=", "usd_per_query=", "--options")


@pytest.mark.parametrize(
    ("provider", "variable", "value"),
    [
        ("azure", "VISION_ENDPOINT", "my-resource"),
        ("azure", "AZURE_COMPUTER_VISION_ENDPOINT", "http://a:b@c.example"),
        ("aws", "AWS_ENDPOINT_URL", "http://[broken"),
        ("clarifai", "CLARIFAI_GRPC_BASE", "two words"),
    ],
)
def test_a_bad_address_is_told_by_its_variable(
    provider: str,
    variable: str,
    value: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the address of a service cannot be one, the message names the variable it stands in, not its value."""
    for name in ("VISION_ENDPOINT", "AWS_ENDPOINT_URL_REKOGNITION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    assert main(["certify", "a.png", "--provider", provider, "--denoiser", "none", "-n", "20"]) == 2
    error = capsys.readouterr().err
    one_line(error, variable, "HOST" if provider == "clarifai" else "URL")
    assert value not in error


@pytest.mark.parametrize(
    ("provider", "package"),
    [("aws", "boto3"), ("azure", "azure.ai.vision.imageanalysis"), ("clarifai", "clarifai_grpc")],
)
@pytest.mark.parametrize("proxy", ["http://[broken", "http://proxy:port", "two words"])
def test_a_bad_proxy_is_told_before_anything_is_paid(
    provider: str,
    package: str,
    proxy: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slip in the address of a proxy ends the run in one line with the variable, and costs no query."""
    pytest.importorskip(package)
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    variables = {"VISION_ENDPOINT": "https://a.example", "VISION_KEY": "abc", "CLARIFAI_PAT": "abc"}
    variables |= {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "abc"}
    for name, value in {**variables, "https_proxy": proxy}.items():
        monkeypatch.setenv(name, value)
    command = ["certify", "a.png", "--provider", provider, "--denoiser", "none", "-n", "20", "--run", "proxy"]
    assert main([*command, "--budget-queries", "20"]) == 2
    error = capsys.readouterr().err
    one_line(error.splitlines(True)[-1], "https_proxy", "http://proxy.example:3128")
    assert proxy not in error
    assert queries_spent("proxy") == 0


@pytest.mark.parametrize(
    "command", [["labels", "explain", "a.png"], ["labels", "show", "cifar10"], ["providers", "check", "aws"]]
)
def test_the_help_that_is_named_is_the_innermost(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown flag of a command within a command points to that one's help, which lists its flags."""
    assert main([*command, "--colour"]) == 2
    known = "labels " + command[1] if command[0] == "labels" else "providers"
    one_line(capsys.readouterr().err, "--colour", f"api-smooth {known} --help")


def test_an_unknown_flag_points_to_the_help_that_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """The help a message names is that of the command given."""
    assert main(["certify", "a.png", "--raduis", "0.1"]) == 2
    one_line(capsys.readouterr().err, "--raduis", "api-smooth certify --help")


# failures


def test_the_error_line_has_the_providers_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every query fails, the line that says so also says why, in the provider's words."""
    from api_smoothing.engine.sending import sender as attempt

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
    from api_smoothing.engine.sending import sender as attempt

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


def test_json_is_whole_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --json prints reads back as it was meant, whatever standard output can show."""
    out = io.BytesIO()
    Path("a.png").rename("猫.png")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    assert main(["certify", "猫.png", *TOY, "-n", "40", "--json"]) == 0
    assert json.loads(out.getvalue())["image"] == "猫.png"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_file_whose_name_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A photograph with a name in another encoding is certified, and found again in a run file."""
    odd = os.fsdecode(b"caf\xe9.png")
    Path("a.png").rename(odd)
    assert main(["certify", odd, *TOY, "-n", "40", "--json"]) == 0
    assert "caf" in objects(capsys)[0]["image"]
    command = ["certify", odd, *TOY, "-n", "40", "--output", "run.jsonl"]
    assert main(command) == 0
    assert main(command) == 0
    assert "1 of 1 image is already in run.jsonl" in capsys.readouterr().err


def test_half_a_character_does_not_end_a_run() -> None:
    """A label that no encoding can write, as JSON allows it, is printed and kept escaped, and reads back."""
    label = {"label": "\ud83d", "image": "猫.png"}
    assert json.loads(one_object(label).encode()) == label


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
    printed = capsys.readouterr()
    assert "sandbox" in printed.out
    assert "nothing was charged" in printed.out
    assert "$" not in printed.err
    estimate = ["estimate", "--count", "1", "--provider", "http", "--sandbox", "--denoiser", "none"]
    assert main([*estimate, "-n", "20"]) == 0
    assert "nothing is charged" in capsys.readouterr().out


def test_single_questions_in_the_sandbox_look_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What `providers check` and `labels explain` print of the sandbox does not pass for the service."""
    pytest.importorskip("requests")
    assert main(["providers", "check", "http", "--sandbox"]) == 0
    assert main(["labels", "explain", "a.png", "--provider", "http", "--sandbox", "--json"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "http/sandbox-json@sandbox answered" in first
    assert json.loads(last)["provider"] == "http/sandbox-json@sandbox"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_example_of_a_sandbox_can_decide_an_image(provider: str) -> None:
    """The command that `api-smooth sandbox` prints reads classes, at a noise the bundled classifier stands."""
    pytest.importorskip(
        {"aws": "boto3", "google": "grpc", "clarifai": "clarifai_grpc"}.get(provider, "requests")
    )
    with Sandbox(provider, classifier=scripted_brain({"cat": 1.0})) as sandbox:
        [example] = [line for line in describe(sandbox).splitlines() if line.startswith("api-smooth certify")]
    args = build_parser().parse_args(shlex.split(example)[1:])
    settings = resolve_settings(args, SETTINGS)
    assert (settings.labels, settings.sigma, settings.radius) == ("cifar10", 0.12, 0.1)


def test_a_sandbox_in_another_terminal_is_not_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate made with the environment that `api-smooth sandbox` prints does not pass for the service's."""
    pytest.importorskip("boto3")
    command = ["certify", "a.png", "--provider", "aws", "--rate", "10000", "--denoiser", "none"]
    with Sandbox("aws", classifier=scripted_brain({"cat": 1.0})) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        assert main([*command, "-n", "20", "--json"]) == 0
    [done] = objects(capsys)
    assert done["provider"] == "aws@loopback"
