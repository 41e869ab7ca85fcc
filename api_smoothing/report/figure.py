"""The curve as a matplotlib figure, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from api_smoothing.errors import MissingExtraError
from api_smoothing.report.entries import Entry, accuracy_of, entries_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from api_smoothing.recorded.run import Run

_COLORS: Final = ("#1f5fbf", "#a8480f", "#0b6e69", "#7a3fb0", "#a81f5c", "#5b6600", "#4a5568", "#8a5a00")
_DASHES: Final = ("-", "--", ":", "-.")


def plot(runs: Iterable[Run]) -> Figure:
    """Certified accuracy against radius with exact 95 % bands, a line a run.

    Raises MissingExtraError, with the pip line, without matplotlib.
    """
    return draw(entries_of(runs))


def draw(entries: Sequence[Entry]) -> Figure:
    """As `plot`, of runs that are read already."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a plot needs matplotlib: pip install 'api-smooth[evaluate]'") from None
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no window, no global state
    axes = figure.add_subplot()
    for i, entry in enumerate(entries):
        color, curve = _COLORS[i % len(_COLORS)], entry.curve
        axes.fill_between(
            curve.radius, 100 * curve.low, 100 * curve.high, step="pre", color=color, alpha=0.13, lw=0
        )
        name = entry.name.replace("$", r"\$")
        axes.step(
            curve.radius,
            100 * curve.share,
            where="pre",
            color=color,
            ls=_DASHES[i % len(_DASHES)],
            label=name,
        )
        for radius in entry.asked:
            share = 100 * float(curve.share[curve.at(radius)])
            axes.plot([radius], [share], "o", color=color, mfc="white", ms=4.5, clip_on=False, zorder=3)
    norm = entries[0].norm if entries else "ℓ2"
    axes.set(
        xlabel=f"{norm} radius, pixel values in [0, 1]",
        ylabel=f"{accuracy_of(entries).lower()}, %",
        ylim=(0, 100),
    )
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#ebedf0")
    axes.spines[["top", "right"]].set_visible(False)
    if len(entries) > 1:
        axes.legend(frameon=False)
    return figure
