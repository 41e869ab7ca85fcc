"""The operations of Rekognition: how each is called, what it takes, and where its answer has what we read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from api_smoothing.errors import ConfigurationError

Operation = Literal["detect-labels", "detect-custom-labels", "detect-moderation-labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How an operation is called in boto3, and where its answer has what we read. Bytes as sent, not base64."""

    method: str
    labels: str
    version: str | None  # None: the ARN of the model is its version
    max_image_bytes: int


SHAPES: Final[Mapping[str, Shape]] = {
    "detect-labels": Shape(
        method="detect_labels",
        labels="Labels",
        version="LabelModelVersion",
        max_image_bytes=5 * 2**20,
    ),
    "detect-custom-labels": Shape(
        method="detect_custom_labels",
        labels="CustomLabels",
        version=None,
        max_image_bytes=4_000_000,
    ),
    "detect-moderation-labels": Shape(
        method="detect_moderation_labels",
        labels="ModerationLabels",
        version="ModerationModelVersion",
        max_image_bytes=5 * 2**20,
    ),
}

_MOST_FILTERS: Final = 100


def fixed_part(
    operation: str, model: str | None, max_labels: int, min_confidence: float, only: tuple[str, ...]
) -> dict[str, Any]:
    """Everything of a request but the image. Raises ConfigurationError for what the operation does not take."""
    if operation not in SHAPES:
        raise ConfigurationError(f"unknown operation {operation!r}; use {', '.join(SHAPES)}")
    if not 0.0 <= min_confidence <= 1.0:
        raise ConfigurationError(
            f"min_confidence is a score in [0, 1] (AWS's 55 is 0.55), not {min_confidence}"
        )
    if max_labels < 1:
        raise ConfigurationError(f"max_labels is at least 1, not {max_labels}")
    if only and operation != "detect-labels":
        raise ConfigurationError(f"only= is for detect-labels; {operation} has a fixed set of labels")
    if len(only) > _MOST_FILTERS:
        raise ConfigurationError(f"only= takes at most {_MOST_FILTERS} labels, not {len(only)}")
    if (model is None) == (operation == "detect-custom-labels"):
        raise ConfigurationError(
            "model= is the ARN of a custom model, for detect-custom-labels and nothing else"
        )
    if model is not None and not model.startswith("arn:"):
        raise ConfigurationError(
            f"model= is the ARN of a custom model (arn:aws:rekognition:…), not {model!r}"
        )
    confidence = {"MinConfidence": round(100.0 * min_confidence, 6)}
    if operation == "detect-moderation-labels":
        return confidence
    if operation == "detect-custom-labels":
        return {"ProjectVersionArn": model, "MaxResults": max_labels, **confidence}
    filters = {"Settings": {"GeneralLabels": {"LabelInclusionFilters": list(only)}}} if only else {}
    return {"MaxLabels": max_labels, **confidence, **filters}
