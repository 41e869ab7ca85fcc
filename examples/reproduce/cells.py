"""Cells: each a measurement in a file of its own, so that a run that is killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Cells:
    """Measurements kept in `folder`. After `minutes` no new one is begun, and what is not there counts as not run."""

    folder: Path
    minutes: float | None = None
    _began: float = field(default_factory=time.monotonic)

    def file(self, name: str, settings: Mapping[str, Any], suffix: str = ".json") -> Path:
        """Where what `name` gives under `settings` lies: other settings are another file."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        return self.folder / f"{name}-{digest}{suffix}"

    def get(
        self, name: str, settings: Mapping[str, Any], make: Callable[[], Any], *, always: bool = False
    ) -> Any:
        """What `make` gives (JSON values), from its file where it is there; None where there is no time for it.

        A cell that another one is waiting for is `always` made.
        """
        file = self.file(name, settings)
        if file.is_file():
            return json.loads(file.read_text(encoding="utf-8"))["found"]
        if not always and self.minutes is not None and time.monotonic() - self._began > 60 * self.minutes:
            return None
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        found = make()
        seconds = round(time.monotonic() - began, 1)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        told = {"name": name, "settings": settings, "seconds": seconds, "found": found}
        part.write_text(json.dumps(told) + "\n", encoding="utf-8")
        os.replace(part, file)  # whole or not at all
        print(f"{name}: {seconds:g} s", file=sys.stderr, flush=True)
        return found
