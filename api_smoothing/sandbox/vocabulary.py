"""What each provider would say about an image, given class scores over the ten CIFAR-10 classes.

The vocabularies have the traits that make real answers hard to read. Rekognition reports a label and all its
ancestors with exactly the same confidence, in alphabetical order. Cloud Vision puts generic entities above the
specific one and names them by stable ids. Azure mixes lower-case objects with attributes such as "outdoor".
Clarifai has ids of its own and abstract concepts. The `http` provider says the ten class names plainly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Final, NamedTuple

#: The model version whose words these are; under any other one `labels_of` answers a little differently.
CURRENT: Final[Mapping[str, str]] = {
    "aws": "3.0",
    "azure": "2023-10-01",
    "google": "builtin/stable",
    "clarifai": "aa7f35c01e0642fda5cf400f543e7c40",
    "http": "1",
}

_LEAST = 0.01  # what is less likely than this is not mentioned


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyLabel:
    """One label in a provider's own words. `score` is in [0, 1]; `id` is None where the provider has none."""

    name: str
    id: str | None
    parents: tuple[str, ...]
    score: float


def labels_of(
    provider: str, scores: Mapping[str, float], version: str | None = None
) -> list[VocabularyLabel]:
    """All labels of one answer, best first; the same for the same arguments, always.

    `provider` is one of "aws", "azure", "google", "clarifai" and "http". `scores` maps the CIFAR-10 class names to
    [0, 1], missing ones being 0. The strongest label that names a class is that class's score times a constant of
    the provider, so the classes keep their order. Any `version` other than None and `CURRENT` lowers all scores
    by 10 to 20 %, and makes Cloud Vision speak in lower case, as it once did: ids stay. Raises ValueError for an
    unknown provider.
    """
    if provider not in CURRENT:
        raise ValueError(f"unknown provider {provider!r}; use {', '.join(CURRENT)}")
    shift = 1.0 if version in (None, CURRENT[provider]) else _shift(str(version))
    old_words = provider == "google" and shift != 1.0
    labels = []
    for word in _WORDS[provider]:
        about = [scores.get(name, 0.0) for name in word.about.split()]
        # Rekognition gives an ancestor its likeliest descendant's confidence; the others add descendants up.
        likely = max(about) if provider == "aws" else min(1.0, fsum(about))
        if likely >= _LEAST:
            labels.append(
                VocabularyLabel(
                    name=word.name.lower() if old_words else word.name,
                    id=word.id or (_made_up_id(word.name) if provider == "clarifai" else None),
                    parents=tuple(word.parents.split(", ")) if word.parents else (),
                    score=likely * word.weight * shift,
                )
            )
    return sorted(labels, key=lambda label: (-label.score, label.name))


class _Word(NamedTuple):
    """A label: the classes it is `about` and its score relative to theirs."""

    name: str
    about: str
    weight: float = 1.0
    parents: str = ""
    id: str | None = None


def _shift(version: str) -> float:
    return 0.9 - 0.1 * hashlib.sha256(version.encode()).digest()[0] / 256


def _made_up_id(name: str) -> str:
    """An id of Clarifai's form for a concept whose real one no public source gives."""
    return f"ai_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


_ANIMALS = "bird cat deer dog frog horse"
_MAMMALS = "cat deer dog horse"
_ROAD = "automobile truck"
_VEHICLES = "airplane automobile ship truck"
_OUTSIDE = "airplane automobile bird deer frog horse ship truck"
_INSIDE = "cat dog"

