"""`api-smooth sandbox` and `--sandbox`: a rehearsal that costs nothing and never passes for the service."""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import signal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import objects, one_line, start
from doors import AWS, CAT, PNG
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.cli.commands.certify import SETTINGS
from api_smoothing.cli.commands.sandbox import _describe as describe
from api_smoothing.cli.entry import build_parser
from api_smoothing.cli.settings import resolve_settings
from api_smoothing.home import home
from api_smoothing.sandbox import KINDS, Sandbox
from api_smoothing.sandbox.server import declaration_of

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


@pytest.mark.parametrize("provider", ["http", "aws"])
def test_a_sandbox_run_never_reaches_the_service(
    provider: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--sandbox asks the server on this machine, whatever endpoint and keys the user's file names."""
    pytest.importorskip("requests" if provider == "http" else "boto3")
    with Sandbox(provider, classifier=CAT) as service:
        own = {k: v for k, v in service.options().items() if k not in ("endpoint_id", "model")}
        table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in own.items())
        home().mkdir(exist_ok=True, mode=0o700)
        (home() / "config.toml").write_text(f'denoiser = "none"\nrate = 10000\noptions = {{{table}}}\n')
        main(["certify", "0.png", "--provider", provider, "-n", "30", "--seed", "1", "--sandbox", "--json"])
    assert service.meter.images == 0


def test_a_rehearsal_does_not_spend_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command spends in the sandbox is not taken from the same command's budget for the service."""
    pytest.importorskip("requests")
    shipped = (
        resources.files("api_smoothing.adapters.http")
        .joinpath("endpoints/sandbox-json.toml")
        .read_text("utf-8")
    )
    with Sandbox("http", classifier=CAT) as service:
        monkeypatch.setenv("SANDBOX_KEY", service.key)
        own = shipped.replace("http://127.0.0.1:8080", service.endpoint)
        (folder / "own.toml").write_text(own, "utf-8")
        question = ["-n", "30", "--denoiser", "none", "--seed", "1", "--rate", "10000"]
        command = ["certify", "0.png", "--provider", "http", "--model", "own.toml", *question]
        assert main([*command, "--budget-queries", "30", "--sandbox"]) == 0
        assert main([*command, "--budget-queries", "30"]) == 0
    assert service.meter.images == 30


@pytest.mark.usefixtures("project")
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


@pytest.mark.usefixtures("project")
def test_single_questions_in_the_sandbox_look_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What `providers check` and `labels explain` print of the sandbox does not pass for the service."""
    pytest.importorskip("requests")
    assert main(["providers", "check", "http", "--sandbox"]) == 0
    assert main(["labels", "explain", "a.png", "--provider", "http", "--sandbox", "--json"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "http/sandbox-json@sandbox answered" in first
    assert json.loads(last)["provider"] == "http/sandbox-json@sandbox"


def test_the_example_of_a_sandbox_can_decide_an_image(provider: str) -> None:
    """The command that `api-smooth sandbox` prints reads classes, at a noise the bundled classifier stands."""
    with Sandbox(provider, classifier=CAT) as sandbox:
        [example] = [line for line in describe(sandbox).splitlines() if line.startswith("api-smooth certify")]
    args = build_parser().parse_args(shlex.split(example)[1:])
    settings = resolve_settings(args, SETTINGS)
    assert (settings.labels, settings.sigma, settings.radius) == ("cifar10", 0.12, 0.1)


@pytest.mark.usefixtures("project")
def test_a_sandbox_in_another_terminal_is_not_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate made with the environment that `api-smooth sandbox` prints does not pass for the service's."""
    pytest.importorskip("boto3")
    command = ["certify", "a.png", "--provider", "aws", "--rate", "10000", "--denoiser", "none"]
    with Sandbox("aws", classifier=CAT) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        assert main([*command, "-n", "20", "--json"]) == 0
    [done] = objects(capsys)
    assert done["provider"] == "aws@loopback"


def _chosen(provider: str) -> list[str]:
    """The flags without which the provider refuses, sandbox or not."""
    options = dict(declaration_of(provider).example)
    model = options.pop("model", None)
    table = ",".join(f"{k}={'|'.join(v) if isinstance(v, list) else v}" for k, v in options.items())
    return [*(["--model", model] if model else []), *(["--options", table] if table else [])]


