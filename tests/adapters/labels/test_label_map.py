"""Label maps: every rule of reading, what the digest covers, the built-in maps, and the command that explains."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from api_smoothing import LabelMap, images
from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.labels.explanation import explain
from api_smoothing.adapters.labels.file import built_in, parse
from api_smoothing.adapters.labels.label_map import key_of, top_label
from api_smoothing.adapters.registry import vocabularies
from api_smoothing.cli import main
from api_smoothing.cli.commands import labels as command
from api_smoothing.engine.single import ask_clean
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ImageError, ProviderError

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def says(*labels: tuple[str, float | None] | Label) -> Answer:
    return Answer(
        labels=tuple(
            found if isinstance(found, Label) else Label(name=found[0], score=found[1]) for found in labels
        )
    )


def map_of(content: dict[str, Any]) -> LabelMap:
    return LabelMap(**parse(content, "map.toml"))


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


WORDS = st.sampled_from(["cat", "Cat", "dog", "/m/1", "Pet"])
OWNERS = st.sampled_from(["a", "b"])
SCORES = st.sampled_from([0.0, 0.4, 0.6])
SCOPES = st.sampled_from(["general", "google"])
SECTION = st.fixed_dictionaries(
    {kind: st.dictionaries(WORDS, OWNERS, max_size=3) for kind in ("labels", "ids", "parents")}
)

#: A map over a small world, one field for each thing that may differ from its close relatives.
ASPECTS = st.fixed_dictionaries(
    {
        "general": SECTION,
        "google": SECTION,
        "threshold": st.dictionaries(st.tuples(SCOPES, OWNERS), SCORES, max_size=2),
        "thresholds": st.dictionaries(st.tuples(SCOPES, WORDS), SCORES, max_size=2),
        "ignore": st.lists(WORDS, max_size=1),
        "order": st.sampled_from([None, ["a", "b"], ["b", "a"]]),
        "other": st.sampled_from([None, "a", "rest"]),
        "none": st.sampled_from([None, "a", "empty"]),
    }
)


def content_of(aspects: dict[str, Any]) -> dict[str, Any]:
    """The file's content; each class has a word of its own, so that none is empty."""
    content: dict[str, Any] = {"classes": {}}
    for name in ("a", "b"):
        tables: dict[str, Any] = {}
        for scope in ("general", "google"):
            table = tables[scope] = {"labels": [f"only {name}"]} if scope == "general" else {}
            for kind, words in aspects[scope].items():
                mine = [w for w, owner in words.items() if owner == name]
                if kind == "labels":
                    mine = [w for w in mine if w not in aspects["ignore"]]
                if mine:
                    table[kind] = [*table.get(kind, []), *mine]
            if (scope, name) in aspects["threshold"]:
                table["threshold"] = aspects["threshold"][scope, name]
            lists = [t.get(kind, []) for t in (table, tables["general"]) for kind in aspects[scope]]
            single = {
                word: score
                for (where, word), score in aspects["thresholds"].items()
                if where == scope and any(word in words for words in lists)
            }
            if single:
                table["thresholds"] = single
        content["classes"][name] = tables["general"] | (
            {"google": tables["google"]} if tables["google"] else {}
        )
    return content | {k: aspects[k] for k in ("ignore", "order", "other", "none") if aspects[k]}


SINGLE = [
    Label(name=name, score=score, id=id, parents=parents)
    for name in ("cat", "Cat", "dog", "pet", "other")
    for score in (0.5, 1.0)
    for id in (None, "/m/1", "cat")
    for parents in ((), ("Pet",), ("dog", "cat"))
]
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


