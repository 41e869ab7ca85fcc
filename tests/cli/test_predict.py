"""`api-smooth predict`: a label without a radius."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import TOY

from api_smoothing.cli import main

pytestmark = pytest.mark.usefixtures("project")


def test_a_prediction_cut_short_by_the_budget_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A prediction that abstains because its budget ended is exit 3, with the command that goes on."""
    command = ["predict", "a.png", *TOY, "--model", "share=0.9", "-n", "60", "--budget-queries", "5"]
    assert main(command) == 3
    assert "resume with: api-smooth predict" in capsys.readouterr().err


def test_predict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """predict gives a label without a radius, and shares its answers with certify."""
    assert main(["predict", "images/a.png", *TOY, "-n", "60", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["label"], one["votes"], one["queries"]) == ("cat", 60, 60)
    assert main(["certify", "images/a.png", *TOY, "-n", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cached"] == 60
