"""An answer as it is kept: its seal, and `[version, [name, score, id, [parent, …]], …]` as JSON."""

from __future__ import annotations

import json
from typing import Any

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage.seal import DIGITS, Seal

_READER, _WRITER = json.JSONDecoder(), json.JSONEncoder(separators=(",", ":"), default=float)


class SealedText:
    """Writes answers under `seal`, which is over their place too, and reads them."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def of(self, stream: str, index: int, answer: Answer) -> str:
        """The text of the answer to a query."""
        rows = [[label.name, label.score, label.id, label.parents] for label in answer.labels]
        return self._sealed(stream, index, _WRITER.encode([answer.model_version, *rows]))

    def read(self, stream: str, index: int, kept: Any, *, unsealed: bool = False) -> Answer:
        """The answer in `kept`. Raises TypeError or ValueError for anything that was not written so, and there.

        One without a seal counts where they may be `unsealed`.
        """
        if not isinstance(kept, str):
            raise ValueError
        if kept.startswith("[") and unsealed:
            return _decode(kept, 0)
        if kept != self._sealed(stream, index, kept[DIGITS:]):
            raise ValueError
        return _decode(kept, DIGITS)

    def _sealed(self, stream: str, index: int, text: str) -> str:
        return self._seal.of(f"{stream} {index} {text}") + text


def _decode(text: str, start: int) -> Answer:
    """The answer written in `text` from `start` on. Raises TypeError or ValueError where there is none."""
    found, end = _READER.raw_decode(text, start)
    version, *rows = found
    labels = tuple(
        Label(name=name, score=score, id=ident, parents=tuple(parents))
        for name, score, ident, parents in rows
    )
    if end != len(text):
        raise ValueError
    return Answer(labels=labels, model_version=version)
