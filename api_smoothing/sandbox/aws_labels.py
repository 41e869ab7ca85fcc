"""The labels of Rekognition's three operations, from class scores; confidences are from 0 to 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
    confidence = 100 * (said.score or 0.0)
    family = (said.name, *said.parents)
    category = next((name for name, top in _CATEGORIES.items() if top in family), "Everyday Objects")
    alias = _ALIASES.get(said.name)
    return {
        "Name": said.name,
        "Confidence": confidence,
        "Instances": [{"BoundingBox": _BOX, "Confidence": confidence}] if said.name in _BOXED else [],
        "Parents": [{"Name": parent} for parent in said.parents],
        "Aliases": [{"Name": alias}] if alias else [],
        "Categories": [{"Name": category}],
    }


def custom(name: str, score: float) -> dict[str, Any]:
    """A label of DetectCustomLabels, of a model that classifies whole images."""
    return {"Name": name, "Confidence": 100 * score}


def wanted(label: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a label passes the inclusion and exclusion filters; an empty list of inclusions lets all pass."""
    name, category = label["Name"], label["Categories"][0]["Name"]
    included = [
        *settings.get("LabelInclusionFilters", ()),
        *settings.get("LabelCategoryInclusionFilters", ()),
    ]
    excluded = [
        *settings.get("LabelExclusionFilters", ()),
        *settings.get("LabelCategoryExclusionFilters", ()),
    ]
    return (not included or name in included or category in included) and not {name, category} & {*excluded}


def moderation(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """The labels of DetectModerationLabels, each category after its parent, as sure as its child."""
    labels = []
    for about, names in _MODERATION.items():
        for level, name in enumerate(reversed(names), start=1):
            parent = "" if level == 1 else names[-level + 1]
            confidence = 100 * scores.get(about, 0.0)
            labels.append(
                {"Confidence": confidence, "Name": name, "ParentName": parent, "TaxonomyLevel": level}
            )
    return labels
