from __future__ import annotations

from pathlib import Path

import pytest
from run_files import certificates, settings, write

from api_smoothing.report import read
from api_smoothing.report.gallery import cards, chosen
from api_smoothing.report.rows import Rows, rows_of


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return rows_of(read(write(tmp_path / "run.jsonl", settings(), certificates(400, settings(), seed=6))))


def test_the_extremes_are_shown(rows: Rows) -> None:
    """Of each kind the first is the extreme one, and no image is shown twice."""
    found = chosen(rows, 16)
    first = dict(reversed(found))
    right = [i for i in range(len(rows)) if rows.right[i]]
    wrong = [i for i in range(len(rows)) if rows.labels[i] not in (None, rows.truths[i])]
    assert rows.reach[first["most"]] == max(rows.reach[i] for i in right)
    assert rows.reach[first["least"]] == min(rows.reach[i] for i in right)
    assert rows.reach[first["wrong"]] == max(rows.reach[i] for i in wrong)
    assert rows.labels[first["abstained"]] is None
    assert len({index for _, index in found}) == len(found) == 16


@pytest.mark.parametrize("count", [0, 1, 5, 12, 30])
def test_as_many_are_shown_as_asked_for(rows: Rows, count: int) -> None:
    """Over two runs together; without pictures a dozen all the same."""
    found = cards([rows, rows], count)
    assert len(found) == max(count, 12)
    assert sum(card.pictures == "no pictures were asked for" for card in found) == max(12 - count, 0)
    assert sum(card.pictures == "the file is not here" for card in found) == count


def test_a_small_run_shows_what_it_has(tmp_path: Path) -> None:
    few = rows_of(read(write(tmp_path / "run.jsonl", settings(), certificates(3, settings(), seed=6))))
    assert sorted(index for _, index in chosen(few, 12)) == [0, 1, 2]