# Files


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("[clases.a]\nlabels = ['x']", ["clases", "did you mean classes"]),
        ("[classes.a]\nlabels = ['x']\ntreshold = 0.5", ["classes.a.treshold", "did you mean threshold"]),
        ("[classes.a]\nlabels = ['x']\n[classes.a.goggle]\nids = ['y']", ["classes.a.goggle", "google"]),
        ("[classes.a]\nlabels = ['x']\n[classes.a.google]\nid = ['y']", ["classes.a.google.id", "ids"]),
        ("[classes.a]\nlabels = ['x']\n[classes.a.http]\nids = ['y']", ["classes.a.http"]),
        ("[classes.a]\nlabels = 'x'", ["classes.a.labels", "list"]),
        ("[classes.a]\nlabels = []", ["classes.a.labels", "empty"]),
        ("[classes.a]\nlabels = ['']", ["classes.a.labels"]),
        ("[classes.a]\nids = [1]", ["classes.a.ids"]),
        ("[classes.a]\nthreshold = 0.5", ["[classes.a]", "labels"]),
        ("classes.a = 1", ["classes.a", "table"]),
        ("classes = 1", ["[classes.NAME]"]),
        ("[classes.a]\nlabels = ['x']\ngoogle = 1", ["classes.a.google", "table"]),
        ("[classes.a]\nlabels = ['x']\nthreshold = 1.5", ["classes.a.threshold", "[0, 1]"]),
        ("[classes.a]\nlabels = ['x']\nthreshold = nan", ["classes.a.threshold"]),
        ("[classes.a]\nlabels = ['x']\nthreshold = true", ["classes.a.threshold"]),
        ("[classes.a]\nlabels = ['x']\nthresholds = { x = '1' }", ["classes.a.thresholds.x"]),
        ("[classes.a]\nlabels = ['tabby']\nthresholds = { taby = 1 }", ["taby", "did you mean tabby"]),
        ("other = 1\n[classes.a]\nlabels = ['x']", ["other", "text"]),
        ("none = ''\n[classes.a]\nlabels = ['x']", ["none"]),
        ("order = ['b']\n[classes.a]\nlabels = ['x']", ["order names b"]),
        ("order = ['a', 'a']\n[classes.a]\nlabels = ['x']", ["order names a twice"]),
        ("order = ['a']\n[classes.a]\nlabels = ['x']\n[classes.b]\nids = ['y']", ["order leaves out b"]),
        ("[classes.a]\nlabels = ['x']\n[classes.b]\nlabels = ['x']", ["'x'", "classes.b.labels", "in a"]),
        ("ignore = ['x']\n[classes.a]\nlabels = ['x']", ["'x'", "classes.a.labels", "ignore"]),
        (
            "[classes.a.google]\nids = ['1']\n[classes.b.google]\nids = ['1']",
            ["'1'", "classes.b.google.ids", "in a"],
        ),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, needles: Sequence[str]) -> None:
    """Every mistake is one line that names the file and the key, with the nearest known word."""
    path = tmp_path / "pets.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        LabelMap.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for needle in ["pets.toml", *needles]:
        assert needle in message


def test_a_file_that_is_no_map_is_refused(tmp_path: Path) -> None:
    """Files that are missing or no text are errors in one line."""
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.toml", "missing.toml"):
        with pytest.raises(ConfigurationError, match=name):
            LabelMap.load(tmp_path / name)


# The built-in maps


def test_a_four_way_tie_is_read_by_the_class_it_holds() -> None:
    """Rekognition's exact tie of a label with its ancestors is no tie in a closed map, in any order."""
    top = [
        Label(name="Vehicle", score=1.0, parents=("Transportation",)),
        Label(name="Transportation", score=1.0),
        Label(name="Sedan", score=1.0, parents=("Car", "Transportation", "Vehicle")),
        Label(name="Car", score=1.0, parents=("Transportation", "Vehicle")),
    ]
    read = LabelMap.load("cifar10").for_provider("aws")
    assert {read(says(*top[turn:], *top[:turn])) for turn in range(4)} == {"automobile"}
    jaguar = Label(name="Jaguar Car", score=0.8, parents=("Car", "Transportation", "Vehicle"))
    assert read(says(jaguar)) == "automobile"


