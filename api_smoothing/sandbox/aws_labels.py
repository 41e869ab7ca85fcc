"""What surrounds the labels of Rekognition's operations: categories, aliases, boxes, and what is moderated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api_smoothing.adapters.aws.wire import write_label, write_moderation_label
from api_smoothing.adapters.base import Label

_CATEGORIES: Final = {
    "Animals and Pets": "Animal",
    "Vehicles and Automotive": "Vehicle",
    "Transport and Logistics": "Transportation",
}
_ALIASES: Final = {"Car": "Automobile", "Cat": "Feline", "Airplane": "Plane", "Boat": "Vessel"}
#: Labels that come with a box around the object; the classifier locates nothing, so that it is the same for all.
_BOXED: Final = ("Airplane", "Bird", "Boat", "Car", "Cat", "Dog", "Horse", "Truck")
_BOX: Final = {"Width": 0.75, "Height": 0.75, "Left": 0.125, "Top": 0.125}

#: The classifier knows nothing that would need moderation, so that some of its classes stand for categories, given
#: from the lowest level up: the confidences vary with the image as the service's do.
_MODERATION: Final = {
    "frog": ("Visually Disturbing",),
    "dog": ("Weapons", "Violence"),
    "cat": ("Alcoholic Beverages", "Alcohol"),
    "ship": ("Gambling",),
}


def general(said: Label) -> dict[str, Any]:
    """A label of DetectLabels, with its ancestors, aliases and one category."""
    family = (said.name, *said.parents)
    category = next((name for name, top in _CATEGORIES.items() if top in family), "Everyday Objects")
    aliases = [_ALIASES[said.name]] if said.name in _ALIASES else []
    return write_label(said, category=category, aliases=aliases, box=_BOX if said.name in _BOXED else None)


def moderation(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """The labels of DetectModerationLabels, each category after its parent, as sure as its child."""
    labels = []
    for about, names in _MODERATION.items():
        for level, name in enumerate(reversed(names), start=1):
            parent = "" if level == 1 else names[-level + 1]
            labels.append(write_moderation_label(name, scores.get(about, 0.0), parent=parent, level=level))
    return labels
