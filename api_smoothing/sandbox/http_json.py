"""A plain JSON endpoint, and a chat endpoint that takes images; the key is a bearer token, or in X-API-Key.

    POST /v1/label              Content-Type: application/json
    {"images": ["iVBORw0KGgo…", …], "max_labels": 10}                  1 to 16 images, base64 or data URLs
    200 {"model": {"version": "1"},
         "answers": [{"labels": [{"name": "cat", "score": 0.93}, …]},  best first, in the order of the images
                     {"error": {"code": "bad_image", "message": "…"}}, …]}

    POST /v1/label              Content-Type: image/*, application/octet-stream, multipart/form-data (field
                                "image"), or application/json with {"image": "iVBORw0KGgo…"}
    200 {"labels": [{"name": "cat", "score": 0.93}, …], "model_version": "1"}

    POST /v1/chat/completions   {"model": "…", "messages": [{"role": "user", "content": [{"type": "image_url",
                                "image_url": {"url": "data:image/png;base64,…"}}, {"type": "text", …}]}]}
    200 {"model": "…", "system_fingerprint": "fp_…", "choices": [{"message": {"content": "cat"}}], …}
        It says one word: the best of the class names that stand in the text, or the best of all.

An error is {"error": {"code": "…", "message": "…"}} with one of 400 invalid_request, 401 invalid_key, 402
quota_exceeded, 404 not_found, 413 image_too_large, 422 bad_image, 429 rate_limited, 500 internal, 503 unavailable;
the chat endpoint has OpenAI's codes in their place. X-Billed-Images says what an answer is billed as.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
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

_LABEL, _CHAT = "label", "chat.completions"
_PATHS: Final = {"/v1/label": _LABEL, "/v1/chat/completions": _CHAT}
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MAX_IMAGES: Final = 16
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
        kind = call.headers.get_content_type()
        if kind == "application/json":
            body = _json_body(call.body)
            return _chat(body) if operation == _CHAT else _labels(body)
        if operation == _CHAT:
            _invalid("the body is no JSON")
        if kind == "multipart/form-data":
            return Question(images=[_form_field(call, "image")], settings={"most": None})
        if kind == "application/octet-stream" or kind.startswith("image/"):
            return Question(images=[call.body], settings={"most": None})
        _invalid(f"the media type {kind!r} is none of those served")

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
        if operation == _CHAT:
            return json_reply(self._completion(question, said[0] or []), headers=billed)
        most = question.settings["most"]
        answers = [
            {"error": {"code": "bad_image", "message": _ERRORS["bad-image"][-1]}}
            if labels is None
            else {"labels": labels[:most]}
            for labels in said
        ]
        if question.partial:
            return json_reply({**self._about(question), "answers": answers}, headers=billed)
        return json_reply({**answers[0], **self._about(question)}, headers=billed)

    def unlabelled(self, operation: str, question: Question) -> Reply:
        if operation == _CHAT:
            body = self._completion(question, [])
            del body["choices"]
            return json_reply(body)
        return json_reply(self._about(question))

    def refused(self, call: Call, fault: str) -> Reply:
        status, code, chat_status, chat_code, message = _ERRORS[fault]
        headers = {"Retry-After": "1"} if fault == "throttle-retry-after" else {}
        if fault in ("billed-400", "500", "503"):
            headers["X-Billed-Images"] = "1"
        if _PATHS.get(call.path) != _CHAT:
            return json_reply({"error": {"code": code, "message": message}}, status=status, headers=headers)
        kind = "server_error" if chat_status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": chat_code}
        return json_reply({"error": error}, status=chat_status, headers=headers)

    def _about(self, question: Question) -> dict[str, Any]:
        """What an answer of the label endpoint says besides its labels."""
        version = self._sandbox.version
        return {"model": {"version": version}} if question.partial else {"model_version": version}

    def _said(self, scores: Scores) -> list[dict[str, Any]]:
        said = labels_of("http", scores, self._sandbox.version)
        return [{"name": label.name, "score": label.score} for label in said]

    def _completion(self, question: Question, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        text = question.settings["text"]
        names = [label["name"] for label in labels]
        named = [name for name in names if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
        word = (*named, *names, "nothing")[0]
        fingerprint = hashlib.sha256(self._sandbox.version.encode()).hexdigest()[:10]
        tokens = 85 + len(text.split())  # an image at low detail, and about one a word
        message = {"role": "assistant", "content": word, "refusal": None}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": question.settings["model"],
            "system_fingerprint": f"fp_{fingerprint}",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1},
        }


def _labels(body: Mapping[str, Any]) -> Question:
    most = body.get("max_labels")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        _invalid("max_labels is at least 1")
    settings = {"most": most}
    if "images" not in body:
        return Question(images=[_decoded(body.get("image"))], settings=settings)
    images = body["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= _MAX_IMAGES:
        _invalid(f"images is a list of 1 to {_MAX_IMAGES}")
    return Question(images=[_decoded(image) for image in images], settings=settings, partial=True)


def _chat(body: Mapping[str, Any]) -> Question:
    """The one image and all the text of a conversation."""
    if body.get("stream") or body.get("n", 1) != 1:
        _invalid("neither streams nor several choices are served")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        _invalid("you must provide a model parameter")
    try:
        contents = [message["content"] for message in body["messages"]]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        texts = [content for content in contents if isinstance(content, str)]
        texts += [part["text"] for part in parts if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    except (KeyError, TypeError):
        _invalid("messages are not well formed")
    if len(urls) != 1 or not str(urls[0]).startswith("data:"):
        _invalid("exactly one image is served, as a data URL")
    return Question(images=[_decoded(urls[0])], settings={"model": model, "text": " ".join(map(str, texts))})


def _decoded(text: object) -> bytes:
    """The bytes of a base64 text or data URL. What is neither is an image that cannot be read."""
    if not isinstance(text, str):
        _invalid("an image is a base64 text")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _form_field(call: Call, name: str) -> bytes:
    """The content of one field of a multipart form."""
    boundary = call.headers.get_param("boundary")
    if isinstance(boundary, str):
        for part in (b"\r\n" + call.body).split(b"\r\n--" + boundary.encode("latin-1"))[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            if re.search(rf'\bname="{re.escape(name)}"'.encode(), head):
                return content
    _invalid(f"the form has no field {name!r}")


def _json_body(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        _invalid("the body is no JSON object")
    return found


def _invalid(why: str) -> NoReturn:
    error = {"code": "invalid_request", "message": why, "type": "invalid_request_error", "param": None}
    raise Refused(json_reply({"error": error}, status=400))
