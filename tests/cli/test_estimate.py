"""`api-smooth estimate` and `--dry-run`: what a run will cost, and what that is based on."""

from __future__ import annotations

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
