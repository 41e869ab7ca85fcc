"""A measured figure with its limit beside it, and what a measurement is told."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: `images` None is the measurement's own number, `data` None is images made here."""

    quick: bool = False
    images: int | None = None
    data: Path | None = None
    replay: Path | None = None

    def count(self, full: int, quick: int) -> int:
        """The number of images."""
        return self.images or (quick if self.quick else full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`figure` must be `than` (≥ or ≤) `limit`; without a limit it is only told. `note`: how it came about.

    A `figure` None was not measured, and `note` says why.
    """

    name: str
    figure: float | None
    than: Literal["≥", "≤"] = "≤"
    limit: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None where there is nothing to keep, or nothing was measured."""
        if self.figure is None or self.limit is None:
            return None
        return _HOLDS[self.than](self.figure, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = {"name": self.name, "figure": self.figure, "than": self.than, "limit": self.limit}
        return {**told, "met": self.met, "note": self.note}


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(rows: list[Row]) -> str:
    """The rows as text, names and notes to the left, figures to the right."""
    width = max((len(row.name) for row in rows), default=0)
    lines = [f"{'name':<{width}}  {'figure':>9}  {'limit':>9}  met?     how"]
    for row in rows:
        figure = "–" if row.figure is None else f"{row.figure:,.3f}"
        limit = "–" if row.limit is None else f"{row.than} {row.limit:g}"
        met = {True: "yes", False: "NO", None: "–" if row.figure is not None else "not run"}[row.met]
        lines.append(f"{row.name:<{width}}  {figure:>9}  {limit:>9}  {met:<7}  {row.note}")
    return "\n".join(line.rstrip() for line in lines)
