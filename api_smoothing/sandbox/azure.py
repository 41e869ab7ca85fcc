"""Azure AI Vision: Image Analysis 4.0 (`imageanalysis:analyze`) and 3.2 (`tag`, `analyze`), of both the tags."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters._transport import BadRequest
from api_smoothing.adapters.azure import wire
from api_smoothing.adapters.azure.wire import NEW, PATHS
from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores, json_reply
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OLD_MODEL: Final = "2021-05-01"

_OLD_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP")
_FORMATS: Final = (*_OLD_FORMATS, "WEBP", "ICO", "TIFF", "MPO")
_SIDES: Final = range(51, 16_000)  # "greater than 50 × 50 and less than 16,000 × 16,000"
_BILLED: Final = {"CSP-Billing-Usage": "CognitiveServices.ComputerVision.Transaction=1"}
_ABOUT: Final = {
    "Content-Type": "application/json; charset=utf-8",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "X-Content-Type-Options": "nosniff",
    "x-ms-region": "East US",
}

_NO_ENTRY: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for "
    "an active subscription and use a correct regional API endpoint for your resource."
)
_NO_QUOTA: Final = "Out of call volume quota. Quota will be replenished in 2.13:37:39."


class Front(HttpFront):
    """Both generations of Image Analysis. Only the tags are served, in English, of images sent as bytes."""

    over_rate = "throttle-retry-after"

    def operation(self, call: Call) -> str:
        if call.method != "POST" or call.path not in PATHS:
            raise Refused(_error(404, "404", "Resource not found"))
        return PATHS[call.path]

    def authorise(self, call: Call) -> None:
        if call.headers.get("Ocp-Apim-Subscription-Key") != self._sandbox.key:
            raise Refused(_error(401, "401", _NO_ENTRY))

    def read(self, call: Call, operation: str) -> Question:
        try:
            model = wire.read_request(operation, call.query, call.headers.get_content_type())
        except BadRequest as error:
            raise _refusal(error) from None
        return Question(images=[call.body], settings={"model": model})

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        new = operation == NEW
        if len(data) > (20 * 2**20 if new else 4 * 2**20):
            raise _refusal(wire.bad_request("InvalidImageSize", "Input image is too large."))
        picture = open_picture(data, _FORMATS if new else _OLD_FORMATS)
        if picture.smaller not in _SIDES or picture.larger not in _SIDES:
            raise _refusal(wire.bad_request("InvalidImageSize", "Image dimension is not allowed."))
        return picture.pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        picture = open_picture(question.images[0], _FORMATS)
        body = wire.write_answer(
            operation,
            labels_of("azure", scores[0] or {}, self._sandbox.version),
            version=self._version(operation, question.settings["model"]),
            width=picture.width,
            height=picture.height,
            format=picture.format.capitalize(),
        )
        return _success(operation, body)

    def unlabelled(self, operation: str, question: Question) -> Reply:
        version = self._version(operation, question.settings["model"])
        body = wire.write_answer(operation, [], version=version, width=0, height=0, format="Png")
        return _success(operation, {k: v for k, v in body.items() if k not in ("tags", "tagsResult")})

    def refused(self, call: Call, fault: str) -> Reply:
        if fault.startswith("throttle"):
            return self._throttled(PATHS[call.path], fault)
        if fault == "expired-key":
            return _error(401, "401", _NO_ENTRY)
        if fault == "quota":
            return _error(403, "403", _NO_QUOTA)
        if fault == "bad-image":
            return _error(
                400, "InvalidRequest", "Input data is not a valid image.", inner="InvalidImageFormat"
            )
        if fault == "billed-400":
            return _error(400, "InvalidRequest", "The provided image cannot be processed.", headers=_BILLED)
        if fault == "503":
            return _error(503, "ServiceUnavailable", "The service is temporarily unavailable.")
        return _error(500, "InternalServerError", "Internal server error.")

    def _version(self, operation: str, model: str) -> str:
        """The version an answer carries: the one asked for, unless the sandbox was given another."""
        if self._sandbox.changed:
            return self._sandbox.version
        if model != "latest":
            return model
        return self._sandbox.declared.version if operation == NEW else _OLD_MODEL

    def _throttled(self, operation: str, fault: str) -> Reply:
        when = "" if fault == "throttle" else "Please retry after 1 second. "
        message = (
            f"Requests to the {operation} Operation under Computer Vision API "
            f"({'2023-10-01' if operation == NEW else 'v3.2'}) have exceeded call rate limit of your current "
            f"ComputerVision S1 pricing tier. {when}To increase your rate limit switch to a paid tier."
        )
        headers = {"Retry-After": "1"} if fault == "throttle-retry-after" else {}
        return _error(429, "429", message, headers=headers)


def _success(operation: str, body: Mapping[str, Any]) -> Reply:
    request = {} if operation == NEW else {"requestId": str(uuid.uuid4())}
    return json_reply({**body, **request}, headers=_headers() | _BILLED)


def _refusal(error: BadRequest) -> Refused:
    return Refused(_error(error.status, error.code, error.message, inner=error.inner))


def _error(
    status: int,
    code: str,
    message: str,
    *,
    inner: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    body = wire.write_error(code, message, inner)
    return json_reply(body, status=status, headers=_headers() | dict(headers or {}))


def _headers() -> dict[str, str]:
    request_id = str(uuid.uuid4())
    return {"apim-request-id": request_id, "request-id": request_id, **_ABOUT}
