"""What `compare` returns: what became of each image, how many are right, how surely, and at what price."""

from __future__ import annotations

import html
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from api_smoothing import runs
from api_smoothing.claims import intervals
from api_smoothing.claims.paired import mcnemar_two_sided
from api_smoothing.defences.base import Cost
from api_smoothing.defences.conditions import Kind
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import one_line
from api_smoothing.shown import shown

ROW: Final = "api-smooth/defended/1"
SESSION: Final = "api-smooth/comparison/1"
#: The condition in which an image is right that is right under every attack, and as it is.
WORST: Final = "all attacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An image under a condition, behind a defence.

    `truth` is the class it ought to get, `label` the one it got. Losses are −log p of the truth, in nats: of the bare
    classifier `before`, and behind the defence `after`. `mse` is the mean squared error to the clean image, of values
    in [0,1], of several copies the mean; `seconds` are those of the defence.
    """

    item: str
    image_sha256: str
    condition: str
    defence: str
    identity: str
    truth: str
    label: str
    right: bool
    loss_before: float
    loss_after: float
    mse: float
    seconds: float

    @property
    def key(self) -> tuple[str, ...]:
        """What a run file has one of."""
        return self.item, self.image_sha256, self.condition, self.defence, self.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Defended:
    """A defence as the run file knows it."""

    name: str
    cost: Cost
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A defence under a condition: `k` of `n` images are right, in the exact 95 % interval `low` to `high`.

    Beside the first defence, of the images that both have, it is right where that is not on `gained`, and wrong where
    that is right on `lost`; `p_value` is that of the exact two-sided McNemar test against "the same". They are None of
    the first itself. `psnr` is in dB to the clean image, the mean over the images that are not equal to theirs; None
    where all are. `seconds` are those of the defence, an image.
    """

    condition: str
    defence: str
    k: int
    n: int
    low: float
    high: float
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    psnr: float | None = None
    seconds: float | None = None

    @property
    def value(self) -> float | None:
        """The accuracy."""
        return self.k / self.n if self.n else None

    @property
    def difference(self) -> float | None:
        """The accuracy less that of the first defence."""
        if self.lost is None or self.gained is None or not self.n:
            return None
        return (self.gained - self.lost) / self.n

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {**asdict(self), "value": self.value, "difference": self.difference}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Defences beside one another, the first of them as what the others are held against.

    `reference` says what is right: the "truth", or the bare classifier's "answer" to the image as it is, where the
    data set has no labels. `conditions` maps each to its kind. `unreadable` maps images to why they could not be read;
    `left_out` counts those whose label is no class of the model.
    """

    data: str
    model: str
    reference: str
    defences: tuple[Defended, ...]
    conditions: Mapping[str, Kind]
    rows: tuple[Row, ...] = field(repr=False)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0
    told: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """The comparison in a run file, of its last session's defences and conditions, over all of its images.

        Raises ConfigurationError for a file that holds none.
        """
        settings = runs.header(path).settings
        rows, session = read_rows(path)
        if session is None:
            raise ConfigurationError(f"{path} holds no comparison of defences: api-smooth compare writes one")
        defences = tuple(
            Defended(name=one["name"], identity=one["identity"], cost=Cost(**one["cost"]))
            for one in session["defences"]
        )
        wanted = {(c, d.name, d.identity) for c in session["conditions"] for d in defences}
        return cls(
            data=str(settings.get("data")),
            model=str(settings.get("model")),
            reference=session["reference"],
            defences=defences,
            conditions=session["conditions"],
            rows=tuple(row for row in rows.values() if row.key[2:] in wanted),
            unreadable=session["unreadable"],
            left_out=session["left_out"],
        )

    def __bool__(self) -> bool:
        raise TypeError(
            "a Comparison is neither true nor false: look at .cells, or .cell(defence, condition)"
        )

    @property
    def images(self) -> int:
        """How many images there are rows of."""
        return len({row.key[:2] for row in self.rows})

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All of them: by condition, then by defence; at last `WORST`, where there are several attacks."""
        names = list(self.conditions)
        attacked = [name for name, kind in self.conditions.items() if kind != "corruption"]
        found = [self._cell(defence.name, name) for name in names for defence in self.defences]
        if sum(self.conditions[name] != "clean" for name in attacked) > 1:
            found += [self._worst(defence.name, attacked) for defence in self.defences]
        return tuple(found)

    def cell(self, defence: str, condition: str) -> Cell:
        """One of them. Raises ConfigurationError for one that is not there."""
        for found in self.cells:
            if (found.defence, found.condition) == (defence, condition):
                return found
        raise ConfigurationError(f"this comparison has no {defence!r} under {condition!r}")

    def table(self) -> str:
        """The numbers as plain text."""
        return "\n\n".join(_aligned(rows) for rows in (self.table_rows(), self.cost_rows()))

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row a cell, the heads first."""
        first = self.defences[0].name
        what = "right" if self.reference == "truth" else "as bare"  # without labels
        heads = ("condition", "defence", what, "95 % interval", f"beside {first}", "p", "loss", "PSNR")
        rows: list[tuple[str, ...]] = [heads]
        for cell in self.cells:
            beside = "" if cell.lost is None else f"−{cell.lost} +{cell.gained}"
            losses = "" if cell.loss_before is None else f"{cell.loss_before:.2f} → {cell.loss_after:.2f}"
            rows.append(
                (
                    cell.condition,
                    cell.defence,
                    "none" if cell.value is None else f"{cell.value:.1%}",
                    f"{cell.low:.1%} to {cell.high:.1%}  ({cell.k} of {cell.n})",
                    beside,
                    "" if cell.p_value is None else f"{cell.p_value:.2g}",
                    losses,
                    "" if cell.psnr is None else f"{cell.psnr:.1f} dB",
                )
            )
        rows += self._corruption_rows()
        return rows

    def cost_rows(self) -> list[tuple[str, ...]]:
        """What an image costs behind each defence, the heads first."""
        rows: list[tuple[str, ...]] = [("defence", "queries", "network evaluations", "seconds an image")]
        for one in self.defences:
            spent = [row.seconds for row in self.rows if row.defence == one.name]
            seconds = f"{statistics.fmean(spent):.3f}" if spent else ""
            rows.append((one.name, str(one.cost.queries), str(one.cost.evaluations), seconds))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain JSON values; the rows of the images stay in the run file."""
        return {
            "data": self.data,
            "model": self.model,
            "reference": self.reference,
            "images": self.images,
            "unreadable": dict(self.unreadable),
            "left_out": self.left_out,
            "defences": [{"name": one.name, **one.cost.to_dict()} for one in self.defences],
            "conditions": dict(self.conditions),
            "cells": [cell.to_dict() for cell in self.cells],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return one_line(self.to_dict())

    def _repr_html_(self) -> str:
        return "".join(
            "<table>"
            + "".join(_html_row(row, "th" if i == 0 else "td") for i, row in enumerate(rows))
            + "</table>"
            for rows in (self.table_rows(), self.cost_rows())
        )

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], dict[tuple[str, ...], Row]]:
        found: dict[tuple[str, str], dict[tuple[str, ...], Row]] = {}
        for row in self.rows:
            found.setdefault((row.defence, row.condition), {})[row.key[:2]] = row
        return found

    def _rows_of(self, defence: str, condition: str) -> dict[tuple[str, ...], Row]:
        return self._by_cell.get((defence, condition), {})

    def _cell(self, defence: str, condition: str) -> Cell:
        rows = self._rows_of(defence, condition)
        first = self._rows_of(self.defences[0].name, condition)
        unlike = [row.mse for row in rows.values() if row.mse > 0]
        cell = _counted(
            condition,
            defence,
            {image: row.right for image, row in rows.items()},
            None if defence == self.defences[0].name else {image: row.right for image, row in first.items()},
        )
        return replace(
            cell,
            loss_before=_mean(row.loss_before for row in rows.values()),
            loss_after=_mean(row.loss_after for row in rows.values()),
            psnr=_mean(-10 * math.log10(mse) for mse in unlike),
            seconds=_mean(row.seconds for row in rows.values()),
        )

    def _worst(self, defence: str, conditions: Sequence[str]) -> Cell:
        first = self.defences[0].name
        right = self._right_under_all(defence, conditions)
        beside = None if defence == first else self._right_under_all(first, conditions)
        return _counted(WORST, defence, right, beside)

    def _right_under_all(self, defence: str, conditions: Sequence[str]) -> dict[tuple[str, ...], bool]:
        """Of the images that have been through all `conditions`."""
        tables = [self._rows_of(defence, condition) for condition in conditions]
        images = [image for image in tables[0] if all(image in table for table in tables)]
        return {image: all(table[image].right for table in tables) for image in images}

    def _corruption_rows(self) -> list[tuple[str, ...]]:
        """Means over the corruptions; without an interval, as each image is in all of them."""
        names = [name for name, kind in self.conditions.items() if kind == "corruption"]
        rows: list[tuple[str, ...]] = []
        for one in self.defences if len(names) > 1 else ():
            values = [value for name in names if (value := self.cell(one.name, name).value) is not None]
            if values:
                mean = f"{statistics.fmean(values):.1%}"
                rows.append((f"mean of {len(names)} corruptions", one.name, mean, "", "", "", "", ""))
        return rows


