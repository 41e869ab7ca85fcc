"""The frame of a chart as hand-written SVG: scales, ticks, grid and labels, once wide and once for a phone.

Text in an SVG shrinks with it, so that a chart is drawn at two widths and the style sheet shows one of them. Colours
are classes (`r0`, `r1`, … a run; `axis`, `grid`), as the page's policy allows no style attribute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from api_smoothing.report.words import escaped

Width = Literal["wide", "narrow"]

_SIZES: Final[dict[Width, tuple[int, int]]] = {"wide": (1024, 410), "narrow": (360, 300)}
_MARGINS: Final[dict[Width, tuple[int, int, int, int]]] = {
    "wide": (60, 16, 14, 50),
    "narrow": (44, 10, 12, 44),
}
_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Data (x from 0 to `x_max`, y from `y_min` to `y_max`, perhaps `log`) on a plane of `width` × `height` units."""

    size: Width
    x_max: float
    y_min: float
    y_max: float
    log: bool = False

    @property
    def width(self) -> int:
        return _SIZES[self.size][0]

    @property
    def height(self) -> int:
        return _SIZES[self.size][1]

    @property
    def left(self) -> int:
        return _MARGINS[self.size][0]

    @property
    def right(self) -> int:
        return self.width - _MARGINS[self.size][1]

    @property
    def top(self) -> int:
        return _MARGINS[self.size][2]

    @property
    def bottom(self) -> int:
        return self.height - _MARGINS[self.size][3]

    def x(self, value: float) -> float:
        """The place of `value` from the left."""
        return round(self.left + (self.right - self.left) * min(value / self.x_max, 1.0), 1)

    def y(self, value: float) -> float:
        """The place of `value` from the top."""
        low, high = (self.y_min, self.y_max) if not self.log else (math.log(self.y_min), math.log(self.y_max))
        part = ((math.log(value) if self.log else value) - low) / (high - low)
        return round(self.bottom - (self.bottom - self.top) * min(max(part, 0.0), 1.0), 1)


def drawn(
    frame: Frame,
    inside: str,
    *,
    name: str,
    about: str,
    x_label: str,
    y_ticks: Sequence[float],
    y_text: Callable[[float], str],
    x_ticks: Sequence[float] | None = None,
) -> str:
    """A whole <svg> with its axes around what is `inside`. `name` is its id, `about` its description for readers."""
    xs = ticks(frame.x_max, 6 if frame.size == "wide" else 4) if x_ticks is None else x_ticks
    parts = [
        f'<svg class="chart {frame.size}" viewBox="0 0 {frame.width} {frame.height}" role="img"'
        f' aria-label="{escaped(about)}" data-chart="{name}" data-left="{frame.left}"'
        f' data-right="{frame.right}" data-top="{frame.top}" data-bottom="{frame.bottom}"'
        f' data-xmax="{frame.x_max:g}">'
    ]
    for value in y_ticks:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left} {y}H{frame.right}"/>')
        parts.append(
            f'<text class="tick" x="{frame.left - 8}" y="{y + 4}" text-anchor="end">{y_text(value)}</text>'
        )
    for value in xs:
        x = frame.x(value)
        parts.append(f'<path class="axis" d="M{x} {frame.bottom}v5"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{frame.bottom + 19}" text-anchor="middle">{value:g}</text>'
        )
    parts.append(f'<path class="axis" d="M{frame.left} {frame.bottom}H{frame.right}"/>')
    middle = (frame.left + frame.right) / 2
    parts.append(
        f'<text class="label" x="{middle:g}" y="{frame.height - 6}"'
        f' text-anchor="middle">{escaped(x_label)}</text>'
    )
    return "".join([*parts, inside, "</svg>"])


def ticks(most: float, count: int) -> list[float]:
    """Round numbers from 0 to `most`, about `count` of them."""
    step = nice(most / count)
    return [round(i * step, 10) for i in range(int(most / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … within [low, high]; powers of ten alone where those are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) <= 2.3 else (1,)
    return [m * 10.0**d for d in decades for m in steps if low * 0.999 <= m * 10.0**d <= high * 1.001]


def nice(value: float) -> float:
    """The next round number at or above `value`."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in _NICE if m * power >= value * (1 - 1e-9))
