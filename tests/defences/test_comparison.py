"""Counts, intervals and paired tests of rows whose outcome is known."""

from __future__ import annotations

import json

import pytest

from api_smoothing.claims import intervals
from api_smoothing.defences import Comparison, Cost
from api_smoothing.defences.comparison import WORST, Defended, Row
from api_smoothing.errors import ConfigurationError


def row(item: int, condition: str, defence: str, right: bool, **figures: float) -> Row:
    given = {"loss_before": 1.0, "loss_after": 2.0, "mse": 0.01, "seconds": 0.5, **figures}
    label = "cat" if right else "dog"
    return Row(
        item=str(item),
        image_sha256="",
        condition=condition,
        defence=defence,
        identity="",
        truth="cat",
        label=label,
        right=right,
        **given,
    )


RIGHT = {
    ("none", "none"): [1, 1, 1, 1, 1, 1, 1, 1],
    ("none", "b<"): [1, 1, 1, 1, 1, 1, 1, 0],
    ("pgd", "none"): [0, 0, 0, 0, 0, 0, 0, 1],
    ("pgd", "b<"): [1, 1, 1, 1, 1, 1, 0, 0],
    ("adaptive pgd", "none"): [0, 0, 0, 0, 0, 0, 0, 0],
    ("adaptive pgd", "b<"): [0, 1, 1, 1, 0, 0, 1, 0],
    ("fog:1", "none"): [1, 1, 0, 0, 0, 0, 0, 0],
    ("fog:1", "b<"): [1, 1, 1, 1, 0, 0, 0, 0],
    ("fog:2", "none"): [0, 0, 0, 0, 0, 0, 0, 0],
    ("fog:2", "b<"): [1, 1, 1, 1, 1, 1, 0, 0],
}
KINDS = {
    "none": "clean",
    "pgd": "attack",
    "adaptive pgd": "adaptive",
    "fog:1": "corruption",
    "fog:2": "corruption",
}


def comparison() -> Comparison:
    rows = [
        row(k, condition, defence, bool(right))
        for (condition, defence), outcomes in RIGHT.items()
        for k, right in enumerate(outcomes)
    ]
    return Comparison(
        data="toy",
        model="toy",
        reference="truth",
        defences=(
            Defended(name="none", cost=Cost()),
            Defended(name="b<", cost=Cost(queries=3, evaluations=6)),
        ),
        conditions=KINDS,  # type: ignore[arg-type]
        rows=tuple(rows),
    )


def test_counts_intervals_and_pairs() -> None:
    """Six gained and one lost: the exact two-sided p-value of 1 of 7 is 2·(1 + 7)/2⁷ = 1/8."""
    found = comparison().cell("b<", "pgd")
    assert (found.k, found.n, found.lost, found.gained) == (6, 8, 1, 6)
    assert (found.low, found.high) == intervals.exact(6, 8)
    assert found.p_value == pytest.approx(1 / 8)
    assert found.difference == pytest.approx(5 / 8)
    first = comparison().cell("none", "pgd")
    assert (first.lost, first.gained, first.p_value, first.difference) == (None, None, None, None)


def test_figures_are_means() -> None:
    """10 log₁₀ 100 = 20 dB."""
    found = comparison().cell("b<", "none")
    assert (found.loss_before, found.loss_after, found.seconds) == (1.0, 2.0, 0.5)
    assert found.psnr == pytest.approx(20.0)


def test_all_attacks_take_the_worst_for_each_image() -> None:
    """Right as it is and under every attack; corruptions are none."""
    found = comparison().cell("b<", WORST)
    assert (found.k, found.n) == (3, 8)
    assert (found.lost, found.gained) == (0, 3)


def test_images_that_only_one_has_are_not_paired() -> None:
    """A run that was cut off has fewer rows of the last defence."""
    whole = comparison()
    cut = Comparison(
        data="toy",
        model="toy",
        reference="truth",
        defences=whole.defences,
        conditions=whole.conditions,
        rows=tuple(one for one in whole.rows if one.defence == "none" or int(one.item) < 5),
    )
    found = cut.cell("b<", "pgd")
    assert (found.k, found.n, found.lost, found.gained) == (5, 5, 0, 5)


def test_the_table_has_a_row_a_cell() -> None:
    """And the mean of the corruptions, which has no interval; then what it costs."""
    first, second = comparison().table().split("\n\n")
    lines = first.splitlines()
    assert len(lines) == 1 + 2 * 5 + 2 + 2
    assert " ".join(lines[4].split()) == (
        "pgd b< 75.0% 34.9% to 96.8% (6 of 8) −1 +6 0.13 1.00 → 2.00 20.0 dB"
    )
    assert lines[-1].split() == ["mean", "of", "2", "corruptions", "b<", "62.5%"]
    assert second.splitlines()[-1].split() == ["b<", "3", "6", "0.500"]


def test_json_and_html() -> None:
    """All numbers as JSON; names escaped as HTML."""
    found = json.loads(comparison().to_json())
    assert found["defences"][1] == {"name": "b<", "queries": 3, "evaluations": 6}
    cell = next(one for one in found["cells"] if (one["condition"], one["defence"]) == ("pgd", "b<"))
    assert (cell["value"], cell["difference"], cell["lost"]) == (0.75, 0.625, 1)
    page = comparison()._repr_html_()
    assert page.count("<table>") == 2
    assert "b&lt;" in page
    assert "b<" not in page


def test_slips_are_told() -> None:
    """A cell that is not there; a comparison taken for a truth value."""
    with pytest.raises(ConfigurationError, match="no 'c' under 'pgd'"):
        comparison().cell("c", "pgd")
    with pytest.raises(TypeError, match=r"look at \.cells"):
        bool(comparison())
