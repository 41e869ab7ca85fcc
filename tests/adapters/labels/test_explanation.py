"""Why an answer was read as it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import ASPECTS, SINGLE, content_of, map_of, says

from api_smoothing.adapters import Label
from api_smoothing.adapters.labels.explanation import explain
from api_smoothing.adapters.labels.label_map import key_of, top_label


def test_every_label_is_explained() -> None:
    """A row says for which class a label counts, how, or why not, and which one won by which rule."""
    read = map_of(
        {
            "ignore": ["blur"],
            "classes": {
                "dog": {"labels": ["dog"], "threshold": 0.5},
                "cat": {"ids": ["1"], "parents": ["Feline"]},
            },
        }
    )
    rows = explain(
        says(
            Label(name="Manx", score=0.9, parents=("Feline",)),
            Label(name="Kitty", score=0.9, id="1"),
            ("dog", 0.9),
            ("DOG", 0.4),
            ("blur", 0.3),
            ("sofa", 0.2),
        ),
        read,
    )
    assert [row.counts_for for row in rows] == ["cat", "cat", "dog", None, None, None]
    assert [row.why for row in rows] == [
        "by its parent Feline",
        "by its id",
        "by its name",
        "known by its name, but below 0.5 of dog",
        "to be ignored",
        "in no class",
    ]
    assert [row.won for row in rows] == [False, False, True, False, False, False]
    assert rows[2].tie == "as high as cat: of the classes, dog comes first in the order"
    assert (rows[2].threshold, rows[3].threshold) == (0.5, 0.5)


def test_without_a_map_the_top_label_is_explained() -> None:
    """The winner of an open vocabulary is named with the rule that settled its tie."""
    rows = explain(says(("b", 0.5), Label(name="a", score=0.5, id="1"), ("c", 0.4)))
    assert [row.won for row in rows] == [True, False, False]
    assert rows[0].tie == "as high as a (1): equal scores go by id, then name"
    listed = explain(says(("b", None), ("a", None)))
    assert listed[0].won
    assert "listed first" in listed[0].tie
    assert explain(says()) == []


@settings(max_examples=60, deadline=None)
@given(aspects=ASPECTS, picked=st.lists(st.sampled_from(SINGLE), max_size=4))
def test_an_explanation_never_contradicts_the_reading(aspects: dict[str, Any], picked: list[Label]) -> None:
    """The label that won counts for the class of the answer; where none won, the answer is the rest."""
    said = says(*picked)
    assert {key_of(Label(name=row.name, id=row.id)) for row in explain(said) if row.won} == (
        {top_label(said)} if picked else set()
    )
    read = map_of(content_of(aspects))
    won = [row.counts_for for row in explain(said, read) if row.won]
    rest = read.none if not picked and read.none is not None else read.other
    assert (won or [rest]) == [read(said)]
