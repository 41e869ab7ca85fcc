"""The pictures: lines with bands, bars, discs, and images beside one another, in matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from api_smoothing.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#1f5fbf", "#a8480f", "#0b6e69", "#7a3fb0", "#a81f5c", "#5b6600", "#4a5568", "#8a5a00")
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points (x, y) by name; `low` and `high` are their band. A published one is drawn as marks, in grey."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    steps: bool = False
    published: bool = False


def figure(width: float, height: float) -> Figure:
    """An empty one: no window, no global state. Raises MissingExtraError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("pictures need matplotlib: pip install 'api-smooth[evaluate]'") from None
    made = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(made)
    return made


def lines(panels: Sequence[tuple[str, Sequence[Line]]], *, x: str, y: str, top: float | None = 100) -> Figure:
    """A panel of lines for each (title, lines), with one legend."""
    made = figure(max(7.0, 3.6 * min(len(panels), 2)), 3.9 if len(panels) <= 2 else 6.6)
    grid = list(made.subplots(-(-len(panels) // 2), min(len(panels), 2), squeeze=False, sharey=True).flat)
    names = list(dict.fromkeys(line.name for _, found in panels for line in found))
    handles: dict[str, Any] = {}
    for axes, (title, found) in zip(grid, panels, strict=False):
        for line in found:
            handles.setdefault(line.name, _draw(axes, line, names.index(line.name)))
        axes.set_title(title, fontsize=10)
        _plain(axes, x, y if axes.get_subplotspec().is_first_col() else "")
        axes.set_ylim(0, top and 1.03 * top)  # a mark at the top is whole
        axes.set_xlim(left=0)
    for axes in grid[len(panels) :]:
        axes.remove()
    made.legend(handles.values(), handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return made


def _draw(axes: Any, line: Line, number: int) -> Any:
    if line.published:
        return axes.plot(line.x, line.y, "x", color="#777777", ms=6, mew=1.6)[0]
    color, dash = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
    if line.low is not None and line.high is not None:
        axes.fill_between(
            line.x, line.low, line.high, step="pre" if line.steps else None, color=color, alpha=0.1, lw=0
        )
    if line.steps:
        return axes.step(line.x, line.y, where="pre", color=color, ls=dash)[0]
    return axes.plot(line.x, line.y, color=color, ls=dash, marker="o", ms=3.5)[0]


def bars(
    rows: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    x: str,
    top: float | None = 100,
) -> Figure:
    """Lying bars: for each row one of every series, (name, values); None is told as not run."""
    made = figure(7.2, 1.3 + 0.17 * len(rows) * (len(series) + 0.8))
    axes = made.subplots()
    high = 0.8 / len(series)
    for number, (name, values) in enumerate(series):
        at = [row + (number - (len(series) - 1) / 2) * high for row in range(len(rows))]
        for y, value in zip(at, values, strict=True):
            if not value:  # a bar of nothing is not seen
                axes.text(
                    0, y, " not run" if value is None else " 0", va="center", fontsize=6, color="#777777"
                )
        color = COLORS[number % len(COLORS)]
        axes.barh(at, [value or 0 for value in values], high * 0.9, color=color, label=name)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.invert_yaxis()
    _plain(axes, x, "", along="x")
    axes.set_xlim(0, top)
    if len(series) > 1:
        made.legend(loc="outside lower center", ncols=min(3, len(series)), frameon=False, fontsize=8)
    return made


def points(found: Sequence[tuple[str, float, float, float]], *, x: str, y: str, size: str) -> Figure:
    """A disc for each (name, x, y, size), whose area is `size`."""
    made = figure(7.2, 4.8)
    axes = made.subplots()
    for number, (name, at, up, area) in enumerate(found):
        color = COLORS[number % len(COLORS)]
        axes.scatter([at], [up], s=5 * area, color=color, alpha=0.6, lw=0, clip_on=False)
        axes.plot([], [], "o", color=color, alpha=0.6, label=f"{name} ({size.split(':')[0]}: {area:.0f})")
    _plain(axes, x, f"{y}   (area: {size})")
    axes.set(xlim=(0, 103), ylim=(-4, 103))
    made.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return made


def pictures(rows: Sequence[Sequence[np.ndarray]], heads: Sequence[str], sides: Sequence[str]) -> Figure:
    """Images (H,W,3) uint8 in rows, the columns headed, a word at the side of each row."""
    made = figure(1.25 * len(heads) + 0.8, 1.3 * len(rows) + 0.4)
    grid = made.subplots(len(rows), len(heads), squeeze=False)
    for line, images, side in zip(grid, rows, sides, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(side, fontsize=8)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=8)
    return made


def _plain(axes: Any, x: str, y: str, along: str = "y") -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(axis=along, color="#ebedf0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