def recorded(shared: Path, name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((shared / "fixtures" / "recorded" / name).read_text("utf-8"))
    return body


def test_a_recorded_car_is_an_automobile_to_rekognition(shared: Path) -> None:
    """A real four-way tie at 100 reads as automobile, and openly as "Car"."""
    body = recorded(shared, "aws_detectlabels_v3_car.json")
    said = says(
        *(
            Label(
                name=found["Name"],
                score=found["Confidence"] / 100,
                parents=tuple(parent["Name"] for parent in found["Parents"]),
            )
            for found in body["Labels"]
        )
    )
    assert LabelMap.load("cifar10").for_provider("aws")(said) == "automobile"
    assert LabelMap.load("imagenet-coarse").for_provider("aws")(said) == "vehicle"
    assert top_label(said) == "Car"
    won = next(row for row in explain(said, LabelMap.load("cifar10").for_provider("aws")) if row.won)
    assert (won.name, won.counts_for, won.tie) == ("Car", "automobile", "")
    openly = next(row for row in explain(said) if row.won)
    assert "as high as Sedan, Transportation, Vehicle" in openly.tie


def test_a_recorded_car_is_an_automobile_to_cloud_vision(shared: Path) -> None:
    """A real answer in which "Land vehicle" and "Vehicle" rank above "Car" reads as automobile, by its id."""
    (body,) = recorded(shared, "google_labels_car.json")["responses"]
    said = says(
        *(
            Label(name=found["description"], score=found["score"], id=found["mid"])
            for found in body["labelAnnotations"]
        )
    )
    assert top_label(said) == "Land vehicle (/m/01prls)"
    read = LabelMap.load("cifar10").for_provider("google")
    assert read(said) == "automobile"
    assert LabelMap.load("imagenet-coarse").for_provider("google")(said) == "vehicle"
    renamed = says(*(Label(name="renamed", score=label.score, id=label.id) for label in said.labels))
    assert read(renamed) == "automobile", "ids stay when a provider renames its labels"


def test_recorded_tags_and_concepts_have_a_coarse_class(shared: Path) -> None:
    """Real Azure tags and Clarifai concepts are read by their generic words."""
    tags = recorded(shared, "azure40_tags.json")["body"]["tagsResult"]["values"]
    office = says(*(Label(name=tag["name"], score=tag["confidence"]) for tag in tags))
    read = LabelMap.load("imagenet-coarse")
    assert read.for_provider("azure")(office) == "furniture"
    assert LabelMap.load("cifar10").for_provider("azure")(office) is None
    output = recorded(shared, "clarifai_metro_north_v_aa7f35c0.json")["outputs"][0]
    train = says(*(Label(name=c["name"], score=c["value"], id=c["id"]) for c in output["data"]["concepts"]))
    assert read.for_provider("clarifai")(train) == "vehicle"


@pytest.fixture(scope="module")
def imagenet() -> list[str]:
    """The 1,000 ImageNet categories, as torchvision names them."""
    models = pytest.importorskip("torchvision.models")
    return list(models.get_model_weights("resnet18").DEFAULT.meta["categories"])


def test_every_imagenet_category_has_one_coarse_class(imagenet: list[str]) -> None:
    """A category is listed under exactly one class and read as that, or under none and read as "other"."""
    read = LabelMap.load("imagenet-coarse").for_provider("torchvision/resnet50")
    listed = {name: words.labels for name, words in read.sections["torchvision"].items()}
    assert sorted(listed) == sorted(read.classes)
    for category in imagenet:
        classes = [name for name, labels in listed.items() if category in labels]
        assert len(classes) <= 1, category
        assert read(says((category, 0.5))) == (classes[0] if classes else "other"), category
    assert {category for labels in listed.values() for category in labels} <= set(imagenet)
    assert len(listed["animal"]) == 398, "the categories below animal in ImageNet's own hierarchy"


@pytest.mark.parametrize(
    ("category", "want"),
    [
        ("tench", "animal"), ("Cardigan", "animal"), ("cardigan", "clothing"), ("crane bird", "animal"),
        ("crane", "other"), ("minivan", "vehicle"), ("trolleybus", "vehicle"), ("pizza", "food"),
        ("daisy", "plant"), ("rocking chair", "furniture"), ("cello", "instrument"), ("laptop", "electronics"),
        ("rugby ball", "sports"), ("palace", "structure"), ("volcano", "landscape"), ("toaster", "appliance"),
        ("rifle", "weapon"), ("hammer", "tool"), ("beer bottle", "container"), ("scuba diver", "person"),
        ("bubble", "other"),
    ],
)  # fmt: skip
def test_coarse_classes_are_what_their_names_say(category: str, want: str) -> None:
    """A category of each class, homonyms included."""
    read = LabelMap.load("imagenet-coarse").for_provider("torchvision/resnet50")
    assert read(says((category, 0.5))) == want


def test_cifar10_over_imagenet_names_real_categories(imagenet: list[str]) -> None:
    """The sections for ImageNet models hold categories there are; homonyms of another kind are no class."""
    read = LabelMap.load("cifar10").for_provider("torchvision/resnet50")
    words = [word for words in read.sections["torchvision"].values() for word in words.labels]
    assert set(words) <= set(imagenet)
    counts = dict.fromkeys(CIFAR10, 0)
    for category in imagenet:
        if (name := read(says((category, 0.5)))) is not None:
            counts[name] += 1
    assert (counts["bird"], counts["dog"], counts["cat"]) == (59, 118, 5)
    for other in ("cardigan", "plane", "crane", "hot pot", "passenger car", "Madagascar cat", "hotdog"):
        assert read(says((other, 0.9))) is None, other


def test_built_in_maps_serve_every_vocabulary() -> None:
    """Each built-in map says what it is for, and knows words of all services in every class."""
    assert built_in() == ["cifar10", "imagenet-coarse"]
    for name in built_in():
        found = LabelMap.load(name)
        assert found.name == name
        assert found.about
        for provider in vocabularies():
            view = found.for_provider(provider)
            for class_, general in found.classes.items():
                section = view.sections.get(provider, {}).get(class_)
                assert general.labels or (section and section.labels), (name, provider, class_)


# Explaining


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


# Asking about one clean image


class Service:
    """A paid service that keeps what it was sent and returns, or raises, what it was given."""

    def __init__(self, *outcomes: Answer | Verdict | Exception, **facts: Any) -> None:
        self.outcomes, self.sent = outcomes, list[Any]()
        self.card = AdapterCard(
            name=facts.pop("name", "acme"), fingerprint="acme/1", **{"usd_per_query": 0.002, **facts}
        )

    def label(self, images: Any, /) -> list[Any]:
        self.sent.append(images)
        if isinstance(self.outcomes[0], Exception):
            raise self.outcomes[0]
        return list(self.outcomes)

    def verdict(self, error: Exception, /) -> Verdict:
        kind: Any = str(error)
        return Verdict(kind=kind, message=f"it is {kind}", retry_after=7.0)


CAT = says(("tabby", 0.9), ("sofa", 0.9))


def test_a_small_image_is_enlarged_by_a_whole_factor() -> None:
    """Below the least side every pixel is repeated, as often as needed and no oftener."""
    pixels = np.arange(40 * 41 * 3, dtype=np.uint8).reshape(40, 41, 3)
    service = Service(CAT, min_side=80)
    assert ask_clean(service, images.load(pixels)) is CAT
    ((sent,),) = service.sent
    assert isinstance(sent, EncodedImage)
    assert (sent.height, sent.width) == (80, 82)
    assert np.array_equal(images.load(sent.data).grid, pixels.repeat(2, 0).repeat(2, 1))
    service = Service(CAT, min_side=40)
    ask_clean(service, images.load(pixels))
    assert service.sent[0][0].height == 40


def test_a_local_model_gets_the_image_on_the_8_bit_grid() -> None:
    """A resized image is rounded to whole levels before it is asked about."""
    service = Service(CAT, accepts="tensor")
    loaded = images.load(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), size=6)
    ask_clean(service, loaded)
    (sent,) = service.sent
    assert sent.shape == (1, 3, 6, 6)
    assert torch.equal(sent, (sent * 255).round() / 255)
    exact = loaded.grid / (255 * loaded.sub)
    assert np.abs(sent[0].permute(1, 2, 0).numpy() - exact).max() <= 0.5001 / 255


