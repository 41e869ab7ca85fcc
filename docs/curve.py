"""Draws docs/curve.svg, certified accuracy against the radius, from the README's table: `python docs/curve.py`.

The figures are those of the table and of no other place, so that picture and table cannot differ. Nothing is measured.
"""

from __future__ import annotations

import re
from pathlib import Path

README, OUT = Path(__file__).parents[1] / "README.md", Path(__file__).with_name("curve.svg")
#: The beginning of a row of the table: how its curve is called, its colour, its dashes.
CURVES = {
    "| ResNet-56, `recogniser-cifar10` |": ("recogniser-cifar10, a classifier inside", "#8a3ffc", ""),
    "| ResNet-56 | sequential": ("unet-cifar10, the default denoiser", "#2563a8", ""),
    "| *Salman et al. 2020, ResNet-110": ("Salman et al. 2020, a ResNet-110", "#b4541a", "6 4"),
    "| ResNet-56, no denoiser |": ("no denoiser", "#66727f", "2 4"),
}
RADII = (0.0, 0.25, 0.5, 0.75)
INK, SOFT, LINE, PAPER = "#1f2933", "#66727f", "#d5dbe1", "#ffffff"
LEFT, TOP, WIDTH, HEIGHT = 70, 42, 560, 250


def figures(beginning: str) -> list[tuple[float, float]]:
    """(radius, per cent) of the row of the README's table that begins so; a radius that was not run is left out."""
    (row,) = (line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(beginning))
    cells = [cell.strip(" *") for cell in row.strip("|").split("|")][2:6]
    found = [re.fullmatch(r"([\d.]+) %", cell) for cell in cells]
    return [(radius, float(one[1])) for radius, one in zip(RADII, found, strict=True) if one]


def place(radius: float, per_cent: float) -> tuple[float, float]:
    return LEFT + WIDTH * radius / 0.75, TOP + HEIGHT * (1 - per_cent / 100)


def text(x: float, y: float, words: str, *, color: str = INK, anchor: str = "start", size: int = 13) -> str:
    look = (
        f"font-size='{size}' fill='{color}' text-anchor='{anchor}' font-family='Helvetica,Arial,sans-serif'"
    )
    return f"<text x='{x:.1f}' y='{y:.1f}' {look}>{words}</text>"


def frame() -> list[str]:
    parts = []
    for per_cent in range(0, 101, 25):
        x, y = place(0, per_cent)
        parts += [
            f"<line x1='{x}' y1='{y}' x2='{x + WIDTH}' y2='{y}' stroke='{LINE}'/>",
            text(x - 10, y + 4, f"{per_cent} %", color=SOFT, anchor="end"),
        ]
    for radius in RADII:
        x, y = place(radius, 0)
        parts.append(text(x, y + 20, f"{radius:g}", color=SOFT, anchor="middle"))
    middle = LEFT + WIDTH / 2
    parts.append(text(middle, TOP + HEIGHT + 42, "ℓ2 radius, pixels in [0,1]", color=SOFT, anchor="middle"))
    return parts


def curve(
    points: list[tuple[float, float]], color: str, dashes: str, above: set[tuple[float, float]]
) -> list[str]:
    """One curve; a figure stands above its point, or below where one of the points `above` is near."""
    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
    look = f"stroke='{color}' stroke-width='2.5' stroke-dasharray='{dashes}'"
    parts = [f"<polyline points='{line}' fill='none' {look}/>"]
    for radius, per_cent in points:
        x, y = place(radius, per_cent)
        crowded = any(one == radius and 0 < other - per_cent < 12 for one, other in above)
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{color}'/>")
        parts.append(
            text(
                x + (2 if crowded else 6),
                y + (24 if crowded else -8),
                f"{per_cent:g} %",
                color=color,
                size=12,
            )
        )
    return parts


def legend() -> list[str]:
    parts = []
    for row, (name, color, dashes) in enumerate(CURVES.values()):
        x, y = LEFT + WIDTH + 44, TOP + 24 + 30 * row
        parts += [
            f"<line x1='{x}' y1='{y}' x2='{x + 30}' y2='{y}' stroke='{color}' stroke-width='2.5' "
            f"stroke-dasharray='{dashes}'/>",
            text(x + 38, y + 4, name),
        ]
    return parts


def drawing() -> str:
    title = "Certified accuracy of a ResNet-56 that is only called: CIFAR-10, σ = 0.25, 500 images, α = 0.001"
    told = "; ".join(
        f"{name}: " + ", ".join(f"{per_cent:g} % at {radius:g}" for radius, per_cent in figures(row))
        for row, (name, _, _) in CURVES.items()
    )
    points = {point for row in CURVES for point in figures(row)}
    curves = [part for row, (_, *look) in CURVES.items() for part in curve(figures(row), *look, points)]
    lines = [
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 960 350' role='img' aria-labelledby='t d'>",
        f"<title id='t'>{title}</title>",
        f"<desc id='d'>{told}</desc>",
        f"<rect width='960' height='350' rx='10' fill='{PAPER}'/>",
        text(LEFT, 24, title),
        *frame(),
        *curves,
        *legend(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    OUT.write_text(drawing(), encoding="utf-8")
    print(drawing().split("<desc id='d'>")[1].split("</desc>")[0].replace("; ", "\n"))
