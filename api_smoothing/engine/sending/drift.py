"""Drift of a provider that does not tell its model's version: a fixed image is asked before and after the queries.

The canary's answer names the version. Services repeat themselves only nearly, so an answer counts as the same
when every clear label is there again with nearly its score.
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard, Answer
from api_smoothing.engine.sending.outcome import Open
from api_smoothing.engine.sending.pixels import encode, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.sending.stream import Query, Stream
from api_smoothing.engine.storage import VoteCache
from api_smoothing.errors import ApiSmoothError, BudgetError, DriftError, ProviderError

CLEAR: Final = 0.6  # the least score of a label that must come again
TOLERANCE: Final = 0.05
_REFERENCES: Final = 64  # versions remembered for one provider
_TRIES: Final = (
    3  # of a service that answers: one canary that fails by bad luck must not void every vote of its image
)
_SIDE: Final = 224


class Canary:
    """Watches one provider. `stream` must be its own, never an image's."""

    def __init__(self, *, card: AdapterCard, sender: Sender, cache: VoteCache, stream: Stream) -> None:
        factor = enlargement(_SIDE, _SIDE, card)
        self._image = encode(picture(), factor)
        self._card, self._sender, self._cache, self._stream = card, sender, cache, stream

    def name(self) -> str:
        """The name of the version that answers now; asks the canary once."""
        answer = self._ask()
        for number in range(_REFERENCES):
            reference = self._cache.read(f"{self._stream.name}/{number}", [0]).get(0)
            if reference is None:  # another process may be faster, with another model's answer
                reference = self._cache.write(f"{self._stream.name}/{number}", {0: answer})[0]
            if alike(reference, answer):
                return _name(reference)
        raise DriftError(
            f"{self._card.name} answers the canary image differently every time; it cannot be certified"
        )

    def confirm(self, name: str) -> None:
        """Ask again; DriftError when the answer is no longer that of version `name`."""
        found = self.name()
        if found != name:
            raise DriftError(
                f"the provider's model changed while it was asked (canary {name} became {found}), which voids "
                f"the certificate; run again to start over on the new model"
            )

    def _ask(self) -> Answer:
        for _ in range(_TRIES if self._sender.answering else 1):
            index = (
                time.time_ns()
            )  # a query that was never asked before: the canary must not come from the cache
            query = Query(self._stream, index)
            outcome = self._sender.send([query], [self._image])[query]
            if isinstance(outcome, Answer):
                return outcome
            if outcome is Open.UNPAID:
                raise BudgetError(f"the budget has no room for the canary query that {self._card.name} needs")
        why = self._stream.usage.last_error or "try again later"
        raise ProviderError(f"{self._card.name} did not answer the canary image: {why}")


class Watch:
    """One image under the canary: asked before its first query leaves, and again after its last answer."""

    def __init__(self, canary: Canary, cache: VoteCache, stream: str) -> None:
        self._canary, self._cache, self._stream = canary, cache, stream
        self._name: str | None = None
        self._failure: ApiSmoothError | None = None
        self._lock = threading.Lock()

    def version(self) -> str:
        """The version that answers now."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._name is None:
                try:
                    self._name = self._canary.name()
                except ApiSmoothError as error:
                    self._failure = error
                    raise
            return self._name

    @property
    def unpaid(self) -> int:
        """How many canaries this image may still cost."""
        return 2 if self._name is None else 1

    def finish(self, version: str | None, answers: int) -> None:
        """Confirm that `version` gave the first `answers` answers, unless that was confirmed before.

        Answers of a run that was killed before its last canary are confirmed by the run that uses them.
        """
        mark = f"{self._stream}/confirmed/{answers}"
        if version is not None and (self._name is not None or self._cache.facts(mark) is None):
            self._canary.confirm(version.rpartition(" ")[2])
            self._cache.describe(mark, {"answers": answers})


def alike(one: Answer, other: Answer) -> bool:
    """Whether two answers to the same image may come from the same model; where no label is clear, all count."""
    scores = [
        {label.id or label.name: label.score or 0.0 for label in answer.labels} for answer in (one, other)
    ]
    clear = {key for part in scores for key, score in part.items() if score >= CLEAR}
    clear = clear or scores[0].keys() | scores[1].keys()
    return all(abs(scores[0].get(key, 0.0) - scores[1].get(key, 0.0)) <= TOLERANCE for key in clear)


def picture() -> NDArray[np.uint8]:
    """The canary, uint8 (224,224,3): sky over a lawn, a red house, a sun; the same pixels everywhere."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    image = np.empty((_SIDE, _SIDE, 3), np.uint8)
    image[...] = np.stack([90 + y // 3, 150 + y // 4, np.full_like(y, 235)], axis=-1)
    image[140:] = np.stack([40 + x // 8, 140 - (y - 140) // 2 + (x * 7 + y * 13) % 11, 50 + x * 0], axis=-1)[
        140:
    ]
    image[90:175, 70:160] = (178, 58, 46)
    roof = (y >= 50) & (y < 90) & (abs(x - 115) <= (y - 50) * 5 // 4)
    image[roof] = (96, 60, 44)
    image[130:175, 105:128] = (74, 48, 30)
    for left in (78, 134):
        image[105:125, left : left + 18] = (214, 230, 245)
    image[(x - 185) ** 2 + (y - 38) ** 2 <= 20**2] = (252, 222, 88)
    return image


def _name(reference: Answer) -> str:
    labels = sorted((label.id or label.name, label.score or 0.0) for label in reference.labels)
    return f"canary:{hashlib.sha256(repr(labels).encode()).hexdigest()[:12]}"