def test_a_rehearsal_wants_what_the_service_would_want(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chat model is offered the user's classes in a rehearsal too, and is refused without any."""
    pytest.importorskip("requests")
    command = ["certify", "0.png", "--provider", "openai", "--sandbox", "-n", "20", "--denoiser", "none"]
    assert main(command) == 2
    one_line(capsys.readouterr().err, "vision_model", "classes", "usd_per_query")
    own = ["--model", "mine", "--options", "classes=zebra|other,usd_per_query=0.001", "--rate", "10000"]
    assert main([*command, *own, "--json"]) == 0
    as_http = ["--provider", "http", "--model", "openai", "--options", f"vision_model=mine,{own[3]}"]
    assert main(["certify", "0.png", "--sandbox", "-n", "20", "--denoiser", "none", *as_http, "--json"]) == 0
    for done in objects(capsys):
        assert (done["provider"], done["counts"]) == ("http/openai@sandbox", {"other": 20})
        assert done["model_version"].startswith("mine+fp_")


def test_the_command_line_in_a_sandbox(
    provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--sandbox certifies without an account; a budget that is spent is exit 3 with the command that goes on."""

    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((32, 32, 3), (90, 150, 235), np.uint8)).save("x.png")
    command = [
        "certify",
        "x.png",
        "--provider",
        provider,
        "--sandbox",
        "--seed",
        "1",
        "--denoiser",
        "none",  # what is asked here must not hang on how well the bundled weights see a blue square
        "--sigma",
        "0.05",
        "--rate",
        "10000",
        "--json",
        *_chosen(provider),
    ]
    assert main([*command, "-n", "30"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["provider"].endswith("@sandbox")) == (30, True)
    assert main([*command, "-n", "90", "--budget-queries", "50"]) == 3
    assert "--budget-queries 100" in capsys.readouterr().err
    assert main([*command, "-n", "90", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_the_command_serves_until_ctrl_c() -> None:
    """It prints where it listens and what to export, answers with the bundled classifier, and exits 0 with the bill."""
    process = start("sandbox", "aws", "--json", "--verbose", "--fault", "503=0.6", "--fault", "throttle=0.4")
    assert process.stdout is not None
    try:
        facts = json.loads(process.stdout.readline())
        assert facts["environment"]["AWS_ENDPOINT_URL_REKOGNITION"] == facts["endpoint"]
        image = json.dumps({"Image": {"Bytes": base64.b64encode(PNG).decode()}}).encode()
        connection = http.client.HTTPConnection(facts["endpoint"].removeprefix("http://"), timeout=30)
        key = AWS.form.format(facts["environment"]["AWS_ACCESS_KEY_ID"])
        statuses = []
        for _ in range(20):
            connection.request("POST", "/", image, {**AWS.headers, "Authorization": key})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        assert set(statuses) == {503, 429}
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    billed = statuses.count(503)
    assert json.loads(out) == {"requests": 20, "images": 20, "billed": billed, "micro_usd": 1000 * billed}
    assert len(errors.splitlines()) == 20
    assert "DetectLabels: 1 image, " in errors
    assert facts["environment"]["AWS_ACCESS_KEY_ID"] not in errors


def test_the_command_tells_people_what_to_type() -> None:
    """Without --json it prints the exports and a command that works as it stands; SIGTERM ends it like Ctrl-C."""
    process = start("sandbox", "http")
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().rstrip() for _ in range(7)]
        process.terminate()
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert errors == ""
    assert [line.partition("=")[0] for line in lines if line.startswith("export")] == [
        "export SANDBOX_KEY", "export NO_PROXY",
    ]  # fmt: skip
    assert any(line.startswith("api-smooth certify cat.png --provider http") for line in lines)
    assert "0 requests" in out


def test_the_commands_errors_are_one_line(sandbox: StartSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use, unknown providers and faults, and rates out of range: one line that says what, exit 2."""
    port = sandbox("azure", classifier=CAT).endpoint.rpartition(":")[2]
    for arguments, word in [
        (["azure", "--port", port], port),
        (["acme"], "acme"),
        (["aws", "--fault", "503"], "KIND=RATE"),
        (["aws", "--fault", "503=2"], "rate"),
        (["aws", "--fault", "earthquake=0.1"], "earthquake"),
        (["aws", "--fault", "500=0.7", "--fault", "503=0.7"], "1.4"),
        (["aws", "--latency", "-1"], "latency"),
    ]:
        assert main(["sandbox", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert word in captured.err
    assert main(["sandbox", "--fault", "list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(KINDS)
