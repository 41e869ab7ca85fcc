"""Label maps from files: what is refused, and what the built-in ones make of real answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from label_maps import CIFAR10, says

from api_smoothing import LabelMap
from api_smoothing.adapters import Answer, Label
from api_smoothing.adapters.labels.explanation import explain
from api_smoothing.adapters.labels.file import built_in
from api_smoothing.adapters.labels.label_map import top_label
from api_smoothing.adapters.registry import vocabularies
from api_smoothing.errors import ConfigurationError


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
    assert built_in() == ["cifar10", "imagenet-coarse", "imagenette"]
    for name in built_in():
        found = LabelMap.load(name)
        assert found.name == name
        assert found.about
        for provider in vocabularies():
            view = found.for_provider(provider)
            for class_, general in found.classes.items():
                section = view.sections.get(provider, {}).get(class_)
                assert general.labels or (section and section.labels), (name, provider, class_)


def answer(*labels: tuple[str, float | None]) -> Answer:
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in labels))


def write_map(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[classes",
        "[classes.a]\nlabels = []",
        "[classes.a]\nlabels = [1]",
        '[classes.a]\nlabels = ["x"]\nthreshold = 2',
    ],
)
def test_bad_label_maps_are_refused(tmp_path: Path, text: str) -> None:
    """A map that cannot be meant is an error in one line that names the file."""
    with pytest.raises(ConfigurationError, match=r"map\.toml"):
        LabelMap.load(write_map(tmp_path, text))


def test_built_in_map_covers_the_ten_classes() -> None:
    """The built-in cifar10 map reads ImageNet categories as the ten classes, in their order."""
    read = LabelMap.load("cifar10")
    assert tuple(read.classes) == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    assert read(answer(("tabby", 0.4), ("Egyptian cat", 0.3))) == "cat"
    assert read(answer(("strawberry", 0.9))) is None
