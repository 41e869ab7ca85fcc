"""A paid service that counts what it is sent, and what asks it: a facade, or a sender alone."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.engine.sending import Outcome, Query, Sender, Stream
from api_smoothing.engine.storage.answers import MemoryCache
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.votes import StreamAnswers
from api_smoothing.errors import ApiSmoothError

GREY = np.full((8, 8, 3), 128, np.uint8)
IMAGE = EncodedImage(data=b"", height=1, width=1)
TRANSIENT = RuntimeError(Verdict(kind="transient", message="down"))
Reply = Callable[[int, Sequence[EncodedImage]], Sequence[Any]]


def says(name: str, score: float = 0.9, version: str | None = None) -> Answer:
    return Answer(labels=(Label(name=name, score=score),), model_version=version)


class CountingService:
    """A service that counts the images it is sent; `reply` gets the number of the first of them."""

    def __init__(self, reply: Reply | None = None, **card: Any) -> None:
        self.card = AdapterCard(**{"name": "service", "fingerprint": "service-1", **card})
        self.seen = 0
        self.requests: list[int] = []
        self._reply, self._lock = reply, threading.Lock()

    def label(self, images: Any, /) -> Sequence[Any]:
        with self._lock:
            first, self.seen = self.seen, self.seen + len(images)
            self.requests.append(len(images))
        return [says("dog")] * len(images) if self._reply is None else self._reply(first, images)

    def verdict(self, error: Exception, /) -> Verdict:
        found = error.args[0] if error.args else None
        return found if isinstance(found, Verdict) else Verdict.FATAL


def replying(*replies: Any, drift: Any = "none") -> CountingService:
    """Gives the replies it was told to, one a request, then dogs."""
    left = list(replies)

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        found = left.pop(0) if left else [says("dog")] * len(images)
        if isinstance(found, Exception):
            raise found
        return list(found)

    return CountingService(reply, batch=8, drift=drift)


def api_of(service: CountingService, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(service, **{"denoiser": None, "seed": 1, "concurrency": 1, **options})


class OneStream:
    """A sender, and the one stream it is used for, whose queries are told by their index."""

    def __init__(self, sender: Sender, stream: Stream) -> None:
        self.sender, self.stream = sender, stream
        self.usage, self.halt = stream.usage, sender.halt

    def send(self, indices: Sequence[int], images: Sequence[EncodedImage]) -> dict[int, Outcome]:
        outcomes = self.sender.send([Query(self.stream, index) for index in indices], images)
        return {query.number: outcome for query, outcome in outcomes.items()}


def sender_of(
    service: Any,
    *,
    answers: StreamAnswers | None = None,
    version: Callable[[], str] | None = None,
    leave: Callable[[], int] | None = None,
    **parts: Any,
) -> OneStream:
    given = {"account": InMemoryBudget(Budget()), "limiter": None, **parts}
    answers = answers or StreamAnswers(MemoryCache(), "s", shared=False)
    stream = Stream(name="s", answers=answers, version=version, leave=leave)
    return OneStream(Sender(service, **given), stream)


def error_of(call: Callable[[], object]) -> Exception | None:
    """The error of one line that `call` raises, or what SQLite raises in its place."""
    try:
        call()
    except (ApiSmoothError, sqlite3.Error) as error:
        return error
    return None


def is_canary(images: Sequence[EncodedImage]) -> bool:
    return images[0].height == 224


def draw(image: EncodedImage) -> float:
    return int.from_bytes(hashlib.sha256(image.data).digest()[:4], "big") / 2**32
