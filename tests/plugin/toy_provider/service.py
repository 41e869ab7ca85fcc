"""The toy as a service over HTTP."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, LabelMap, Verdict, filter_of
from toy_provider.wire import read_answers, write_request

KINDS: dict[int, Any] = {401: "fatal", 402: "fatal", 429: "throttled"}


def load_service(
    *,
    endpoint: str,
    endpoint_id: str | None = None,
    key: str | None = None,
    only: Sequence[str] | LabelMap = (),
) -> Service:
    names = filter_of(only, "toy")
    card = AdapterCard(
        name="toy",
        fingerprint=f"toy/4/{endpoint_id or endpoint}/{'|'.join(names)}",
        batch=4,
        labels=names or None,
        price="toy/images",
        drift="version",
        place=endpoint_id or "",
    )
    return Service(card, endpoint, key, names)


class Service:
    def __init__(self, card: AdapterCard, endpoint: str, key: str | None, names: Sequence[str]) -> None:
        self.card, self._endpoint, self._key, self._names = card, endpoint, key, names

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer]:
        key = self._key or os.environ.get("TOY_KEY", "")
        body = write_request([image.data for image in images], self._names)
        request = urllib.request.Request(f"{self._endpoint}/label", body, {"X-Toy-Key": key})
        with urllib.request.urlopen(request, timeout=30) as reply:
            answers = read_answers(reply.read())
        if len(answers) != len(images):
            raise ValueError("not an answer an image")
        return answers

    def verdict(self, error: Exception, /) -> Verdict:
        if isinstance(error, urllib.error.HTTPError):
            kind = KINDS.get(error.code, "refused" if error.code < 500 else "transient")
            return Verdict(kind=kind, message=f"the toy answers {error.code}")
        return Verdict(kind="transient", message=f"no answer: {type(error).__name__}")
