from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from run_files import certificates, settings

from api_smoothing.report.rows import NEVER, counted_of, reach_of


@pytest.mark.parametrize(
    ("method", "radius", "radii", "reach"),
    [
        ("fixed", 0.3, [], 0.3),
        ("fixed", 0.3, [(0.0, True), (0.25, True), (0.5, False)], 0.3),
        ("fixed", 0.05, [(0.1, False)], 0.05),
        ("sequential", 0.3, [], 0.3),
        ("sequential", 0.3, [(0.0, True), (0.25, True), (0.5, False)], 0.25),
        ("sequential", 0.05, [(0.1, False), (0.25, None)], 0.0),
        ("sequential", 0.27, [(0.1, True), (0.25, False)], 0.25),
    ],
)
def test_what_counts_of_several_radii(
    method: str, radius: float, radii: list[tuple[float, bool | None]], reach: float
) -> None:
    """All that one bound of a fixed number proves; of votes that stopped early what was asked."""
    (one,) = certificates(1, settings(), seed=3)
    listed: Any = tuple({"radius": r, "label": "x" if ok else None, "reached": ok, "n": 9} for r, ok in radii)
    found = counted_of(replace(one, label="x", method=method, radius=radius, radii=listed))
    assert found == reach
    assert reach_of(replace(one, label="x", method=method, radius=radius, radii=listed)) == max(radius, reach)
    assert reach_of(replace(one, label=None, method=method, radius=radius, radii=())) == NEVER
