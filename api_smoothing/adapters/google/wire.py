"""Cloud Vision's wire format from the server's side: BatchAnnotateImages, its requests read, its answers written.

The messages are protobuf, plain ones: the SDK's own around them are slow to fill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api_smoothing.adapters import Label, sdk

LABEL_DETECTION: Final = 4
SAFE_SEARCH_DETECTION: Final = 6

_MAX_IMAGES: Final = 16
_DEFAULT_RESULTS: Final = 10


def messages() -> tuple[Any, Any]:
    """The classes of a request and of an answer. Raises MissingExtraError without the SDK."""
    types = sdk("google.cloud.vision_v1.types.image_annotator", extra="google")
    return types.BatchAnnotateImagesRequest.pb(), types.BatchAnnotateImagesResponse.pb()


def read_images(request: Any) -> list[bytes]:
    """The encoded images, in order."""
    return [one.image.content for one in request.requests]


def problem_of(request: Any) -> tuple[str, str] | None:
    """The gRPC status and message for a request outside the limits; None for a good one."""
    if len(request.requests) > _MAX_IMAGES:
        return "INVALID_ARGUMENT", "Too many images per request"
    features = {feature.type_ for one in request.requests for feature in one.features}
    if not request.requests or not all(one.features for one in request.requests):
        return "INVALID_ARGUMENT", "Request must specify image and features."
    if not features <= {LABEL_DETECTION, SAFE_SEARCH_DETECTION}:
        return "UNIMPLEMENTED", "Only LABEL_DETECTION and SAFE_SEARCH_DETECTION are served."
    return None


def write_labels(response: Any, labels: Sequence[Label], *, max_results: int) -> None:
    """Put the best labels into the answer about one image; 0 stands for the usual number of results."""
    for label in labels[: max_results or _DEFAULT_RESULTS]:
        response.label_annotations.add(
            mid=label.id or "", description=label.name, score=label.score, topicality=label.score
        )


def write_safe_search(response: Any, likelihoods: Mapping[str, int]) -> None:
    """Put the likelihoods, VERY_UNLIKELY (1) to VERY_LIKELY (5), into the answer about one image, by category."""
    for category, likelihood in likelihoods.items():
        setattr(response.safe_search_annotation, category, likelihood)


def write_bad_image(response: Any) -> None:
    """Say that one image cannot be read."""
    response.error.code, response.error.message = 3, "Bad image data."
