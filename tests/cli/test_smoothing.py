"""Settings become a provider: a slip is told in one line, before anything is paid."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from command_line import one_line

from api_smoothing.cli import main
from api_smoothing.home import home

pytestmark = pytest.mark.usefixtures("project")

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


def test_a_rate_set_for_all_commands_leaves_models_here_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate in the environment is that of services; a model in this process has none."""
    monkeypatch.setenv("API_SMOOTH_RATE", "5")
    assert main(["estimate", "--count", "1", "-n", "50"]) == 0
    assert "second" not in capsys.readouterr().err


def test_an_option_is_asked_for_as_a_shell_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a description needs a list, the message writes it as --options reads it."""
    command = ["estimate", "--count", "1", "-n", "100", "--denoiser", "none", "--provider", "http"]
    assert main([*command, "--model", "openai", "--options", "vision_model=m,usd_per_query=0"]) == 2
    one_line(capsys.readouterr().err, "classes=", "|")


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


def queries_spent(run: str) -> int:
    """What the ledger has of a run."""
    with closing(sqlite3.connect(home() / "ledger.db")) as ledger:
        [(queries,)] = ledger.execute("SELECT queries FROM runs WHERE run = ?", (run,))
    return int(queries)


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


def test_without_a_radius_and_a_number_a_hundred_queries_are_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first line works as it stands: the usual number of queries is taken, and told."""
    command = ["estimate", "--count", "1", "--denoiser", "none", "--provider", "aws", "--json"]
    assert main(command) == 0
    first = capsys.readouterr()
    assert "100 queries an image" in first.err
    assert main([*command, "-n", "100"]) == 0
    assert capsys.readouterr().out == first.out
