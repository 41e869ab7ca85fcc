"""Progress over data sets: each run counts from its own beginning, and what was told once is not told again."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from api_smoothing import SmoothedAPI
from api_smoothing.cli import overall
from api_smoothing.cli.overall import Overall
from api_smoothing.cli.progress import Progress
from api_smoothing.evaluation import evaluate_corrupted


@pytest.fixture
def every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between lines."""
    monkeypatch.setattr(overall, "EVERY_SECONDS", {False: 0.0, True: 0.0})


@pytest.mark.usefixtures("every_event")
def test_runs_over_one_set_are_told_apart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of the second run are counted from 0 on, under its name; remarks on the data are made once."""
    agreed: list[int] = []
    progress = Overall(Progress(io.StringIO(), 0, summaries=False), terminal=False, agree=agreed.append)
    Path("t.csv").write_text("file;animal\na.png;cat\nb.png;dog\n")
    options = {"sigma": 0.1, "denoiser": None, "seed": 0, "store": "memory"}
    with SmoothedAPI(lambda x: ["cat"] * len(x), **options) as api:  # type: ignore[arg-type]
        evaluate_corrupted(api, "t.csv", ["fog:1"], radii=(0,), n=20, observers=(progress,))
    told = capsys.readouterr().err
    assert agreed == [2, 2]
    assert told.count("columns are separated by semicolons") == 1
    assert "\napi-smooth: 2 of 2 images" in f"\n{told}"
    assert " 3 of 2 images" not in told
    assert "t.csv (fog 1): 2 of 2 images" in told
