"""A service that makes something happen in the middle of a run: before it answers a certain image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api_smoothing.sandbox.classifier import Classifier


class AtImage:
    """A classifier that does something before it answers image number `at`, counted from 1, and meanwhile no other.

    So whoever asks it about more images than that is amid its run when it happens, however late it happens.
    """

    def __init__(self, classifier: Classifier, at: int, do: Callable[[], object]) -> None:
        self._classifier, self._at, self._do = classifier, at, do
        self._seen, self._lock = 0, threading.Lock()

    def __call__(self, images: Sequence[Any]) -> Sequence[Mapping[str, float]]:
        with self._lock:
            before, self._seen = self._seen, self._seen + len(images)
            if before < self._at <= self._seen:
                self._do()
        return self._classifier(images)
