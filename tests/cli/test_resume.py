"""What a run that ended early is told to do next."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from api_smoothing.cli.resume import with_larger_budget
from api_smoothing.cli.settings import Settings
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.home import home
from api_smoothing.results import Budget


@pytest.mark.parametrize(("where", "most"), [("folder", "14"), ("home", "10"), (False, "10")])
def test_a_larger_budget_is_more_than_the_run_has_spent_where_its_answers_lie(
    tmp_path: Path, where: str | bool, most: str
) -> None:
    """Twice what the ledger beside the answers has of the run, or twice the old budget where it has less."""
    folder = str(tmp_path / "answers")
    with closing(
        FolderStorage(home(), cache=Path(folder)).budget(Budget(), run="r", provider="p", micro_usd=1)
    ) as account:
        account.reserve("s", range(7))
    cache = {"folder": folder, "home": True}.get(str(where), False)
    settings = Settings(budget_queries=5, run="r", cache=cache)
    again = with_larger_budget(settings, ["certify", "--budget-queries", "5"])
    assert again == ["certify", "--budget-queries", most]
