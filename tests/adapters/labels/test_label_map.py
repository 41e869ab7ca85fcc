"""Label maps: every rule of reading, what the digest covers, the built-in maps, and the command that explains."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_maps import ASPECTS, SINGLE, content_of, map_of, says

from api_smoothing import LabelMap
from api_smoothing.adapters import Answer, Label
from api_smoothing.adapters.labels.explanation import explain
from api_smoothing.adapters.labels.label_map import Reports, TopLabel, WordKinds, key_of, kinds_of, top_label
from api_smoothing.sandbox.vocabulary import labels_of

# Without a map


def test_without_a_map_the_class_has_a_name_to_read_and_an_id_that_stays() -> None:
    """The top label is the class: its name, and its id where there is one, so that equal names stay apart."""
    car = Label(name="Car", score=0.9, id="/m/0k4j")
    assert top_label(says(car, ("Vehicle", 0.8))) == "Car (/m/0k4j)"
    assert top_label(says(("Vehicle", 0.8))) == "Vehicle"
    assert key_of(Label(name="train", id="ai_HLmqFqBf")) != key_of(Label(name="train", id="ai_RRXLczch"))
    assert key_of(Label(name="cat", id="cat")) == "cat"


def test_without_a_map_equal_scores_go_by_id_then_name() -> None:
    """The order in which a provider lists equal scores decides nothing."""
    tied = [Label(name=n, score=1.0, id=i) for n, i in [("b", "2"), ("c", "1"), ("a", "1"), ("z", None)]]
    for turn in range(4):
        listed = [*tied[turn:], *tied[:turn]]
        assert top_label(says(*listed)) == "z"
        assert top_label(says(*(label for label in listed if label.id))) == "a (1)"


def test_without_scores_the_first_label_is_the_best() -> None:
    """Where a provider gives no scores its order is all it says, with a map and without."""
    said = says(("dog", None), ("cat", None))
    assert top_label(said) == "dog"
    pets = map_of({"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "threshold": 0.9}}})
    assert pets(said) == "dog"


# How one label is read


@pytest.mark.parametrize(
    ("label", "want"),
    [
        (Label(name="Tabby", score=0.6), "cat"),
        (Label(name="tabby", score=0.6), "cat"),
        (Label(name="whatever", score=0.6, id="/m/01yrx"), "cat"),
        (Label(name="whatever", score=0.6, id="/M/01YRX"), None),  # an id is not a word
        (Label(name="Manx", score=0.6, parents=("Animal", "Feline")), "cat"),
        (Label(name="Manx", score=0.6, parents=("FELINE",)), "cat"),
        (Label(name="Feline", score=0.6), None),  # a parent is not a label
        (Label(name="hot dog", score=0.6, id="/m/01yrx"), "cat"),  # the id before the name
        (Label(name="hot dog", score=0.6, parents=("Feline",)), "food"),  # the name before the parents
        (Label(name="Cardigan", score=0.6), "dog"),  # this spelling before any other
        (Label(name="cardigan", score=0.6), "clothing"),
        (Label(name="Toy Cat", score=0.6, parents=("Feline",)), None),  # to be ignored
        (Label(name="ai_x", score=0.6, id="ai_dog"), "dog"),  # `labels` may hold ids
    ],
)
def test_a_label_counts_for_one_class(label: Label, want: str | None) -> None:
    """A label is known by its id, else its exact name, else its name in any case, else its parents."""
    read = map_of(
        {
            "ignore": ["toy cat"],
            "classes": {
                "cat": {"labels": ["cat", "tabby"], "ids": ["/m/01yrx"], "parents": ["Feline"]},
                "dog": {"labels": ["Cardigan", "ai_dog"]},
                "food": {"labels": ["hot dog"]},
                "clothing": {"labels": ["cardigan"]},
            },
        }
    )
    assert read(says(label)) == want


def test_thresholds_of_words_go_before_those_of_classes() -> None:
    """A label below the score it needs is not seen, and the next one decides; a score of 0 means "not this"."""
    read = map_of(
        {
            "classes": {
                "cat": {"labels": ["cat", "tabby"], "threshold": 0.5, "thresholds": {"tabby": 0.8}},
                "dog": {"labels": ["dog"]},
            }
        }
    )
    assert read.thresholds == {"cat": 0.5}
    assert read(says(("cat", 0.5))) == "cat"
    assert read(says(("cat", 0.49), ("dog", 0.1))) == "dog"
    assert read(says(("tabby", 0.79), ("dog", 0.1))) == "dog"
    assert read(says(("tabby", 0.8), ("dog", 0.1))) == "cat"
    assert read(says(("dog", 0.0))) is None


def test_equal_scores_go_to_the_class_that_comes_first() -> None:
    """The order of the classes, or the one that is given, settles ties, whatever the provider lists first."""
    classes = {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"]}}
    tied = [("dog", 0.7), ("cat", 0.7), ("tree", 0.7)]
    for listed in (tied, tied[::-1]):
        assert map_of({"classes": classes})(says(*listed)) == "cat"
        assert map_of({"classes": classes, "order": ["dog", "cat"]})(says(*listed)) == "dog"


def test_the_rest_and_nothing_are_classes_when_named() -> None:
    """`other` is for answers in which no label counts, `none` for answers without labels."""
    classes = {"cat": {"labels": ["cat"]}}
    assert map_of({"classes": classes})(says(("tree", 0.9))) is None
    rest = map_of({"classes": classes, "other": "other"})
    assert (rest(says(("tree", 0.9))), rest(says())) == ("other", "other")
    both = map_of({"classes": classes, "other": "other", "none": "safe"})
    assert (both(says(("tree", 0.9))), both(says())) == ("other", "safe")
    empty = map_of({"classes": classes, "none": "safe"})
    assert (empty(says(("tree", 0.9))), empty(says())) == (None, "safe")


SECTIONED = {
    "classes": {
        "toy": {"labels": ["kite"], "threshold": 0.05, "google": {"ids": ["/m/02zt3"], "threshold": 0.2}},
        "bird": {"labels": ["bird"], "threshold": 0.5, "torchvision": {"labels": ["kite"]}},
        "cat": {"labels": ["cat"], "google": {"labels": ["Felidae"], "thresholds": {"cat": 0.9}}},
    }
}


def test_a_section_holds_for_its_provider_only() -> None:
    """A provider is read with the general words and its own; a word of its section is taken from other classes."""
    read = map_of(SECTIONED)
    kite = says(("kite", 0.6))
    assert read.for_provider("torchvision/resnet50")(kite) == "bird"
    assert read.for_provider("google")(kite) == "toy"
    assert read.for_provider("aws")(says(Label(name="x", score=0.6, id="/m/02zt3"))) is None
    assert read.for_provider("google")(says(Label(name="x", score=0.6, id="/m/02zt3"))) == "toy"


def test_a_section_overrules_the_general_thresholds() -> None:
    """In its provider's answers a section's thresholds hold for general words, too."""
    read = map_of(SECTIONED)
    assert read.for_provider("google")(says(("cat", 0.89))) is None
    assert read.for_provider("google")(says(("cat", 0.9))) == "cat"
    assert read.for_provider("aws")(says(("cat", 0.1))) == "cat"
    assert read.for_provider("google")(says(("kite", 0.1))) is None
    assert read.for_provider("aws")(says(("kite", 0.1))) == "toy"


@pytest.mark.parametrize("provider", ["http", "acme", "ResNet", "my_function"])
def test_an_unknown_vocabulary_is_read_with_every_section(provider: str) -> None:
    """Who has no vocabulary of its own may speak any of them."""
    read = map_of(SECTIONED).for_provider(provider)
    assert read(says(Label(name="x", score=0.6, id="/m/02zt3"))) == "toy"
    assert read(says(("Felidae", 0.6))) == "cat"
    assert read(says(("kite", 0.6))) == "toy", "in two classes, so the order decides"


def test_names_for_a_service_are_those_it_knows() -> None:
    """A filter for the service is made of its own section's labels, or else of the general ones."""
    assert map_of(SECTIONED).names_for("google") == ["kite", "bird", "Felidae"]
    assert LabelMap.load("cifar10").names_for("aws")[0] == "Airplane"
    assert len(LabelMap.load("cifar10").names_for("aws")) <= 100, "Rekognition takes no more filters"


