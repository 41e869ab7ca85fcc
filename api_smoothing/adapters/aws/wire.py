"""Rekognition's wire format, AWS JSON 1.1, from the server's side: requests read, answers and errors written.

The client's side of it is boto3. Confidences are from 0 to 100, scores from 0 to 1.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from api_smoothing.adapters import BadRequest, Label

#: The header that names the operation has this before the name.
TARGET: Final = "RekognitionService."
#: The field of each operation's answer that holds the labels.
LABELS: Final = {
    "DetectLabels": "Labels",
    "DetectCustomLabels": "CustomLabels",
    "DetectModerationLabels": "ModerationLabels",
}
#: What Rekognition says of parameters it does not take, and of many images it does not like: code and message.
INVALID: Final = ("InvalidParameterException", "Request has invalid parameters")

_ARN: Final = r"arn:[a-z\d-]+:rekognition:[a-z\d-]+:\d{12}:project/[\w.-]{1,255}/version/[\w.-]{1,255}/\d+"
_MAX_FILTERS: Final = 100
_DEFAULT_CONFIDENCE: Final = {
    "DetectLabels": 55.0,
    "DetectCustomLabels": 50.0,
    "DetectModerationLabels": 50.0,
}


def read_key(authorization: str | None) -> str:
    """The access key id in the SigV4 header; the signature is not looked at. Raises BadRequest without one."""
    if authorization is None:
        raise BadRequest("MissingAuthenticationTokenException", "Missing Authentication Token")
    given = re.match(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/", authorization)
    if given is None:
        raise BadRequest(
            "IncompleteSignatureException", "Authorization header requires 'Credential' parameter."
        )
    return given[1]


def read_request(operation: str, data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The image of a request, and its settings: `most` labels, the `least` confidence, and the filters by name.

    Raises BadRequest.
    """
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadRequest("SerializationException", "The request body is no JSON object")
    image = body.get("Image")
    if not isinstance(image, dict):
        _invalid("image", "Member must not be null")
    if "S3Object" in image:
        raise BadRequest(
            "InvalidS3ObjectException",
            "Unable to get object metadata from S3. Check object key, region and/or access permissions.",
        )
    try:
        pixels = base64.b64decode(image["Bytes"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise BadRequest(*INVALID) from None
    if operation == "DetectCustomLabels":
        arn = body.get("ProjectVersionArn")
        if not isinstance(arn, str) or not re.fullmatch(_ARN, arn):
            _invalid("projectVersionArn", "Member must satisfy regular expression pattern: (^arn:…$)")
    return pixels, read_settings(operation, body)


def read_settings(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a request; see `read_request`."""
    most = body.get("MaxResults" if operation == "DetectCustomLabels" else "MaxLabels", 1000)
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        _invalid("maxLabels", "Member must have value greater than or equal to 0")
    least = body.get("MinConfidence", _DEFAULT_CONFIDENCE[operation])
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 100:
        _invalid("minConfidence", "Member must have value between 0 and 100")
    filters: Any = body
    for member in ("Settings", "GeneralLabels"):
        filters = filters.get(member, {})
        if not isinstance(filters, dict):
            _invalid(member, "Member must be a structure")
    for names in filters.values():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            _invalid("settings.generalLabels", "Member must be a list of strings")
        if len(names) > _MAX_FILTERS:
            _invalid(
                "settings.generalLabels", f"Member must have length less than or equal to {_MAX_FILTERS}"
            )
    return {"most": most, "least": least, **filters}


def write_label(
    label: Label, *, category: str, aliases: Sequence[str] = (), box: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """A label of DetectLabels; `box` is where its one instance is, in shares of the sides."""
    confidence = 100 * (label.score or 0.0)
    return {
        "Name": label.name,
        "Confidence": confidence,
        "Instances": [{"BoundingBox": box, "Confidence": confidence}] if box else [],
        "Parents": [{"Name": parent} for parent in label.parents],
        "Aliases": [{"Name": alias} for alias in aliases],
        "Categories": [{"Name": category}],
    }


def write_custom_label(name: str, score: float) -> dict[str, Any]:
    """A label of DetectCustomLabels, of a model that classifies whole images."""
    return {"Name": name, "Confidence": 100 * score}


def write_moderation_label(name: str, score: float, *, parent: str, level: int) -> dict[str, Any]:
    """A label of DetectModerationLabels; `level` counts from 1, where `parent` is empty."""
    return {"Confidence": 100 * score, "Name": name, "ParentName": parent, "TaxonomyLevel": level}


def passes(label: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a label of DetectLabels passes the filters; an empty list of inclusions lets all pass."""
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


def write_answer(
    operation: str, labels: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The labels that reach the least confidence, best first, no more than were asked for, beside what is `about`."""
    best = sorted(labels, key=lambda label: -label["Confidence"])  # stable: ties stay in their order
    chosen = [label for label in best if label["Confidence"] >= settings["least"]][: settings["most"]]
    return {LABELS[operation]: chosen, **about}


def write_error(code: str, message: str, request_id: str) -> dict[str, Any]:
    """The body of an error."""
    return {"__type": code, "Code": code, "Logref": request_id, "Message": message}


def _invalid(member: str, constraint: str) -> NoReturn:
    message = f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
    raise BadRequest("ValidationException", message)
