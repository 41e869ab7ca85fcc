"""Amazon Rekognition: DetectLabels, DetectCustomLabels and DetectModerationLabels in AWS JSON 1.1.

Credentials are checked by the access key id of the SigV4 header; the signature itself is not.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from api_smoothing.sandbox.aws_labels import custom, general, moderation, wanted
from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TARGET: Final = "RekognitionService."
_FORMATS: Final = ("PNG", "JPEG")
#: The field of the answer that holds the labels, the largest image in bytes, and the sides allowed in pixels.
_OPERATIONS: Final[Mapping[str, tuple[str, int, range]]] = {
    "DetectLabels": ("Labels", 5 * 2**20, range(80, 10_001)),
    "DetectCustomLabels": ("CustomLabels", 4 * 2**20, range(64, 4097)),
    "DetectModerationLabels": ("ModerationLabels", 5 * 2**20, range(80, 10_001)),
}
_ARN: Final = r"arn:[a-z\d-]+:rekognition:[a-z\d-]+:\d{12}:project/[\w.-]{1,255}/version/[\w.-]{1,255}/\d+"
_MAX_FILTERS: Final = 100
_DEFAULT_CONFIDENCE: Final = {
    "DetectLabels": 55.0,
    "DetectCustomLabels": 50.0,
    "DetectModerationLabels": 50.0,
}

#: What a fault says: HTTP status, code, message.
_ERRORS: Final = {
    "throttle-coded": (
        400,
        "ProvisionedThroughputExceededException",
        "Provisioned rate exceeded",
    ),
    "expired-key": (400, "ExpiredTokenException", "The security token included in the request is expired"),
    "quota": (400, "LimitExceededException", "An Amazon Rekognition service limit was exceeded."),
    "bad-image": (400, "InvalidImageFormatException", "Request has invalid image format"),
    "billed-400": (400, "InvalidParameterException", "Request has invalid parameters"),
    "500": (500, "InternalServerError", "Internal server error"),
    "503": (503, "ServiceUnavailableException", "Service Unavailable"),
}

_MODERATION_VERSION: Final = "7.0"


class Front(HttpFront):
    """The image operations of Rekognition that take bytes; objects in S3 are refused as not accessible."""

    def operation(self, call: Call) -> str:
        target = call.headers.get("X-Amz-Target", "")
        name = target.removeprefix(_TARGET)
        if (
            call.method != "POST"
            or call.path != "/"
            or not target.startswith(_TARGET)
            or name not in _OPERATIONS
        ):
            _refuse("UnknownOperationException", f"Unknown operation {target!r}")
        return name

    def authorise(self, call: Call) -> None:
        header = call.headers.get("Authorization")
        if header is None:
            _refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
        given = re.match(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/", header)
        if given is None:
            _refuse("IncompleteSignatureException", "Authorization header requires 'Credential' parameter.")
        if given[1] != self._sandbox.key:
            _refuse("UnrecognizedClientException", "The security token included in the request is invalid.")

    def read(self, call: Call, operation: str) -> Question:
        try:
            body = json.loads(call.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            _refuse("SerializationException", "The request body is no JSON object")
        image = body.get("Image")
        if not isinstance(image, dict):
            _invalid("image", "Member must not be null")
        if "S3Object" in image:
            _refuse(
                "InvalidS3ObjectException",
                "Unable to get object metadata from S3. Check object key, region and/or access permissions.",
            )
        try:
            data = base64.b64decode(image["Bytes"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            _refuse(*_ERRORS["billed-400"][1:])
        if operation == "DetectCustomLabels":
            arn = body.get("ProjectVersionArn")
            if not isinstance(arn, str) or not re.fullmatch(_ARN, arn):
                _invalid("projectVersionArn", "Member must satisfy regular expression pattern: (^arn:…$)")
        return Question(images=[data], settings=_settings(operation, body))

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        _, max_bytes, sides = _OPERATIONS[operation]
        if len(data) > max_bytes:
            _refuse("ImageTooLargeException", "Image size is too large.")
        picture = open_picture(data, _FORMATS)
        if picture.larger >= sides.stop:
            _refuse("ImageTooLargeException", "Image dimensions are too large.")
        if picture.smaller < sides.start:
            _refuse(*_ERRORS["billed-400"][1:])
        return picture.pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        score = scores[0] or {}
        if operation == "DetectCustomLabels":
            labels = [custom(name, value) for name, value in score.items()]
        elif operation == "DetectModerationLabels":
            labels = moderation(score)
        else:
            said = labels_of("aws", score, self._sandbox.version)
            labels = [label for label in map(general, said) if wanted(label, question.settings)]
        least, most = question.settings["least"], question.settings["most"]
        labels = sorted(labels, key=lambda label: -label["Confidence"])  # stable: ties stay in their order
        labels = [label for label in labels if label["Confidence"] >= least][:most]
        return _json({_OPERATIONS[operation][0]: labels, **self._about(operation)})

    def unlabelled(self, operation: str, question: Question) -> Reply:
        return _json(self._about(operation))

    def refused(self, call: Call, fault: str) -> Reply:
        if fault in (
            "throttle",
            "throttle-retry-after",
        ):  # not from the service, but from what stands before it
            return Reply(status=429, headers={"Retry-After": "1"} if fault == "throttle-retry-after" else {})
        status, code, message = _ERRORS[fault]
        return _error(code, message, status)

    def _about(self, operation: str) -> dict[str, Any]:
        """What an answer says besides its labels. A custom model's version is its ARN, which is not repeated."""
        version = self._sandbox.version
        if operation == "DetectLabels":
            return {"LabelModelVersion": version}
        if operation == "DetectModerationLabels":
            return {
                "ModerationModelVersion": version if self._sandbox.changed else _MODERATION_VERSION,
                "ContentTypes": [],
            }
        return {}


def _settings(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
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


def _invalid(member: str, constraint: str) -> NoReturn:
    message = f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
    _refuse("ValidationException", message)


def _refuse(code: str, message: str) -> NoReturn:
    raise Refused(_error(code, message, 400))


def _error(code: str, message: str, status: int) -> Reply:
    request_id = str(uuid.uuid4())
    body = {"__type": code, "Code": code, "Logref": request_id, "Message": message}
    return _json(body, status=status, headers={"x-amzn-ErrorType": code}, request_id=request_id)


def _json(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, request_id: str | None = None
) -> Reply:
    about = {
        "x-amzn-RequestId": request_id or str(uuid.uuid4()),
        "Content-Type": "application/x-amz-json-1.1",
    }
    return Reply(
        status=status,
        body=json.dumps(body, separators=(",", ":")).encode(),
        headers={**about, **(headers or {})},
    )
