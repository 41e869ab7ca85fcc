"""`api-smooth cache`: what is kept, and how it is forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api_smoothing.cli import main


def test_cache_info_and_clear(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache info` counts the answers; `cache clear` refuses without --yes and then forgets them all."""
    certify("images/a.png", "-n", "30")
    assert main(["cache", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == 30
    assert main(["cache", "clear"]) == 2
    assert "30 answers" in capsys.readouterr().err
    assert main(["cache", "clear", "--yes"]) == 0
    capsys.readouterr()
    _, [done], _ = certify("images/a.png", "-n", "30")
    assert done["queries"] == 30
