"""What is refused before anything that takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command_line import one_line

from api_smoothing import Budget
from api_smoothing.cli import main
from api_smoothing.engine.storage import FolderStorage
from api_smoothing.home import home

pytestmark = pytest.mark.usefixtures("project")

#: What takes a second to import: frameworks, and the SDKs that only a request needs.
HEAVY = ("torch", "grpc", "google.cloud.vision", "azure.ai.vision", "clarifai_grpc", "requests")
OPENAI = "vision_model=m,classes=a|b,usd_per_query=0.01"
LACKING = [
    (["--provider", "aws"], "AWS_REGION is not set"),
    (["--provider", "aws", "--options", "region=us-east-1"], "no AWS credentials found"),
    (["--provider", "azure"], "VISION_ENDPOINT is not set"),
    (["--provider", "azure", "--options", "endpoint=https://a.test"], "VISION_KEY is not set"),
    (["--provider", "clarifai"], "CLARIFAI_PAT"),
    (["--provider", "google"], "no usable credentials for Google"),
    (["--provider", "openai", "--options", OPENAI], "OPENAI_API_KEY is not set"),
]
QUESTION = ["a.png", "--radius", "0.25", "-n", "100", "--yes"]


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody has logged in anywhere, and that is no cloud's."""
    for name in os.environ:
        if name.startswith(("AWS_", "VISION_", "AZURE_", "GOOGLE_", "CLARIFAI_", "CLOUDSDK_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("command", ["certify", "predict"])
@pytest.mark.parametrize(("provider", "told"), LACKING)
def test_a_missing_key_is_named_before_anything_heavy_is_imported(
    command: str, provider: list[str], told: str
) -> None:
    """One line with what to set, the exit code of a provider that fails, and no database made."""
    question = [word for word in QUESTION if command == "certify" or word not in ("--radius", "0.25")]
    code = (
        "import json, sys; from api_smoothing.cli import main; "
        f"print(json.dumps([main({[command, *question, *provider]!r}), [*sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, modules = json.loads(done.stdout)
    assert exit_code == 4
    one_line(done.stderr, told, "nothing was asked")
    assert not [
        name for name in HEAVY if name in modules and not (name == "requests" and "google" in provider)
    ]
    assert not (home() / "ledger.db").exists()


def test_who_has_answers_needs_no_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers that are kept are certified without credentials, as ever; those of another service are none of it."""
    from api_smoothing.sandbox import Sandbox
    from api_smoothing.sandbox.classifier import scripted_brain

    question = ["certify", "a.png", "-n", "40", "--seed", "1", "--denoiser", "none", "--json", "--yes"]
    question += ["--budget-queries", "100", "--provider", "http", "--model", "sandbox-json"]
    with Sandbox("http", classifier=scripted_brain({"cat": 1.0})) as running:
        question += ["--options", f"endpoint={running.endpoint}"]
        assert main(question) == 4
        one_line(capsys.readouterr().err, "SANDBOX_KEY is not set")
        monkeypatch.setenv("SANDBOX_KEY", running.key)
        assert main(question) == 0
        monkeypatch.delenv("SANDBOX_KEY")
        capsys.readouterr()
        assert main(question) == 0
        assert json.loads(capsys.readouterr().out)["cached"] == 40
    assert main(["certify", *QUESTION, "--provider", "clarifai"]) == 4
    one_line(capsys.readouterr().err, "CLARIFAI_PAT", "nothing was asked")


def test_a_run_that_is_done_needs_no_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run file whose images are all there is gone on with, though the answers are gone, and asks nobody."""
    from api_smoothing.sandbox import Sandbox
    from api_smoothing.sandbox.classifier import scripted_brain

    question = ["certify", "a.png", "-n", "40", "--seed", "1", "--denoiser", "none", "--yes", "--no-cache"]
    question += ["--provider", "http", "--model", "sandbox-json", "--output", "run.jsonl"]
    with Sandbox("http", classifier=scripted_brain({"cat": 1.0})) as running:
        question += ["--options", f"endpoint={running.endpoint}"]
        monkeypatch.setenv("SANDBOX_KEY", running.key)
        assert main(question) == 0
    monkeypatch.delenv("SANDBOX_KEY")
    assert main(question) == 0
    assert "already in run.jsonl" in capsys.readouterr().err


def test_an_estimate_opens_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was ever kept there is nothing to look up, and the home stays as it is: not there."""
    for provider in ("aws", "google", "torchvision"):
        assert main(["certify", *QUESTION, "--dry-run", "--provider", provider]) == 0
        assert "nothing was sent" in capsys.readouterr().out
    assert not home().exists() or not [*home().rglob("*.db")]


def test_an_estimate_refuses_what_is_no_image(capsys: pytest.CaptureFixture[str]) -> None:
    """Though no answer of it is looked up, an image is read."""
    Path("a.png").write_bytes(b"no image")
    assert main(["certify", *QUESTION, "--dry-run", "--provider", "aws"]) == 2
    one_line(capsys.readouterr().err, "a.png", "not an image")


ASKED = [
    ["--radius", "0.25"],
    ["--radius", "0.25", "-n", "300", "--budget-queries", "100"],
    ["--radius", "0.1", "-n", "none", "--budget-usd", "0.3"],
    ["-n", "200", "--method", "clopper-pearson"],
    ["--labels-present", "cat", "-n", "200"],
]


@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
@pytest.mark.parametrize("provider", ["torchvision", "aws", "google"])
def test_an_estimate_is_the_same_with_and_without_databases(
    provider: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is told where nothing was ever kept is what the databases would tell of nothing."""

    def told() -> dict[str, object]:
        assert main(["certify", "a.png", *asked, "--dry-run", "--json", "--provider", provider]) == 0
        found = json.loads(capsys.readouterr().out)
        found["assumptions"] = [line for line in found["assumptions"] if "on this machine" not in line]
        return {name: value for name, value in found.items() if not name.startswith("seconds")}

    without = told()
    assert not home().exists()
    with closing(FolderStorage(home()).budget(Budget(usd=1.0), run="another", provider="aws", micro_usd=1)):
        assert (home() / "ledger.db").exists()
    assert told() == without
