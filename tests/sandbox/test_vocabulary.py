"""What the sandbox's providers say: their traits, and that a closed map undoes each vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import LabelMap, top_label
from api_smoothing.sandbox import providers
from api_smoothing.sandbox.photographs import read_card
from api_smoothing.sandbox.server import declaration_of
from api_smoothing.sandbox.vocabulary import labels_of

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ANIMALS = frozenset(["bird", "cat", "deer", "dog", "frog", "horse"])
PROVIDERS = list(providers())
CIFAR10, COARSE = LabelMap.load("cifar10"), LabelMap.load("imagenet-coarse")
IMAGENETTE = LabelMap.load("imagenette")
PHOTOGRAPHED = read_card()["classes"]


def answer(labels: list[Label]) -> Answer:
    return Answer(labels=tuple(labels))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", CLASSES)
def test_the_cifar10_map_undoes_every_vocabulary(provider: str, name: str) -> None:
    """An image that is certainly of one class is read as that class, whichever provider says so."""
    said = answer(labels_of(provider, {name: 1.0}))
    assert CIFAR10.for_provider(provider)(said) == name
    assert CIFAR10(said) == name


@pytest.mark.parametrize("provider", [p for p in PROVIDERS if p not in ("http", "openai")])
@pytest.mark.parametrize("name", CLASSES)
def test_the_coarse_map_reads_every_vocabulary(provider: str, name: str) -> None:
    """Each of the ten classes is an animal or a vehicle in every provider's words."""
    said = answer(labels_of(provider, {name: 1.0}))
    assert COARSE.for_provider(provider)(said) == ("animal" if name in ANIMALS else "vehicle")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("seen", "name"), list(zip(PHOTOGRAPHED, IMAGENETTE.classes, strict=True)))
def test_the_imagenette_map_undoes_every_vocabulary(provider: str, seen: str, name: str) -> None:
    """What the sandboxes' classifier of photographs sees is read as that class, also where it is not certain."""
    for others in (0.0, 0.05):
        said = answer(labels_of(provider, dict.fromkeys(PHOTOGRAPHED, others) | {seen: 1.0 - 9 * others}))
        assert IMAGENETTE.for_provider(provider)(said) == name
        assert IMAGENETTE(said) == name


@pytest.mark.parametrize("provider", ["aws", "clarifai"])
def test_filters_name_every_class_in_words_the_service_knows(provider: str) -> None:
    """The labels the cifar10 map would have a service look for hold each class's strongest one."""
    only = CIFAR10.names_for(provider)
    known = {label.name for label in labels_of(provider, dict.fromkeys(CLASSES, 1.0))}
    assert provider == "aws" or set(only) <= known, "Clarifai refuses names it does not know"
    for name in CLASSES:
        labels = [label for label in labels_of(provider, {name: 0.9}) if label.name in only]
        assert CIFAR10.for_provider(provider)(answer(labels)) == name


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.integers(0, 1000), min_size=10, max_size=10).filter(any))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_likeliest_class_stays_the_likeliest(provider: str, weights: list[int]) -> None:
    """Whatever the scores, the map finds a class of the highest score behind the provider's words."""
    scores = dict(zip(CLASSES, (weight / sum(weights) for weight in weights), strict=True))
    read = CIFAR10.for_provider(provider)(answer(labels_of(provider, scores)))
    assert read is not None
    assert scores[read] == max(scores.values())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answers_are_sorted_scores_and_repeat(provider: str) -> None:
    """Scores lie in [0, 1], best first; the same question has the same answer."""
    scores = {"truck": 0.5, "cat": 0.3, "ship": 0.2, "deer": 0.001}
    labels = labels_of(provider, scores)
    found = [label.score for label in labels]
    assert found == sorted(found, reverse=True)
    assert all(0.0 < score <= 1.0 for score in found)
    assert labels == labels_of(provider, dict(reversed(scores.items())))
    assert "deer" not in {label.name.lower() for label in labels}, "a thousandth is not mentioned"
    assert labels_of(provider, {}) == []


def test_rekognition_ties_a_label_with_its_ancestors() -> None:
    """Ancestors have exactly their descendant's score, and equal scores come in alphabetical order."""
    labels = labels_of("aws", {"automobile": 0.8, "cat": 0.2})
    top = [label.name for label in labels if label.score == labels[0].score]
    assert top == ["Car", "Sedan", "Transportation", "Vehicle"]
    assert top_label(answer(labels)) == "Car"
    mixed = {label.name: label.score for label in labels_of("aws", {"cat": 0.5, "horse": 0.4})}
    assert mixed["Animal"] == mixed["Cat"] == 0.5
    said = {label.name: label for label in labels_of("aws", dict.fromkeys(CLASSES, 0.1))}
    for label in said.values():
        assert label.name[0].isupper()
        for parent in label.parents:
            assert said[parent].score >= label.score, f"{parent} above {label.name}"


@pytest.mark.parametrize("name", CLASSES)
def test_cloud_vision_puts_the_generic_entity_first(name: str) -> None:
    """The top label is a generic entity with a machine id, and no closed class."""
    labels = labels_of("google", {name: 1.0})
    assert labels[0].name in ("Animal", "Vehicle", "Land vehicle")
    assert CIFAR10.for_provider("google")(answer(labels[:1])) is None
    assert all(label.id and label.id.startswith("/m/") and not label.parents for label in labels)


def test_azure_speaks_in_lower_case_and_of_surroundings() -> None:
    """Tags are flat and lower-case, and attributes stand among the objects."""
    labels = labels_of("azure", {"horse": 0.6, "dog": 0.4})
    names = [label.name for label in labels]
    assert all(name == name.lower() for name in names)
    assert {"outdoor", "indoor", "animal", "horse"} <= set(names)
    assert names.index("animal") < names.index("horse")
    assert all(label.id is None and not label.parents for label in labels)


def test_clarifai_has_ids_and_abstract_concepts() -> None:
    """Every concept has an id of its own, and some are no objects."""
    labels = labels_of("clarifai", dict.fromkeys(CLASSES, 0.1))
    ids = [label.id for label in labels]
    assert all(found and found.startswith("ai_") for found in ids)
    assert len(set(ids)) == len(ids)
    assert {"no person", "travel"} <= {label.name for label in labels}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_another_version_answers_differently(provider: str) -> None:
    """A new model's clear scores differ by more than repeated questions do; its ids and its class do not."""
    now = labels_of(provider, {"cat": 0.9, "dog": 0.1}, declaration_of(provider).version)
    then = labels_of(provider, {"cat": 0.9, "dog": 0.1}, "another")
    assert now == labels_of(provider, {"cat": 0.9, "dog": 0.1})
    assert now[0].score - then[0].score > 0.05
    assert [label.id for label in then] == [label.id for label in now]
    assert CIFAR10.for_provider(provider)(answer(then)) == "cat"
    if provider == "google":
        assert "cat" in {label.name for label in then}
        assert "Cat" in {label.name for label in now}


def test_an_unknown_provider_is_refused() -> None:
    """A misspelt provider is no empty answer."""
    with pytest.raises(ValueError, match="gogle"):
        labels_of("gogle", {"cat": 1.0})