_AWS: Final = (
    _Word("Animal", _ANIMALS),
    _Word("Mammal", _MAMMALS, parents="Animal"),
    _Word("Pet", "cat dog", parents="Animal"),
    _Word("Wildlife", "deer frog", parents="Animal"),
    _Word("Transportation", _VEHICLES),
    _Word("Vehicle", _VEHICLES, parents="Transportation"),
    _Word("Machine", _ROAD, 0.99),
    _Word("Wheel", _ROAD, 0.99, "Machine"),
    _Word("Aircraft", "airplane", parents="Transportation, Vehicle"),
    _Word("Airplane", "airplane", parents="Aircraft, Transportation, Vehicle"),
    _Word("Airliner", "airplane", 0.86, "Aircraft, Airplane, Transportation, Vehicle"),
    _Word("Car", "automobile", parents="Transportation, Vehicle"),
    _Word("Sedan", "automobile", parents="Car, Transportation, Vehicle"),
    _Word("Car Wheel", "automobile", 0.86, "Car, Machine, Tire, Transportation, Vehicle, Wheel"),
    _Word("Tire", "automobile", 0.86),
    _Word("Bird", "bird", parents="Animal"),
    _Word("Finch", "bird", 0.6, "Animal, Bird"),
    _Word("Cat", "cat", parents="Animal, Mammal, Pet"),
    _Word("Kitten", "cat", 0.7, "Animal, Cat, Mammal, Pet"),
    _Word("Deer", "deer", parents="Animal, Mammal, Wildlife"),
    _Word("Grass", "deer horse", 0.8, "Plant"),
    _Word("Plant", "deer horse", 0.8),
    _Word("Canine", "dog", parents="Animal, Mammal"),
    _Word("Dog", "dog", parents="Animal, Canine, Mammal, Pet"),
    _Word("Puppy", "dog", parents="Animal, Canine, Dog, Mammal, Pet"),
    _Word("Terrier", "dog", 0.84, "Animal, Canine, Dog, Mammal, Pet"),
    _Word("Amphibian", "frog", parents="Animal, Wildlife"),
    _Word("Frog", "frog", parents="Amphibian, Animal, Wildlife"),
    _Word("Horse", "horse", parents="Animal, Mammal"),
    _Word("Colt Horse", "horse", 0.77, "Animal, Horse, Mammal"),
    _Word("Boat", "ship", parents="Transportation, Vehicle"),
    _Word("Ship", "ship", parents="Transportation, Vehicle"),
    _Word("Watercraft", "ship", 0.98, "Transportation, Vehicle"),
    _Word("Water", "ship", 0.97),
    _Word("Truck", "truck", parents="Transportation, Vehicle"),
    _Word("Trailer Truck", "truck", 0.87, "Transportation, Truck, Vehicle"),
)

_GOOGLE: Final = (
    _Word("Animal", _ANIMALS, 0.996, id="/m/0jbk"),
    _Word("Vertebrate", _ANIMALS, 0.992, id="/m/09686"),
    _Word("Mammal", _MAMMALS, 0.99, id="/m/04rky"),
    _Word("Vehicle", _VEHICLES, 0.993, id="/m/07yv9"),
    _Word("Land vehicle", _ROAD, 0.996, id="/m/01prls"),
    _Word("Motor vehicle", _ROAD, 0.92, id="/m/012f08"),
    _Word("Tire", _ROAD, 0.82, id="/m/0h9mv"),
    _Word("Airplane", "airplane", 0.985, id="/m/0cmf2"),
    _Word("Aircraft", "airplane", 0.96, id="/m/0k5j"),
    _Word("Jet aircraft", "airplane", 0.79, id="/m/015y8h"),
    _Word("Flight", "airplane", 0.71, id="/m/01515d"),
    _Word("Car", "automobile", 0.985, id="/m/0k4j"),
    _Word("Hatchback", "automobile", 0.79, id="/m/01cmcs"),
    _Word("Automotive design", "automobile", 0.72, id="/m/068mqj"),
    _Word("Compact car", "automobile", 0.72, id="/m/02swz_"),
    _Word("Bird", "bird", 0.985, id="/m/015p6"),
    _Word("Beak", "bird", 0.9, id="/m/01c4rd"),
    _Word("Cat", "cat", 0.985, id="/m/01yrx"),
    _Word("Small to medium-sized cats", "cat", 0.97, id="/m/07k6w8"),
    _Word("Felidae", "cat", 0.96, id="/m/0307l"),
    _Word("Whiskers", "cat", 0.95, id="/m/01l7qd"),
    _Word("Deer", "deer", 0.985, id="/m/09kx5"),
    _Word("Wildlife", "deer bird frog", 0.89, id="/m/01280g"),
    _Word("Grassland", "deer horse", 0.64, id="/m/01c7cq"),
    _Word("Dog", "dog", 0.985, id="/m/0bt9lr"),
    _Word("Carnivore", "cat dog", 0.94, id="/m/01lrl"),
    _Word("Frog", "frog", 0.985, id="/m/09ld4"),
    _Word("Horse", "horse", 0.985, id="/m/03k3r"),
    _Word("Ship", "ship", 0.985, id="/m/06q74"),
    _Word("Boat", "ship", 0.97, id="/m/019jd"),
    _Word("Watercraft", "ship", 0.95, id="/m/01rzcn"),
    _Word("Waterway", "ship", 0.66, id="/m/017m8l"),
    _Word("Truck", "truck", 0.985, id="/m/07r04"),
)

