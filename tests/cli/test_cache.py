"""`api-smooth cache`: what is kept, and how it is forgotten."""

from __future__ import annotations

import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.cli import main
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.home import home
from api_smoothing.results import Budget


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


@pytest.mark.parametrize("paid", [True, False], ids=["paid", "free"])
def test_cache_clear_frees_the_disk(paid: bool, tmp_path: Path) -> None:
    """The folder takes hardly anything afterwards, although the file was large."""
    storage = FolderStorage(tmp_path / "home")
    with closing(storage.answers(paid=paid)) as kept:
        kept.describe("s", {})
        for start in range(0, 3000, 300):
            names = [random.Random(i).randbytes(200).hex() for i in range(start, start + 300)]
            kept.write("s", {start + k: Answer(labels=(Label(name=name),)) for k, name in enumerate(names)})
    assert _size(storage.folder) > 500_000
    storage.clear()
    assert _size(storage.folder) < 150_000


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_cache_clear_forgets_answers_only(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run has spent, and the looks, stay where the answers were, in whichever folder."""
    where = ["--cache", "answers"]
    certify("images/a.png", "-n", "30", "--run", "r", *where)
    storage = FolderStorage(home(), cache=Path("answers"))
    with closing(storage.looks()) as looks:
        looks.record("s", "n=30")
        assert main(["cache", "path", *where]) == 0
        assert capsys.readouterr().out.strip() == "answers"
        assert main(["cache", "clear", "--yes", *where]) == 0
        assert capsys.readouterr().out == "30 answers forgotten\n"
        assert storage.contents().answers == 0
        assert looks.of("s") == ("n=30",)
    with closing(storage.budget(Budget(), run="r", provider="p", micro_usd=0)) as account:
        assert account.spent()[0] == 30
