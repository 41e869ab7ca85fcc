from __future__ import annotations

from pathlib import Path

import pytest
from run_files import certificates, run_file, settings, write

from api_smoothing.recorded.summary import certified_at
from api_smoothing.report import read
from api_smoothing.report.entries import entries_of, names_of


def test_runs_are_named_by_what_differs(tmp_path: Path) -> None:
    """By the first settings that tell them apart, else by their files; no name twice."""

    def named(*changes: dict[str, object]) -> list[str]:
        return names_of(
            [read(run_file(tmp_path / f"run{i}.jsonl", 1, **more)) for i, more in enumerate(changes)]
        )

    assert named({}) == ["google@sandbox"]
    assert named({}, {"sigma": 0.5}) == ["σ = 0.25", "σ = 0.5"]
    assert named({}, {"provider": "aws"}, {"sigma": 0.5})[2] == "google@sandbox, σ = 0.5"
    assert named({"denoiser": None}, {}) == ["no denoiser", "unet-cifar10"]
    assert named({}, {"n": None}) == ["n = 1000", "stopped early"]
    assert named({}, {}) == ["google@sandbox (run0)", "google@sandbox (run1)"]
    assert named({"epoch": "may"}, {"epoch": "june"}) == ["epoch may", "epoch june"]


@pytest.mark.parametrize("n", [1000, None])
@pytest.mark.parametrize("truths", [True, False])
def test_the_curve_is_the_summary_at_every_radius_of_it(tmp_path: Path, n: int | None, truths: bool) -> None:
    """Two ways to count the same: the curve's step at a radius is the summary's share there, interval and all."""
    given = settings(n=n)
    found = certificates(150, given, truths=truths, seed=5)
    clean = {c.image: c.label if i % 3 else "cat" for i, c in enumerate(found)}
    run = read(write(tmp_path / "run.jsonl", given, found, clean=clean, unreadable=["gone.png"]))
    (entry,) = entries_of([run])
    assert entry.asked == [0.0, 0.1, 0.25, 0.5]
    for at in entry.summary.radii:
        step = entry.curve.at(at.radius)
        assert (at.certified.k, at.certified.n) == (entry.curve.k[step], entry.curve.n)
        assert at.certified.low == pytest.approx(entry.curve.low[step], abs=1e-9)
        assert at.certified.high == pytest.approx(entry.curve.high[step], abs=1e-9)
        certified = {c.image for c in run.certificates if certified_at(c, at.radius) is not None}
        reaching = {
            name for name, r in zip(entry.rows.ids, entry.rows.counted, strict=True) if r >= at.radius
        }
        assert certified == reaching


def test_the_claim_speaks_of_the_middle_radius(tmp_path: Path) -> None:
    (entry,) = entries_of([read(run_file(tmp_path / "run.jsonl", 3))])
    assert entry.headline == 0.25
    (entry,) = entries_of([read(run_file(tmp_path / "one.jsonl", 3, radii=[0.0]))])
    assert entry.headline == 0.0
