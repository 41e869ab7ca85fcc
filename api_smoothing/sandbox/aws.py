"""Amazon Rekognition: DetectLabels, DetectCustomLabels and DetectModerationLabels in AWS JSON 1.1.

Credentials are checked by the access key id of the SigV4 header; the signature itself is not.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from api_smoothing.adapters._transport import BadRequest
from api_smoothing.adapters.aws import wire
from api_smoothing.sandbox.aws_labels import general, moderation
from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMATS: Final = ("PNG", "JPEG")
#: The largest image in bytes, and the sides allowed in pixels.
_LIMITS: Final[Mapping[str, tuple[int, range]]] = {
    "DetectLabels": (5 * 2**20, range(80, 10_001)),
    "DetectCustomLabels": (4 * 2**20, range(64, 4097)),
    "DetectModerationLabels": (5 * 2**20, range(80, 10_001)),
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
    "billed-400": (400, *wire.INVALID),
    "500": (500, "InternalServerError", "Internal server error"),
    "503": (503, "ServiceUnavailableException", "Service Unavailable"),
}

_MODERATION_VERSION: Final = "7.0"


class Front(HttpFront):
    """The image operations of Rekognition that take bytes; objects in S3 are refused as not accessible."""

    def operation(self, call: Call) -> str:
        target = call.headers.get("X-Amz-Target", "")
        name = target.removeprefix(wire.TARGET)
        known = target.startswith(wire.TARGET) and name in wire.LABELS
        if call.method != "POST" or call.path != "/" or not known:
            _refuse("UnknownOperationException", f"Unknown operation {target!r}")
        return name

    def authorise(self, call: Call) -> None:
        try:
            key = wire.read_key(call.headers.get("Authorization"))
        except BadRequest as error:
            _refuse(error.code, error.message)
        if key != self._sandbox.key:
            _refuse("UnrecognizedClientException", "The security token included in the request is invalid.")

    def read(self, call: Call, operation: str) -> Question:
        try:
            image, settings = wire.read_request(operation, call.body)
        except BadRequest as error:
            _refuse(error.code, error.message)
        return Question(images=[image], settings=settings)

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        max_bytes, sides = _LIMITS[operation]
        if len(data) > max_bytes:
            _refuse("ImageTooLargeException", "Image size is too large.")
        picture = open_picture(data, _FORMATS)
        if picture.larger >= sides.stop:
            _refuse("ImageTooLargeException", "Image dimensions are too large.")
        if picture.smaller < sides.start:
            _refuse(*wire.INVALID)
        return picture.pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        score = scores[0] or {}
        if operation == "DetectCustomLabels":
            labels = [wire.write_custom_label(name, value) for name, value in score.items()]
        elif operation == "DetectModerationLabels":
            labels = moderation(score)
        else:
            said = labels_of("aws", score, self._sandbox.version)
            labels = [label for label in map(general, said) if wire.passes(label, question.settings)]
        return _json(wire.write_answer(operation, labels, question.settings, self._about(operation)))

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


def _refuse(code: str, message: str) -> NoReturn:
    raise Refused(_error(code, message, 400))


def _error(code: str, message: str, status: int) -> Reply:
    request_id = str(uuid.uuid4())
    body = wire.write_error(code, message, request_id)
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
