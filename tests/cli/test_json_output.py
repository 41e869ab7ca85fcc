"""What `--json` prints reads back as it was meant."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from command_line import TOY

from api_smoothing.cli import main
from api_smoothing.cli.json_output import one_object

pytestmark = pytest.mark.usefixtures("project")


def test_json_is_whole_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --json prints reads back as it was meant, whatever standard output can show."""
    out = io.BytesIO()
    Path("a.png").rename("猫.png")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    assert main(["certify", "猫.png", *TOY, "-n", "40", "--json"]) == 0
    assert json.loads(out.getvalue())["image"] == "猫.png"


def test_half_a_character_does_not_end_a_run() -> None:
    """A label that no encoding can write, as JSON allows it, is printed and kept escaped, and reads back."""
    label = {"label": "\ud83d", "image": "猫.png"}
    assert json.loads(one_object(label).encode()) == label
