"""Which class a label means: as spelled, nearly so, by the label map, by number; and never by a guess in silence."""

from __future__ import annotations

import pytest

from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.adapters.labels.words import Words
from api_smoothing.datasets import DataSet, Example, map_truths, open_dataset
from api_smoothing.datasets.base import assembled

MAP = LabelMap(
    name="pets",
    classes={
        "cat": Words(labels=("tabby cat", "wild animal"), ids=("/m/01yrx",)),
        "dog": Words(labels=("hound", "wild animal")),
    },
    ignore=("pet",),
    other="something else",
)


def labelled(*truths: str | None) -> DataSet:
    return assembled("set", [Example(id=str(k), image="x", truth=t) for k, t in enumerate(truths)])


def test_a_map_places_labels_by_class_spelling_word_and_id() -> None:
    """Whatever is not spelled as the class is told; a label of no class has none, nor has an image without label."""
    data = labelled("cat", "CAT", "Tabby_Cat", "/m/01yrx", "hound", "something else", "lorry", None)
    truths = map_truths(data, MAP)
    assert [truths.of(e) for e in data] == ["cat", "cat", "cat", "cat", "dog", "something else", None, None]
    assert truths.unmapped == {"lorry": 1}
    assert truths.told == (
        "labels are read as classes: '/m/01yrx' as 'cat' (1 image), 'CAT' as 'cat' (1 image), "
        "'Tabby_Cat' as 'cat' (1 image), 'hound' as 'dog' (1 image)",
        "labels that are none of the 3 classes: 'lorry' (1 image)",
    )


def test_what_fits_several_classes_is_none_and_told() -> None:
    """A word of two classes, and a spelling of two classes' names; the exact name still is its class."""
    truths = map_truths(labelled("wild animal", "wild animal"), MAP)
    assert truths.unmapped == {"wild animal": 2}
    assert truths.told == (
        "labels that fit several classes, and so none: 'wild animal' is cat or dog (2 images)",
    )
    known = ["sea lion", "sea_lion", "tiger"]
    data = labelled("Sea-Lion", "sea_lion")
    truths = map_truths(data, None, known)
    assert [truths.of(e) for e in data] == [None, "sea_lion"]


def test_what_the_map_ignores_is_no_class() -> None:
    """It is listed with the labels of no class."""
    assert map_truths(labelled("pet"), MAP).unmapped == {"pet": 1}


def test_numbers_are_the_models_own_classes_and_that_is_told() -> None:
    """Only where all labels are numbers that it has, and never by a label map, which has no numbers."""
    data = labelled("1", "0", "1")
    truths = map_truths(data, None, ["cat", "dog"])
    assert [truths.of(e) for e in data] == ["dog", "cat", "dog"]
    assert truths.told[0] == "labels are numbers, taken as the model's own, counted from 0"
    assert "'1' as 'dog' (2 images)" in truths.told[1]
    assert map_truths(data, MAP).unmapped == {"1": 2, "0": 1}
    assert map_truths(labelled("2", "0"), None, ["cat", "dog"]).unmapped == {"2": 1, "0": 1}
    assert map_truths(labelled("0", "cat"), None, ["cat", "dog"]).unmapped == {"0": 1}


def test_classes_called_as_numbers_are_matched_by_name() -> None:
    """A model whose classes are "1" and "0" is not indexed."""
    data = labelled("1", "0")
    assert [map_truths(data, None, ["1", "0"]).of(e) for e in data] == ["1", "0"]


def test_without_classes_labels_stay_and_that_is_told() -> None:
    """Nobody knows the provider's words beforehand."""
    data = labelled("cat", None)
    truths = map_truths(data)
    assert [truths.of(e) for e in data] == ["cat", None]
    assert truths.told == ("labels are compared with the provider's words as they are spelled",)
    assert map_truths(labelled(None)).told == ()


def test_a_long_list_is_cut() -> None:
    """Eight labels are named, the commonest first, and the rest is counted."""
    (line,) = map_truths(labelled(*(f"x{k}" for k in range(12)), "x11"), None, ["cat"]).told
    assert line.startswith("labels that are none of the 1 classes: 'x11' (2 images), 'x0' (1 image)")
    assert line.endswith("and 4 more")


def test_the_built_in_map_knows_cifars_classes(cifar_file: object) -> None:
    """CIFAR-10's own names need no telling, whichever provider is asked."""
    data = open_dataset(cifar_file())  # type: ignore[operator]
    for provider in ("aws", "google", "torchvision"):
        truths = map_truths(data, LabelMap.load("cifar10").for_provider(provider))
        assert [truths.of(e) for e in data] == [e.truth for e in data]
        assert not truths.told


@pytest.mark.parametrize("labels", [None, MAP])
def test_a_set_without_labels_maps_nothing(labels: LabelMap | None) -> None:
    """There is nothing to tell."""
    truths = map_truths(labelled(None, None), labels)
    assert (dict(truths.classes), dict(truths.unmapped), truths.told) == ({}, {}, ())


@pytest.mark.parametrize(
    "names",
    [
        ("n01440764", "n02102040", "n02979186", "n03028079"),
        ("tench", "English springer", "cassette player", "church"),
        ("Tench", "english_springer", "cassette-player", "CHURCH"),
        ("tench", "springer", "cassette_player", "church"),
    ],
)
def test_imagenettes_folders_may_have_any_of_their_names(names: tuple[str, ...]) -> None:
    """By WordNet id, as the data set comes, or in English, however spelled: the map's classes."""
    data, labels = labelled(*names), LabelMap.load("imagenette")
    truths = map_truths(data, labels.for_provider("google"))
    assert [truths.of(e) for e in data] == ["tench", "English springer", "cassette player", "church"]
    assert not truths.unmapped