def read_rows(path: str | Path) -> tuple[dict[tuple[str, ...], Row], Mapping[str, Any] | None]:
    """The rows of a run file by their keys, of several the last, and its last session."""
    rows: dict[tuple[str, ...], Row] = {}
    session: Mapping[str, Any] | None = None
    for line in runs.lines(path):
        schema = line["schema"] if isinstance(line, Mapping) else ""
        if schema == SESSION and isinstance(line, Mapping):
            session = line
        elif schema == ROW and isinstance(line, Mapping):
            try:
                row = Row(**{name: line[name] for name in Row.__dataclass_fields__})
            except KeyError as error:
                raise ConfigurationError(
                    f"{path}: a line of schema {ROW} lacks {json.dumps(error.args[0])}"
                ) from None
            rows[row.key] = row
    return rows, session


def _counted(
    condition: str,
    defence: str,
    right: Mapping[tuple[str, ...], bool],
    first: Mapping[tuple[str, ...], bool] | None,
) -> Cell:
    """The counts and tests of a cell; `first` is what the first defence got right, None of itself."""
    k, n = sum(right.values()), len(right)
    low, high = intervals.exact(k, n)
    cell = Cell(condition=condition, defence=defence, k=k, n=n, low=low, high=high)
    if first is None:
        return cell
    both = [(first[image], right[image]) for image in right if image in first]
    lost, gained = sum(a and not b for a, b in both), sum(b and not a for a, b in both)
    return replace(cell, lost=lost, gained=gained, p_value=mcnemar_two_sided(lost, gained))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _html_row(row: Sequence[str], tag: str) -> str:
    cells = "".join(f"<{tag}>{html.escape(shown(cell))}</{tag}>" for cell in row)
    return f"<tr>{cells}</tr>"
