from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from run_files import run_file

from api_smoothing.errors import MissingExtraError
from api_smoothing.report import plot, read


def test_the_figure_has_a_line_and_a_band_a_run(tmp_path: Path) -> None:
    """The line is the curve; a name with a dollar is no formula."""
    pytest.importorskip("matplotlib")
    run = read(run_file(tmp_path / "run.jsonl", 80))
    other = read(run_file(tmp_path / "other.jsonl", 80, provider="a$b$"))
    figure = plot([run, other])
    (axes,) = figure.axes
    line = axes.lines[0]
    right = [c.radius for c in run.certificates if c.item and c.label == c.item["truth"]]
    for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
        assert y == pytest.approx(100 * sum(r >= x for r in right) / 80)
    assert len(axes.collections) == 2
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert np.isfinite(axes.get_ylim()).all()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[evaluate\]'"):
        plot([read(run_file(tmp_path / "run.jsonl", 3))])
