"""The plain JSON format and the chat format from the server's side; `endpoints/` describes both for the client.

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
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final, NoReturn

from api_smoothing.adapters import BadRequest, Label

MAX_IMAGES: Final = 16
_NONE: Final = ("other", "none", "unknown")  # what a closed list may offer for the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for labels: its encoded images, the most labels of each (None: all), and whether it is a `batch`."""

    images: Sequence[bytes]
    most: int | None = None
    batch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request to a chat: its one encoded image, all of its text, and the model it names."""

    image: bytes
    text: str
    model: str


def read_labels(headers: Message, data: bytes) -> Asked:
    """A request for labels. Raises BadRequest."""
    kind = headers.get_content_type()
    if kind == "application/json":
        return _asked(_json(data))
    if kind == "multipart/form-data":
        return Asked(images=[_form_field(headers, data, "image")])
    if kind == "application/octet-stream" or kind.startswith("image/"):
        return Asked(images=[data])
    _invalid(f"the media type {kind!r} is none of those served")


def read_chat(headers: Message, data: bytes) -> Conversation:
    """A request to a chat. Raises BadRequest."""
    if headers.get_content_type() != "application/json":
        _invalid("the body is no JSON")
    body = _json(data)
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
    return Conversation(image=_decoded(urls[0]), text=" ".join(map(str, texts)), model=model)


def write_labels(
    answers: Sequence[Sequence[Label] | None], *, version: str, most: int | None, batch: bool
) -> dict[str, Any]:
    """An answer; None stands for an image that cannot be read."""
    told = [
        write_error("bad_image", "The image cannot be read.")
        if labels is None
        else {"labels": [{"name": label.name, "score": label.score} for label in labels[:most]]}
        for labels in answers
    ]
    return (
        {**write_version(version, batch=True), "answers": told}
        if batch
        else {**told[0], **write_version(version)}
    )


def write_version(version: str, *, batch: bool = False) -> dict[str, Any]:
    """What an answer says besides its labels."""
    return {"model": {"version": version}} if batch else {"model_version": version}


def write_chat(conversation: Conversation, labels: Sequence[Label], *, version: str) -> dict[str, Any]:
    """A completion of one word: the best of the labels that stand in the text, else one for none of them, or the best
    of all.
    """
    names = [label.name for label in labels]
    word = next(
        (name for name in (*names, *_NONE) if _stands(name, conversation.text)), (*names, "nothing")[0]
    )
    tokens = 85 + len(conversation.text.split())  # an image at low detail, and about one a word
    message = {"role": "assistant", "content": word, "refusal": None}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": conversation.model,
        "system_fingerprint": f"fp_{hashlib.sha256(version.encode()).hexdigest()[:10]}",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1},
    }


def _stands(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE) is not None


def write_error(code: str | None, message: str, **more: str | None) -> dict[str, Any]:
    """The body of an error; the chat format has a `type` and a `param` as well."""
    return {"error": {"code": code, "message": message, **more}}


def write_chat_error(status: int, code: str | None, message: str) -> dict[str, Any]:
    """The body of an error of the chat format."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return write_error(code, message, type=kind, param=None)


def _asked(body: Mapping[str, Any]) -> Asked:
    most = body.get("max_labels")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        _invalid("max_labels is at least 1")
    if "images" not in body:
        return Asked(images=[_decoded(body.get("image"))], most=most)
    images = body["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        _invalid(f"images is a list of 1 to {MAX_IMAGES}")
    return Asked(images=[_decoded(image) for image in images], most=most, batch=True)


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


def _form_field(headers: Message, data: bytes, name: str) -> bytes:
    """The content of one field of a multipart form."""
    boundary = headers.get_param("boundary")
    if isinstance(boundary, str):
        for part in (b"\r\n" + data).split(b"\r\n--" + boundary.encode("latin-1"))[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            if re.search(rf'\bname="{re.escape(name)}"'.encode(), head):
                return content
    _invalid(f"the form has no field {name!r}")


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        _invalid("the body is no JSON object")
    return found


def _invalid(why: str) -> NoReturn:
    raise BadRequest("invalid_request", why)