_AZURE: Final = (
    _Word("outdoor", _OUTSIDE, 0.994),
    _Word("indoor", _INSIDE, 0.9),
    _Word("animal", _ANIMALS, 0.998),
    _Word("mammal", _MAMMALS, 0.993),
    _Word("vehicle", _VEHICLES, 0.993),
    _Word("land vehicle", _ROAD, 0.991),
    _Word("wheel", _ROAD, 0.996),
    _Word("grass", "deer horse frog", 0.95),
    _Word("sky", "airplane bird ship", 0.96),
    _Word("airplane", "airplane", 0.98),
    _Word("aircraft", "airplane", 0.97),
    _Word("plane", "airplane", 0.96),
    _Word("air travel", "airplane", 0.9),
    _Word("car", "automobile", 0.98),
    _Word("auto part", "automobile", 0.94),
    _Word("bird", "bird", 0.98),
    _Word("cat", "cat", 0.98),
    _Word("whiskers", "cat", 0.91),
    _Word("deer", "deer", 0.98),
    _Word("wildlife", "deer frog", 0.92),
    _Word("dog", "dog", 0.98),
    _Word("dog breed", "dog", 0.93),
    _Word("pet", "cat dog", 0.86),
    _Word("frog", "frog", 0.98),
    _Word("amphibian", "frog", 0.95),
    _Word("horse", "horse", 0.98),
    _Word("ship", "ship", 0.98),
    _Word("boat", "ship", 0.97),
    _Word("watercraft", "ship", 0.96),
    _Word("water", "ship", 0.985),
    _Word("truck", "truck", 0.98),
)

_CLARIFAI: Final = (
    _Word("no person", f"{_ANIMALS} {_VEHICLES}", 0.97, id="ai_786Zr311"),
    _Word("animal", _ANIMALS, 0.996, id="ai_SzsXMB1w"),
    _Word("mammal", _MAMMALS, 0.994, id="ai_N6BnC4br"),
    _Word("wildlife", "bird deer frog", 0.96, id="ai_fbqvMwRm"),
    _Word("nature", "bird deer frog horse", 0.95, id="ai_tBcWlsCp"),
    _Word("outdoors", "deer horse", 0.93, id="ai_Zmhsv0Ch"),
    _Word("portrait", "cat dog", 0.92, id="ai_TJ9wFfK5"),
    _Word("cute", "cat dog", 0.95, id="ai_4CRlSvbV"),
    _Word("pet", "cat dog", 0.993, id="ai_gPNNX7LT"),
    _Word("transportation system", _VEHICLES, 0.996, id="ai_Xxjc3MhT"),
    _Word("vehicle", _VEHICLES, 0.994),
    _Word("travel", "airplane ship", 0.97, id="ai_VRmbGVWh"),
    _Word("road", _ROAD, 0.93, id="ai_TZ3C79C6"),
    _Word("fast", _ROAD, 0.9, id="ai_dSCKh8xv"),
    _Word("airplane", "airplane", 0.99),
    _Word("aircraft", "airplane", 0.985),
    _Word("flight", "airplane", 0.95),
    _Word("car", "automobile", 0.99),
    _Word("bird", "bird", 0.99),
    _Word("avian", "bird", 0.97),
    _Word("cat", "cat", 0.99, id="ai_mFqxrph2"),
    _Word("deer", "deer", 0.99),
    _Word("dog", "dog", 0.99, id="ai_8S2Vq3cR"),
    _Word("canine", "dog", 0.98, id="ai_M6pVRDsX"),
    _Word("frog", "frog", 0.99),
    _Word("amphibian", "frog", 0.98),
    _Word("horse", "horse", 0.99),
    _Word("equestrian", "horse", 0.94),
    _Word("ship", "ship", 0.99),
    _Word("watercraft", "ship", 0.985),
    _Word("sea", "ship", 0.95),
    _Word("truck", "truck", 0.99),
)

_HTTP: Final = tuple(_Word(name, name) for name in sorted(f"{_ANIMALS} {_VEHICLES}".split()))

_WORDS: Final[Mapping[str, tuple[_Word, ...]]] = {
    "aws": _AWS,
    "azure": _AZURE,
    "google": _GOOGLE,
    "clarifai": _CLARIFAI,
    "http": _HTTP,
}
