"""The figures of a training as they come: lines of JSON, and TensorBoard's events where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

#: What tells where a run is, and is no curve.
_PLACE: Final = frozenset({"step", "of"})


class Journal:
    """Appends to `log.jsonl` in `folder`; a run that goes on from `step` takes back the events after it.

    The lines after `step` stay: they tell what was computed twice. Use it as a context manager.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._lines = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._events: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()

    def write(self, figures: Mapping[str, Any]) -> None:
        """Note the `figures` of their "step", at once."""
        self._lines.write(json.dumps(figures) + "\n")
        self._lines.flush()
        if self._events is None:
            return
        for name, value in figures.items():
            if name not in _PLACE and isinstance(value, int | float):
                self._events.add_scalar(name, value, figures["step"])
        self._events.flush()
