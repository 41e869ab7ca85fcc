"""Azure's wire format from the server's side, for tags: Image Analysis 4.0 (`imageanalysis:analyze`) and 3.2.

The client's side of it is Microsoft's clients, on the HTTP session of `session`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api_smoothing.adapters import BadRequest, Label

#: The operation behind each path.
PATHS: Final = {
    "/computervision/imageanalysis:analyze": "ImageAnalysis_Analyze",
    "/vision/v3.2/tag": "TagImage",
    "/vision/v3.2/analyze": "AnalyzeImage",
}
NEW: Final = "ImageAnalysis_Analyze"  # the operation of 4.0; the others are of 3.2

_API_VERSIONS: Final = ("2023-02-01-preview", "2023-04-01-preview", "2023-10-01", "2024-02-01")
_MODEL: Final = re.compile(r"latest|\d{4}-\d{2}-\d{2}(-preview)?")
_ANIMALS: Final = ("bird", "cat", "deer", "dog", "frog", "horse")


def read_request(operation: str, query: Mapping[str, str], media_type: str) -> str:
    """The model version asked for; the body of the request is the image. Raises BadRequest.

    Served are tags alone, in English, of images sent as bytes.
    """
    version = query.get("api-version")
    if operation == NEW and version not in _API_VERSIONS:
        raise bad_request("UnsupportedApiVersion", f"The API version {version!r} is not supported.")
    asked = query.get("features" if operation == NEW else "visualFeatures", "")
    features = {name.strip().lower() for name in asked.split(",")} - {""}
    if features != {"tags"} and operation != "TagImage":
        raise bad_request(
            "NotSupportedVisualFeature", f"Only tags are served here, not {asked or 'nothing'!r}."
        )
    language = query.get("language", "en")
    if language != "en":
        raise bad_request("NotSupportedLanguage", f"Only English is spoken here, not {language!r}.")
    model = query.get("model-version", "latest")
    if not _MODEL.fullmatch(model):
        raise bad_request("InvalidModelVersion", f"The model version {model!r} is not valid.")
    if media_type == "application/json":
        raise BadRequest("InvalidRequest", "The provided image url is not accessible.")
    if media_type != "application/octet-stream" and not media_type.startswith("image/"):
        message = f"The media type {media_type!r} is not supported."
        raise BadRequest("UnsupportedMediaType", message, status=415)
    return model


def bad_request(inner: str, message: str) -> BadRequest:
    """What Azure says of a request outside its limits: always the same code, and a finer one inside."""
    return BadRequest("InvalidRequest", message, inner=inner)


def write_answer(
    operation: str, labels: Sequence[Label], *, version: str, width: int, height: int, format: str
) -> dict[str, Any]:
    """The labels as tags, of an image of these sides in pixels."""
    tags: list[dict[str, Any]] = [{"name": label.name, "confidence": label.score} for label in labels]
    sides = {"width": width, "height": height}
    if operation == NEW:
        return {"modelVersion": version, "metadata": sides, "tagsResult": {"values": tags}}
    for tag in tags:
        if tag["name"] in _ANIMALS:
            tag["hint"] = "animal"
    return {"tags": tags, "metadata": {**sides, "format": format}, "modelVersion": version}


def write_error(code: str, message: str, inner: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    error: dict[str, Any] = {"code": code, "message": message}
    if inner is not None:
        error["innererror"] = {"code": inner, "message": message}
    return {"error": error}