@pytest.mark.parametrize(
    ("outcome", "error", "needle"),
    [
        (ValueError("fatal"), ProviderError, "it is fatal"),
        (ValueError("transient"), ProviderError, "try again"),
        (ValueError("throttled"), ProviderError, "try again in 7 s"),
        (ValueError("refused"), ImageError, "refuses this image: it is refused"),
        (Verdict(kind="refused", message="too dark"), ImageError, "too dark"),
        (Verdict(kind="transient"), ProviderError, "try again"),
        (ConfigurationError("no region"), ConfigurationError, "no region"),
    ],
)
def test_a_failed_question_is_one_line_and_one_request(
    outcome: Exception | Verdict, error: type[ApiSmoothError], needle: str
) -> None:
    """Nothing is repeated, and the message is the verdict's."""
    service = Service(outcome)
    with pytest.raises(error) as caught:
        ask_clean(service, images.load(np.zeros((8, 8, 3), np.uint8)))
    assert needle in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(service.sent) == 1


def test_a_wrong_number_of_answers_is_an_error() -> None:
    """One question has one answer."""
    with pytest.raises(ProviderError, match="2 answers to one query"):
        ask_clean(Service(CAT, CAT), images.load(np.zeros((8, 8, 3), np.uint8)))


# The command


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A paid service behind the command, in a folder with one image."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    monkeypatch.chdir(tmp_path)
    acme = Service(CAT, name="torchvision/acme")

    @contextmanager
    def open_acme(*_: object, **__: object) -> Iterator[Service]:
        yield acme

    monkeypatch.setattr(command, "open_adapter", open_acme)
    return acme


