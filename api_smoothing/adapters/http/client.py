"""Sending images to a JSON endpoint with `requests`: one request a call, bounded in time and in size."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from api_smoothing.adapters import EncodedImage, body_of, plain_session
from api_smoothing.adapters.http.schema import Description
from api_smoothing.adapters.http.template import fill, fill_text
from api_smoothing.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, its body read to the end. Names of `headers` in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One pool of connections for up to 64 threads. `secrets` are the values of the description's `${NAME}`.

    `timeout` bounds the wait for the connection and each wait for a byte, twice of it the whole call: an answer
    that drips in byte by byte would otherwise never end.
    """

    def __init__(
        self, description: Description, *, url: str, secrets: Mapping[str, str], timeout: float
    ) -> None:
        self._description, self._url, self._secrets, self._timeout = description, url, secrets, timeout
        self._headers = {"Accept": "application/json", "User-Agent": "api-smooth"}
        for name, template in description.headers.items():
            value = fill_text(template, description.variables, secrets)
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"header {name} of {description.name} holds signs that no header can carry"
                )
            self._headers[name] = value
        self._query = {k: fill_text(v, description.variables, secrets) for k, v in description.query.items()}
        self._session = plain_session(url, extra="http")

    def send(self, images: Sequence[EncodedImage]) -> Reply:
        """Send one request. Raises what `requests` and `urllib3` raise, TimeoutError, or BrokenContract."""
        response = self._session.request(
            self._description.request.method,
            self._url,
            params=self._query,
            timeout=self._timeout,
            allow_redirects=False,  # the key would go along
            stream=True,
            **self._content(images),
        )
        with closing(response):
            return Reply(status=response.status_code, headers=response.headers, body=body_of(response))

    def _content(self, images: Sequence[EncodedImage]) -> dict[str, Any]:
        """Headers and body, as arguments of `requests`."""
        shape, variables = self._description.request, self._description.variables
        if shape.image == "multipart":
            form = {name: fill_text(text, variables, self._secrets) for name, text in shape.form.items()}
            files = [
                (shape.field, (f"{i}.png", image.data, image.media_type)) for i, image in enumerate(images)
            ]
            return {"headers": self._headers, "data": form, "files": files}
        if shape.image == "bytes":
            return {
                "headers": {"Content-Type": images[0].media_type, **self._headers},
                "data": images[0].data,
            }
        mark = token_hex(16)
        texts = [f"{mark}-{number}-" for number in range(len(images))]
        if shape.image == "data-url":
            pairs = zip(images, texts, strict=True)
            texts = [f"data:{image.media_type};base64,{text}" for image, text in pairs]
        items = texts
        if shape.item is not None:
            items = [fill(shape.item, {**variables, "image": text}, self._secrets) for text in texts]
        body = fill(shape.body, {**variables, "image": texts[0], "images": items}, self._secrets)
        data = _with_images(json.dumps(body), mark, images)
        return {"headers": {"Content-Type": "application/json", **self._headers}, "data": data}


def _with_images(text: str, mark: str, images: Sequence[EncodedImage]) -> bytes:
    """`text` with the images in base64 at their marks.

    JSON need not escape base64, but its encoder looks at every letter, for which all threads wait: with many requests
    under way that alone took more than a third of the time.
    """
    parts: list[bytes] = []
    for number, part in enumerate(re.split(f"{mark}-([0-9]+)-", text)):
        parts.append(base64.b64encode(images[int(part)].data) if number % 2 else part.encode())
    return b"".join(parts)
