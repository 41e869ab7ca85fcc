"""Estimates from cards alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TOY
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.cli.foreseen import foreseen
from api_smoothing.cli.settings import Settings
from api_smoothing.cli.smoothing import open_api

DRY = ["certify", "a.png", "--radius", "0.25", "-n", "500", "--dry-run"]


@pytest.mark.parametrize("more", [[], ["--provider", "google"], ["--provider", "aws", "--sandbox"]])
def test_a_dry_run_loads_no_torch(more: list[str], folder: Path) -> None:
    """The estimate of a provider and a bundled denoiser takes their cards, not the seconds that torch takes."""
    Image.new("RGB", (32, 32)).save("a.png")
    code = f"import sys; from api_smoothing.cli import main; print(main({[*DRY, *more]!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (Settings(), {"model": None}),
        (Settings(provider="google", sigma=0.5, size=224), {}),
        (Settings(provider="aws", denoiser=None), {}),
    ],
)
def test_the_cards_give_the_estimate_of_the_parts(settings: Settings, options: dict[str, Any]) -> None:
    """What is foreseen is what loading everything gives, to the last word."""
    assert foreseen(settings, options) is not None
    asked: dict[str, Any] = {"radius": 0.1, "n": 200}
    with open_api(settings, sends=False) as cards, open_api(settings) as parts:
        assert cards.estimate(3, **asked) == parts.estimate(3, **asked)
        assert cards.size == parts.size


@pytest.mark.parametrize("denoiser", ["auto?method=vote&paths=3", "auto?method=ensemble"])
def test_what_cards_do_not_tell_is_loaded(denoiser: str) -> None:
    """A method's price in queries is the denoiser's own to say."""
    assert foreseen(Settings(denoiser=denoiser), {}) is None


def test_a_device_is_looked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run refuses a device that is not there, as the run would."""
    Image.new("RGB", (32, 32)).save("a.png")
    assert main([*DRY, "--device", "toaster"]) == 2
    assert "toaster" in capsys.readouterr().err


def test_answers_that_are_kept_are_estimated_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a run the dry run of the same command tells what is left: the parts are loaded, to find the answers."""
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save("a.png")
    command = ["certify", "a.png", "-n", "20", "--json"]
    assert main(command) == 0
    assert main([*command, "--dry-run"]) == 0
    done, estimate = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (
        done["queries"] > 0 == estimate["queries_high"]
    )  # the room left in its batch was filled with the rest
    assert foreseen(Settings(), {}) is None
    assert foreseen(Settings(sigma=0.5), {}) is not None


def test_another_packages_provider_is_asked_for_its_card(project: Path) -> None:
    """A plug-in's adapter is made, as for a run: only it knows its facts."""
    found = foreseen(Settings(provider=TOY[1], denoiser=None), {})
    assert found is None or found.adapter.card.name == "toy"
