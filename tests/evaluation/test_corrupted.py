"""Evaluations under corruptions: runs of their own, whose images are corrupted, on one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from api_smoothing import Budget, SmoothedAPI, evaluate
from api_smoothing.corruptions import corrupted
from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError
from api_smoothing.evaluation import evaluate_corrupted
from api_smoothing.evaluation.corrupted import means_of, output_of, rows_of_all, summaries_of


def bright(x: torch.Tensor) -> list[str]:
    """Day, above the middle; brightness and fog make a day of a night."""
    return ["day" if mean > 0.5 else "night" for mean in x.mean((1, 2, 3)).tolist()]


def smoothed(**options: Any) -> SmoothedAPI:
    given = {"sigma": 0.05, "denoiser": None, "seed": 0, "store": "memory", **options}
    return SmoothedAPI(bright, **given)


DATA = [
    (np.full((8, 8, 3), level, np.uint8), "day" if level > 127 else "night") for level in (30, 90, 180, 200)
]


def test_each_run_is_that_of_the_corrupted_set(tmp_path: Path) -> None:
    """The same file as an evaluation of the corrupted data set, which goes on with it and asks nothing."""
    out = tmp_path / "run.jsonl"
    with smoothed() as api:
        found = evaluate_corrupted(api, DATA, ["brightness:5", "contrast:1"], radii=(0,), n=50, output=out)
    assert list(found) == ["clean", "brightness:5", "contrast:1"]
    assert [one.summary.smoothed.k for one in found.values()] == [4, 3, 4]
    file = output_of(out, "brightness:5")
    assert file.name == "run.brightness-5.jsonl"
    size = file.stat().st_size
    with smoothed() as api:
        again = evaluate(api, corrupted(open_dataset(DATA), "brightness", 5), radii=(0,), n=50, output=file)
    assert again.summary.to_dict()["smoothed"] == found["brightness:5"].summary.to_dict()["smoothed"]
    assert again.summary.queries == found["brightness:5"].summary.queries
    assert file.stat().st_size < 1.2 * size  # an end of the session, and no image


def test_rows_and_means(tmp_path: Path) -> None:
    """The mean is of the corruptions alone, and has no interval."""
    with smoothed() as api:
        found = evaluate_corrupted(api, DATA, ["brightness:5", "contrast:1"], radii=(0,), n=50)
    head, *rows = rows_of_all(found)
    assert head == (
        "",
        "images",
        "unsmoothed accuracy",
        "smoothed accuracy",
        "certified right at 0",
        "abstained",
        "queries",
    )
    assert [(row[0], row[3]) for row in rows] == [
        ("clean", "100.0% (40%–100%)"),
        ("brightness:5", "75.0% (19%–99%)"),
        ("contrast:1", "100.0% (40%–100%)"),
        ("mean of 2", "87.5%"),
    ]
    assert means_of(found)["smoothed accuracy"] == 0.875


def test_a_cap_for_a_budget_reckons_with_all_runs() -> None:
    """Of three runs each image may take less than of one; together they keep to the budget."""
    given: dict[str, Any] = {"radii": (0.05,), "clean": False}
    with smoothed(budget=Budget(queries=1200)) as api:
        alone = evaluate(api, DATA, **given)
    with smoothed(budget=Budget(queries=1200)) as api:
        found = evaluate_corrupted(api, DATA, ["fog:1", "snow:1"], **given)
    caps = {one.run.header.settings["n"] for one in found.values()}
    assert len(caps) == 1
    assert caps.pop() < alone.run.header.settings["n"]
    assert sum(one.summary.queries for one in found.values()) <= 1200


def test_a_spent_budget_ends_them_all() -> None:
    """The run that it ends is the last; those after it are not begun."""
    with smoothed(budget=Budget(queries=250)) as api:
        found = evaluate_corrupted(api, DATA, ["fog:1", "snow:1"], radii=(0,), n=50)
    assert list(found) == ["clean", "fog:1"]
    assert found["fog:1"].out_of_budget
    assert set(summaries_of(found)) <= {"clean", "fog:1"}
    assert means_of(found) == {}


def test_what_is_none_is_told() -> None:
    """No corruption, and a claim, which is about one set of images."""
    with smoothed() as api:
        for corruptions, given, why in (
            ([], {}, "which corruptions"),
            (["fogg"], {}, "did you mean fog"),
            (["fog"], {"at_least": 0.5}, "a claim is about one set"),
        ):
            with pytest.raises(ConfigurationError, match=why):
                evaluate_corrupted(api, DATA, corruptions, **given)
