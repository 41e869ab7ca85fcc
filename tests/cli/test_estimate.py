"""`api-smooth estimate` and `--dry-run`: what a run will cost, and what that is based on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TOY, objects

from api_smoothing.cli import main

pytestmark = pytest.mark.usefixtures("project")


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


@pytest.mark.parametrize(
    ("n", "told"),
    [([], "the cap where their price is unknown; -n N sets another"), (["-n", "none"], "-n 1000")],
)
def test_presence_without_a_cap_says_which_is_assumed(
    n: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run about presence needs no -n: it says how many queries it takes for granted, and counts those."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--labels-present", "all", "--dry-run", "--json"]
    assert main([*command, *n]) == 0
    [estimate] = objects(capsys)
    assert estimate["queries_high"] == 1000
    assert "1,000" in estimate["assumptions"][0]
    assert told in " ".join(estimate["assumptions"])


#: What a program says to whoever wants torch.
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "boto3", "google", "azure", "grpc", "requests"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocked())
from api_smoothing.cli import main
for line in sys.stdin:
    if code := main(line.split()):
        sys.exit(code)
"""
OF_EACH = [
    "--provider torchvision",
    "--provider aws",
    "--provider aws --sandbox",
    "--provider azure",
    "--provider google",
    "--provider clarifai",
    "--provider http --model sandbox-json",
    "--provider openai --model m --options classes=cat|dog,usd_per_query=0",
    "--provider aws --denoiser auto?method=vote&paths=3",
    "--provider aws --denoiser none --size 32",
    "--provider aws --denoiser auto --labels cifar10 --size 64",
    "--provider aws --device cuda",
    "--provider aws --denoiser own.pth --size 32",
    "--provider google --denoiser diffusers:some/model --sandbox",
    "--model resnet50",
    "--model own.pth --options arch=resnet18 --labels cifar10",
    "--provider openai --model m --options classes=cat|dog,usd_per_query=0 --sandbox",
]


def dry(*lines: str) -> list[dict[str, object]]:
    """What dry runs about a.png say, in a process that has neither torch nor a provider's package."""
    text = "".join(f"certify a.png -n 20 --dry-run --json {line}\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kept", [False, True])
def test_a_dry_run_needs_no_torch(*, kept: bool) -> None:
    """For every provider, model and denoiser an estimate is made from cards and prices alone, answers kept or not."""
    Path("own.pth").write_bytes(b"weights that nobody looks at")
    if kept:
        assert main(["certify", "a.png", *TOY, "-n", "12", "--json"]) == 0
    estimates = dry(*OF_EACH)
    votes = [22 if "google" in line else 60 if "paths=3" in line else 20 for line in OF_EACH]
    assert [estimate["queries_high"] for estimate in estimates] == votes
    loading = [("only loading" in " ".join(map(str, one["assumptions"]))) for one in estimates]  # type: ignore[call-overload]
    assert loading == [
        "own.pth" in line or "diffusers" in line or "resnet" in line or "cuda" in line or "paths" in line
        for line in OF_EACH
    ]


def test_a_dry_run_counts_what_is_kept_without_loading_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    """The answers of an earlier run, behind a bundled denoiser, are found by the names they have."""
    assert main(["certify", "a.png", "-n", "12", "--seed", "7", "--size", "16", "--json"]) == 0
    [done] = objects(capsys)
    [estimate] = dry("--seed 7 --size 16")
    assert done["n"] < 12  # the room left in its batch was filled with the rest
    assert estimate["queries_high"] == 20 - 12