# The digest

LAYOUTS = [
    'name = "a"\n[classes.cat]\nlabels = ["cat", "tabby"]\nthreshold = 0.5\nthresholds = { tabby = 1 }\n'
    "[classes.dog.google]\nids = ['/m/0bt9lr']\n",
    '# the same\nname = "b"\nabout = "pets"\norder = ["cat", "dog"]\n'
    'classes.dog = { google = { ids = ["/m/0bt9lr", "/m/0bt9lr"] } }\n'
    '[classes.cat]\nthresholds.tabby = 1.0\nthreshold = 5e-1\nlabels = [\n  "tabby",\n  "cat",\n]\n',
]


def test_the_digest_does_not_depend_on_the_layout(tmp_path: Path) -> None:
    """The same words in another TOML layout have the same sha256; so has the map read for one provider."""
    found = []
    for number, text in enumerate(LAYOUTS):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, "utf-8")
        found += [LabelMap.load(path).sha256, LabelMap.load(str(path)).for_provider("google").sha256]
    assert len(set(found)) == 1


QUESTIONS = [
    says(),
    *(says(label) for label in SINGLE),
    *(says(*pair) for pair in combinations(SINGLE[::4], 2)),
]


def readings(read: LabelMap) -> list[str | None]:
    """What the map makes of every answer of a small world, from a service and from an unknown provider."""
    return [view(said) for view in (read, read.for_provider("google")) for said in QUESTIONS]


