"""Azure AI Vision: Image Analysis 4.0 (`imageanalysis:analyze`) and 3.2 (`tag`, `analyze`), of both the tags."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores, json_reply
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PATHS: Final = {
    "/computervision/imageanalysis:analyze": "ImageAnalysis_Analyze",
    "/vision/v3.2/tag": "TagImage",
    "/vision/v3.2/analyze": "AnalyzeImage",
}
_NEW: Final = "ImageAnalysis_Analyze"
_API_VERSIONS: Final = ("2023-02-01-preview", "2023-04-01-preview", "2023-10-01", "2024-02-01")
_OLD_MODEL: Final = "2021-05-01"
_MODEL: Final = re.compile(r"latest|\d{4}-\d{2}-\d{2}(-preview)?")

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
_ANIMALS: Final = ("bird", "cat", "deer", "dog", "frog", "horse")


class Front(HttpFront):
    """Both generations of Image Analysis. Only the tags are served, in English, of images sent as bytes."""

    over_rate = "throttle-retry-after"

    def operation(self, call: Call) -> str:
        if call.method != "POST" or call.path not in _PATHS:
            raise Refused(_error(404, "404", "Resource not found"))
        return _PATHS[call.path]

    def authorise(self, call: Call) -> None:
        if call.headers.get("Ocp-Apim-Subscription-Key") != self._sandbox.key:
            raise Refused(_error(401, "401", _NO_ENTRY))

    def read(self, call: Call, operation: str) -> Question:
        version = call.query.get("api-version")
        if operation == _NEW and version not in _API_VERSIONS:
            _bad_request("UnsupportedApiVersion", f"The API version {version!r} is not supported.")
        asked = call.query.get("features" if operation == _NEW else "visualFeatures", "")
        features = {name.strip().lower() for name in asked.split(",")} - {""}
        if features != {"tags"} and operation != "TagImage":
            _bad_request(
                "NotSupportedVisualFeature", f"The sandbox serves tags only, not {asked or 'nothing'!r}."
            )
        language = call.query.get("language", "en")
        if language != "en":
            _bad_request("NotSupportedLanguage", f"The sandbox speaks English only, not {language!r}.")
        model = call.query.get("model-version", "latest")
        if not _MODEL.fullmatch(model):
            _bad_request("InvalidModelVersion", f"The model version {model!r} is not valid.")
        kind = call.headers.get_content_type()
        if kind == "application/json":
            raise Refused(_error(400, "InvalidRequest", "The provided image url is not accessible."))
        if kind != "application/octet-stream" and not kind.startswith("image/"):
            raise Refused(_error(415, "UnsupportedMediaType", f"The media type {kind!r} is not supported."))
        return Question(images=[call.body], settings={"model": model})

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        new = operation == _NEW
        if len(data) > (20 * 2**20 if new else 4 * 2**20):
            _bad_request("InvalidImageSize", "Input image is too large.")
        picture = open_picture(data, _FORMATS if new else _OLD_FORMATS)
        if picture.smaller not in _SIDES or picture.larger not in _SIDES:
            _bad_request("InvalidImageSize", "Image dimension is not allowed.")
        return picture.pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        said = labels_of("azure", scores[0] or {}, self._sandbox.version)
        tags: list[dict[str, Any]] = [{"name": label.name, "confidence": label.score} for label in said]
        picture = open_picture(question.images[0], _FORMATS)
        sides: dict[str, Any] = {"width": picture.width, "height": picture.height}
        version = self._version(operation, question.settings["model"])
        if operation == _NEW:
            return _success({"modelVersion": version, "metadata": sides, "tagsResult": {"values": tags}})
        for tag in tags:
            if tag["name"] in _ANIMALS:
                tag["hint"] = "animal"
        return _success({"tags": tags, **_old(version, {**sides, "format": picture.format.capitalize()})})

    def unlabelled(self, operation: str, question: Question) -> Reply:
        version = self._version(operation, question.settings["model"])
        if operation == _NEW:
            return _success({"modelVersion": version, "metadata": {"width": 0, "height": 0}})
        return _success(_old(version, {"width": 0, "height": 0, "format": "Png"}))

    def refused(self, call: Call, fault: str) -> Reply:
        if fault.startswith("throttle"):
            return self._throttled(_PATHS[call.path], fault)
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
        return self._sandbox.declared.version if operation == _NEW else _OLD_MODEL

    def _throttled(self, operation: str, fault: str) -> Reply:
        when = "" if fault == "throttle" else "Please retry after 1 second. "
        message = (
            f"Requests to the {operation} Operation under Computer Vision API "
            f"({'2023-10-01' if operation == _NEW else 'v3.2'}) have exceeded call rate limit of your current "
            f"ComputerVision S1 pricing tier. {when}To increase your rate limit switch to a paid tier."
        )
        headers = {"Retry-After": "1"} if fault == "throttle-retry-after" else {}
        return _error(429, "429", message, headers=headers)


def _old(version: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer of 3.2 says besides its tags."""
    return {"requestId": str(uuid.uuid4()), "metadata": metadata, "modelVersion": version}


def _success(body: Any) -> Reply:
    return json_reply(body, headers=_headers() | _BILLED)


def _bad_request(code: str, message: str) -> NoReturn:
    raise Refused(_error(400, "InvalidRequest", message, inner=code))


def _error(
    status: int,
    code: str,
    message: str,
    *,
    inner: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner is not None:
        error["innererror"] = {"code": inner, "message": message}
    return json_reply({"error": error}, status=status, headers=_headers() | dict(headers or {}))


def _headers() -> dict[str, str]:
    request_id = str(uuid.uuid4())
    return {"apim-request-id": request_id, "request-id": request_id, **_ABOUT}
