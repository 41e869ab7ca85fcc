"""What tests of the command line share: the toy provider, and what is read from what a command prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[1] / "plugin"
TOY = ["--provider", "toy", "--denoiser", "none", "--seed", "7", "--sigma", "0.25"]


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