@pytest.mark.parametrize(
    "changed", ["general", "google", "threshold", "thresholds", "ignore", "order", "other", "none"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(one=ASPECTS, other=ASPECTS)
def test_whatever_changes_a_reading_changes_the_digest(
    changed: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two maps with one sha256 read every answer alike, however little they differ."""
    first = map_of(content_of(one))
    second = map_of(content_of({**one, changed: other[changed]}))
    if readings(first) != readings(second):
        assert first.sha256 != second.sha256


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(aspects=ASPECTS, seed=st.integers(0, 99))
def test_shuffling_a_map_changes_neither_digest_nor_reading(aspects: dict[str, Any], seed: int) -> None:
    """The order of keys, and of words in a list, is layout; the order of classes is not, unless it is given."""
    content = {"order": ["a", "b"], **content_of(aspects)}
    one, other = map_of(content), map_of(shuffled(content, random.Random(seed)))
    assert one.sha256 == other.sha256
    assert readings(one) == readings(other)


def shuffled(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict):
        keys = draw.sample(list(value), len(value))
        return {k: value[k] if k == "order" else shuffled(value[k], draw) for k in keys}
    return draw.sample(value, len(value)) if isinstance(value, list) else value


@pytest.mark.parametrize(
    "change",
    [
        {"other": "x"},
        {"none": "x"},
        {"order": ["dog", "cat"]},
        {"ignore": ["fox"]},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["Dog"]}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "ids": ["1"]}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "parents": ["pet"]}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "threshold": 0.1}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "thresholds": {"dog": 0.1}}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "aws": {"labels": ["Pup"]}}}},
        {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"], "azure": {"labels": ["Pup"]}}}},
    ],
)
def test_the_digest_sees_every_field(change: dict[str, Any]) -> None:
    """Each thing that can be written into a map is part of its sha256."""
    base = {"classes": {"cat": {"labels": ["cat"]}, "dog": {"labels": ["dog"]}}}
    assert map_of({**base, **change}).sha256 != map_of(base).sha256


# The command


def answer(*labels: tuple[str, float | None]) -> Answer:
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in labels))


def test_top_label_is_the_best_scored_whatever_the_order() -> None:
    """The class without a map is the label of highest score, not the first listed."""
    assert top_label(answer(("Vehicle", 0.9), ("Car", 0.95))) == "Car"


def test_top_label_breaks_ties_by_a_fixed_rule() -> None:
    """Equal scores in any order give the same class."""
    tied = [("Vehicle", 1.0), ("Car", 1.0), ("Sedan", 1.0)]
    assert {top_label(answer(*tied[i:], *tied[:i])) for i in range(3)} == {"Car"}


def test_top_label_of_nothing_is_nothing() -> None:
    """An empty answer is "no label", which is no class."""
    assert top_label(Answer(labels=())) is None


def write_map(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, "utf-8")
    return path


def test_label_map_reads_names_ids_thresholds_and_ties(tmp_path: Path) -> None:
    """Names match in any case, ids too; low scores are not seen; ties go to the class named first."""
    path = write_map(
        tmp_path,
        'other = "other"\n[classes.car]\nlabels = ["Car", "/m/0k4j"]\nthreshold = 0.5\n'
        '[classes.cat]\nlabels = ["cat"]\n',
    )
    read = LabelMap.load(path)
    assert read(answer(("CAR", 0.6), ("cat", 0.55))) == "car"
    assert read(Answer(labels=(Label(name="Auto", score=0.7, id="/m/0k4j"),))) == "car"
    assert read(answer(("car", 0.4), ("cat", 0.3))) == "cat"
    assert read(answer(("cat", 0.8), ("car", 0.8))) == "car"
    assert read(answer(("tree", 0.9))) == "other"


def test_label_map_digest_covers_all_that_decides(tmp_path: Path) -> None:
    """Changing a label, a threshold, the order or the rest class changes the map's sha256."""
    texts = [
        '[classes.a]\nlabels = ["x"]\n[classes.b]\nlabels = ["y"]\n',
        '[classes.b]\nlabels = ["y"]\n[classes.a]\nlabels = ["x"]\n',
        '[classes.a]\nlabels = ["z"]\n[classes.b]\nlabels = ["y"]\n',
        '[classes.a]\nlabels = ["x"]\nthreshold = 0.1\n[classes.b]\nlabels = ["y"]\n',
        'other = "o"\n[classes.a]\nlabels = ["x"]\n[classes.b]\nlabels = ["y"]\n',
    ]
    assert len({LabelMap.load(write_map(tmp_path, text)).sha256 for text in texts}) == len(texts)


# Meta concepts and general tags

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
