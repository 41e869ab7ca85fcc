"""The report's charts: certified accuracy with bands, cost against radius, queries an image took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.report.curves import Curve
from api_smoothing.report.frames import Frame, Width, drawn, log_ticks, nice, ticks

WIDTHS: Final[tuple[Width, ...]] = ("wide", "narrow")
_APART: Final = 0.6  # units on the plane below which a step is not seen


def accuracy(curves: Sequence[Curve], asked: Sequence[Sequence[float]], *, norm: str, about: str) -> str:
    """Certified accuracy of each run at every radius, with its band; a mark at each radius that was `asked`."""
    most = x_max(curves, asked)
    pictures = []
    for size in WIDTHS:
        frame = Frame(size=size, x_max=most, y_min=0.0, y_max=1.0)
        bands = [_band(frame, curve, i) for i, curve in enumerate(curves)]
        lines = [_line(frame, curve.radius, curve.share, i) for i, curve in enumerate(curves)]
        marks = [
            f'<circle class="mark r{i}" cx="{frame.x(r)}" cy="{frame.y(float(c.share[c.at(r)]))}" r="3.5"/>'
            for i, (c, radii) in enumerate(zip(curves, asked, strict=True))
            for r in radii
        ]
        guide = f'<path class="guide" d="M{frame.left} {frame.top}V{frame.bottom}"/>'
        pictures.append(
            drawn(
                frame,
                "".join([*bands, *lines, *marks, guide]),
                name="accuracy",
                about=about,
                x_label=f"{norm} radius, pixel values in [0, 1]",
                y_ticks=[0.0, 0.25, 0.5, 0.75, 1.0],
                y_text=lambda v: f"{100 * v:.0f} %",
            )
        )
    return "".join(pictures)


def cost(curves: Sequence[Curve], totals: Sequence[float], *, norm: str, unit: str, about: str) -> str | None:
    """What one image that is certified right costs at each radius: all that was spent over how many there are."""
    drawable = [
        (i, c, t) for i, (c, t) in enumerate(zip(curves, totals, strict=True)) if t > 0 and c.k[0] > 0
    ]
    if not drawable:
        return None
    most = x_max(curves, [[]])
    shares = [(i, c.radius[c.k > 0], t / c.k[c.k > 0]) for i, c, t in drawable]
    low = min(float(y[0]) for _, _, y in shares)
    high = max(float(y[-1]) for _, _, y in shares)
    low, high = low / 1.25, max(high, low * 4) * 1.1
    pictures = []
    for size in WIDTHS:
        frame = Frame(size=size, x_max=most, y_min=low, y_max=high, log=True)
        pictures.append(
            drawn(
                frame,
                "".join(_line(frame, x, y, i) for i, x, y in shares),
                name="cost",
                about=about,
                x_label=f"{norm} radius, pixel values in [0, 1]",
                y_ticks=log_ticks(low, high),
                y_text=lambda v: _amount(v, unit),
            )
        )
    return "".join(pictures)


def histogram(answers: NDArray[np.int64], run: int, *, most: int, about: str) -> str:
    """How many images took how many answers, in bins that double by quarters; all runs up to the same `most`."""
    edges = np.unique(np.concatenate([[0, 1], np.ceil(np.geomspace(1, max(most, 2), 25))])).astype(np.int64)
    edges[-1] = max(edges[-1], most) + 1
    counts, _ = np.histogram(answers, bins=edges)
    y_max = nice(float(counts.max(initial=1)))
    frame = Frame(size="narrow", x_max=float(len(counts)), y_min=0.0, y_max=y_max)
    bars = []
    for i, count in enumerate(counts):
        if count:
            x, y, end = frame.x(i), frame.y(float(count)), frame.x(i + 1)
            first, last = edges[i], edges[i + 1] - 1
            words = f"{first:,}" if first == last else f"{first:,} to {last:,}"
            bars.append(
                f'<rect class="bar r{run}" x="{x + 0.5:g}" y="{y}" width="{max(end - x - 1, 1):.1f}" '
                f'height="{frame.bottom - y:.1f}"><title>{words} answers: {count:,} images</title></rect>'
            )
    return drawn(
        frame,
        "".join([*bars, _under(frame, edges)]),
        name="histogram",
        about=about,
        x_label="queries an image took",
        x_ticks=[],
        y_ticks=[v for v in ticks(y_max, 4) if v == int(v)],
        y_text=lambda v: f"{v:,.0f}",
    )


def votes_bar(shares: Sequence[tuple[str, int]], total: int) -> str:
    """One bar of all answers about an image: the label's first, others after it, what voted for nothing left blank."""
    parts, x = [], 0.0
    for rank, (_, count) in enumerate(shares):
        width = 200.0 * count / max(total, 1)
        shade = "own" if rank == 0 else "next" if rank == 1 else "rest"
        parts.append(
            f'<rect class="{shade}" x="{x:.1f}" y="0" width="{max(width - 0.6, 0.4):.1f}" height="8"/>'
        )
        x += width
    half = '<path class="half" d="M100 -1V9"/>'
    return (
        '<svg class="votes" viewBox="0 -1 200 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="none" x="0" y="0" width="200" height="8"/>{"".join(parts)}{half}</svg>'
    )


def _under(frame: Frame, edges: NDArray[np.int64]) -> str:
    """The first number of every few bins, below their left edges."""
    every = max(1, round(len(edges) / 5))
    return "".join(
        f'<text class="tick" x="{frame.x(i)}" y="{frame.bottom + 19}"'
        f' text-anchor="middle">{edges[i]:,}</text>'
        for i in range(0, len(edges) - 1, every)
    )


def _band(frame: Frame, curve: Curve, run: int) -> str:
    upper = _steps(frame, curve.radius, curve.high)
    lower = _steps(frame, curve.radius, curve.low)
    path = "L".join(f"{x} {y}" for x, y in [*upper, *reversed(lower)])
    return f'<path class="band r{run}" d="M{path}Z"/>'


def _line(frame: Frame, radius: NDArray[np.float64], value: NDArray[np.float64], run: int) -> str:
    path = "L".join(f"{x} {y}" for x, y in _steps(frame, radius, value))
    return f'<path class="line r{run}" d="M{path}"/>'


def _steps(
    frame: Frame, radius: NDArray[np.float64], value: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """The corners of a step function that can be told apart on the plane."""
    x, y = frame.x(float(radius[0])), frame.y(float(value[0]))
    corners = [(x, y)]
    for r, v in zip(radius[1:].tolist(), value[1:].tolist(), strict=True):
        new_x, new_y = frame.x(r), frame.y(v)
        if new_x - x < _APART and abs(new_y - y) < _APART:
            continue
        if new_y != y:
            corners.append((x, new_y))
        corners.append((new_x, new_y))
        x, y = new_x, new_y
    return corners


def x_max(curves: Sequence[Curve], asked: Sequence[Sequence[float]]) -> float:
    """A round number at or above every radius there is, to which charts and slider go."""
    most = max([*(float(c.radius[-2]) for c in curves), *(r for radii in asked for r in radii)], default=0.0)
    if most <= 0:
        return 1.0
    step = nice(most * 1.04 / 12)
    return round(step * int(np.ceil(most * 1.04 / step)), 10)


def _amount(value: float, unit: str) -> str:
    if unit == "$":
        return f"${value:,.2f}" if value >= 0.1 else f"${value:g}"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
