"""Meta concepts are never the class, general tags are called what they are."""

from __future__ import annotations

import pytest

from api_smoothing.adapters import Answer, Label
from api_smoothing.adapters.labels.explanation import explain
from api_smoothing.adapters.labels.kinds import Reports, TopLabel, WordKinds, kinds_of
from api_smoothing.sandbox.vocabulary import labels_of

CAT = {"cat": 0.97}


def answered(provider: str) -> Answer:
    """What the provider says of a cat."""
    return Answer(labels=tuple(labels_of(provider, CAT)))


@pytest.mark.parametrize("name", ["no person", "No Person", "no people"])
def test_what_is_not_in_the_image_is_no_class(name: str) -> None:
    """Clarifai's "no person" leads with the best score, in any case, and is passed over; so it is by its id."""
    read = TopLabel(kinds_of("clarifai"))
    cat = Label(name="cat", id="ai_mFqxrph2", score=0.9)
    assert read(Answer(labels=(Label(name=name, id="ai_x", score=0.99), cat))) == "cat (ai_mFqxrph2)"
    assert (
        read(Answer(labels=(Label(name="niemand", id="ai_786Zr311", score=0.99), cat))) == "cat (ai_mFqxrph2)"
    )
    assert read(Answer(labels=(Label(name=name, score=0.99),))) is None


def test_no_sandbox_says_of_a_cat_that_nobody_is_there() -> None:
    """The best label of no provider with a vocabulary is a meta concept, though Clarifai answers with one."""
    assert any(label.name == "no person" for label in answered("clarifai").labels)
    for provider in ("aws", "azure", "clarifai", "google"):
        assert "no person" not in str(TopLabel(kinds_of(provider))(answered(provider)))


def test_a_reading_that_passes_words_over_has_a_name_of_its_own() -> None:
    """Where nothing is passed over the reading is what it was; else its name follows from the words."""
    assert kinds_of("aws").reading is None
    assert kinds_of("nobody").reading is None
    name = kinds_of("clarifai").reading
    assert name is not None
    assert name.startswith("top-label@")
    assert WordKinds(meta=frozenset({"no person"})).reading != name


@pytest.mark.parametrize("provider", ["aws", "azure", "google", "clarifai"])
def test_general_tags_and_what_is_more_specific(provider: str) -> None:
    """Of a cat every vocabulary's best label is general, and "cat" is among the more specific ones."""
    reports = Reports(kinds_of(provider))
    for _ in range(3):
        reports.add(answered(provider))
    top = TopLabel(kinds_of(provider))(answered(provider))
    assert top is not None
    assert reports.is_general(top)
    specific = dict(reports.specific())
    assert {name.casefold(): count for name, count in specific.items()}["cat"] == 3
    assert not [name for name in specific if name.casefold() in ("animal", "mammal", "no person")]


def test_a_parent_is_general_without_being_listed() -> None:
    """What answers call a parent, and give none, is general; what stands between is not."""
    reports = Reports(WordKinds())
    kitten = Label(name="Kitten", score=0.3, parents=("Feline", "Cat"))
    cat = Label(name="Cat", score=0.8, parents=("Feline",))
    reports.add(Answer(labels=(Label(name="Feline", score=0.9), cat, kitten)))
    assert reports.is_general("Feline")
    assert not reports.is_general("Cat")
    assert reports.specific() == [("Cat", 1)], "a score below one half reports nothing"


def test_the_explanation_says_so() -> None:
    """`labels explain` marks the label that decides, says which is a meta concept, and which general."""
    rows = {row.name: row for row in explain(answered("clarifai"), kinds=kinds_of("clarifai"))}
    assert rows["no person"].counts_for is None
    assert "never the class" in rows["no person"].why
    assert not rows["no person"].won
    assert "general tag" in rows["animal"].why
    assert [row.name for row in rows.values() if row.won] == ["animal"]
