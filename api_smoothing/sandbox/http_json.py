"""A plain JSON endpoint, and a chat endpoint that takes images; the key is a bearer token, or in X-API-Key.

`adapters.http.wire` has the two formats. An error is {"error": {"code": "…", "message": "…"}} with one of 400
invalid_request, 401 invalid_key, 402 quota_exceeded, 404 not_found, 413 image_too_large, 422 bad_image, 429
rate_limited, 500 internal, 503 unavailable; the chat endpoint has OpenAI's codes in their place. X-Billed-Images says
what an answer is billed as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from api_smoothing.adapters._transport import BadRequest
from api_smoothing.adapters.base import Label
from api_smoothing.adapters.http import wire
from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores, json_reply
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LABEL, _CHAT = "label", "chat.completions"
_PATHS: Final = {"/v1/label": _LABEL, "/v1/chat/completions": _CHAT}
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MAX_BYTES: Final = {_LABEL: 4_000_000, _CHAT: 20_000_000}
_MAX_SIDE: Final = 8192

#: What each refusal says: status and code of the label endpoint, status and code of the chat endpoint, message.
_ERRORS: Final[Mapping[str, tuple[int, str, int, str | None, str]]] = {
    "throttle": (429, "rate_limited", 429, "rate_limit_exceeded", "Too many requests."),
    "throttle-retry-after": (429, "rate_limited", 429, "rate_limit_exceeded", "Too many requests."),
    "throttle-coded": (
        400,
        "rate_limited",
        429,
        "rate_limit_exceeded",
        "Too many requests; try again in 1s.",
    ),
    "expired-key": (401, "invalid_key", 401, "invalid_api_key", "The key is not valid."),
    "quota": (402, "quota_exceeded", 429, "insufficient_quota", "The quota of this month is used up."),
    "bad-image": (422, "bad_image", 400, "invalid_image", "The image cannot be read."),
    "too-large": (413, "image_too_large", 400, "image_too_large", "The image is too large."),
    "billed-400": (400, "invalid_request", 400, None, "The request is not valid."),
    "not-found": (404, "not_found", 404, "not_found", "There is nothing here; see /v1/label."),
    "500": (500, "internal", 500, None, "The server had an error."),
    "503": (503, "unavailable", 503, None, "The server is overloaded."),
}


class Front(HttpFront):
    """The label endpoint and the chat endpoint."""

    over_rate = "throttle-retry-after"

    def operation(self, call: Call) -> str:
        if call.method != "POST" or call.path not in _PATHS:
            raise Refused(self.refused(call, "not-found"))
        return _PATHS[call.path]

    def authorise(self, call: Call) -> None:
        bearer = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._sandbox.key not in (bearer, call.headers.get("X-API-Key")):
            raise Refused(self.refused(call, "expired-key"))

    def read(self, call: Call, operation: str) -> Question:
        try:
            if operation == _CHAT:
                conversation = wire.read_chat(call.headers, call.body)
                return Question(images=[conversation.image], settings={"conversation": conversation})
            asked = wire.read_labels(call.headers, call.body)
        except BadRequest as error:
            body = wire.write_chat_error(error.status, error.code, error.message)
            raise Refused(json_reply(body, status=error.status)) from None
        return Question(images=asked.images, settings={"most": asked.most}, partial=asked.batch)

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        if len(data) > _MAX_BYTES[operation]:
            raise Refused(self.refused(call, "too-large"))
        picture = open_picture(data, _FORMATS)
        if picture.larger > _MAX_SIDE:
            raise Refused(self.refused(call, "too-large"))
        return picture.pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        said = [None if score is None else self._said(score) for score in scores]
        billed = {"X-Billed-Images": str(len(said) - said.count(None))}
        version = self._sandbox.version
        if operation == _CHAT:
            completion = wire.write_chat(question.settings["conversation"], said[0] or [], version=version)
            return json_reply(completion, headers=billed)
        most = question.settings["most"]
        body = wire.write_labels(said, version=version, most=most, batch=question.partial)
        return json_reply(body, headers=billed)

    def unlabelled(self, operation: str, question: Question) -> Reply:
        version = self._sandbox.version
        if operation == _CHAT:
            body = wire.write_chat(question.settings["conversation"], [], version=version)
            del body["choices"]
            return json_reply(body)
        return json_reply(wire.write_version(version, batch=question.partial))

    def refused(self, call: Call, fault: str) -> Reply:
        status, code, chat_status, chat_code, message = _ERRORS[fault]
        headers = {"Retry-After": "1"} if fault == "throttle-retry-after" else {}
        if fault in ("billed-400", "500", "503"):
            headers["X-Billed-Images"] = "1"
        if _PATHS.get(call.path) != _CHAT:
            return json_reply(wire.write_error(code, message), status=status, headers=headers)
        body = wire.write_chat_error(chat_status, chat_code, message)
        return json_reply(body, status=chat_status, headers=headers)

    def _said(self, scores: Scores) -> list[Label]:
        return labels_of(self._sandbox.provider, scores, self._sandbox.version)