def test_explain_asks_before_it_pays(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that costs money is sent with --yes or a yes at a terminal, and not otherwise."""
    assert main(["labels", "explain", "x.png"]) == 2
    printed = capsys.readouterr().err
    assert "one query to torchvision/acme, $0.0020" in printed
    assert "--yes" in printed
    assert service.sent == []

    class Terminal:
        def __init__(self, line: str) -> None:
            self.line = line

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.line

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["labels", "explain", "x.png"]) == 2
    assert "nothing was sent" in capsys.readouterr().err
    assert service.sent == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert main(["labels", "explain", "x.png"]) == 0
    assert len(service.sent) == 1


def test_explain_shows_what_was_said_and_how_it_was_read(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has the answer, its class and the map's digest; the table marks the label that decided."""
    assert main(["labels", "explain", "x.png", "--labels", "cifar10", "--yes", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["class"], found["usd"], found["provider"]) == ("cat", 0.002, "torchvision/acme")
    assert found["label_map"] == f"cifar10@{LabelMap.load('cifar10').sha256}"
    assert [row["counts_for"] for row in found["labels"]] == ["cat", None]
    assert main(["labels", "explain", "x.png", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "→ 0.9000  sofa" in out
    assert "class: sofa (as high as tabby: equal scores go by id, then name)" in out
    service.outcomes = (says(),)
    assert main(["labels", "explain", "x.png", "--yes"]) == 0
    assert "class: none (the answer has no labels)" in capsys.readouterr().out


def test_a_bad_map_or_image_costs_nothing(service: Service) -> None:
    """What can be checked is checked before the query is sent."""
    assert main(["labels", "explain", "x.png", "--labels", "cifar", "--yes"]) == 2
    assert main(["labels", "explain", "missing.png", "--yes"]) == 2
    assert service.sent == []


def test_list_and_show_print_the_maps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Built-in maps are listed; one is shown whole or for a provider, with the filter it could apply itself."""
    assert main(["labels", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [found["name"] for found in listed] == built_in()
    assert listed[0]["classes"] == CIFAR10
    assert main(["labels", "show", "cifar10", "--provider", "aws"]) == 0
    out = capsys.readouterr().out
    assert listed[0]["sha256"] in out
    assert "--options only=map" in out
    assert "Airplane, Airliner, Jet" in out
    assert "/m/01yrx" not in out
    assert main(["labels", "show", "cifar10", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["classes"]["cat"]["google"]["ids"][0] == "/m/01yrx"
    assert main(["labels", "show", "cifar10", "--provider", "acme"]) == 2
    assert main(["labels", "list"]) == 0
