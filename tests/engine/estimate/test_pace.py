"""How long a query takes here: as it did, or as a table has it."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from api_smoothing import SmoothedAPI
from api_smoothing.adapters import AdapterCard
from api_smoothing.engine.estimate.pace import Pace, pace, remember
from api_smoothing.engine.sending import stopwatch
from api_smoothing.home import home, machine

CARD = AdapterCard(name="local", fingerprint="1", accepts="tensor")


def test_before_the_first_run_the_pixels_count() -> None:
    """Nothing seen yet: more pixels take longer, no denoiser less, and the answer is unsure by a factor."""
    small, large = (pace(CARD, denoiser="unet", size=side) for side in (32, 224))
    assert large.query > 5 * small.query > 5 * pace(CARD, denoiser=None, size=32).query
    low, expected, high = small.seconds(100, rate=None)
    assert 0 < low < expected / 2 < high / 4


def test_a_machine_that_is_shared_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten programs a core: a tenth of the speed, as the estimate says; where nobody counts them, as if alone."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.3, 0.0, 0.0))
    alone = pace(CARD, denoiser="unet", size=32)
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 0.0, 0.0))
    shared = pace(CARD, denoiser="unet", size=32)
    assert (alone.busy, shared.busy) == (1.0, 10.0)
    assert shared.query == pytest.approx(10 * alone.query)
    with SmoothedAPI(lambda x: [0] * len(x), denoiser=None) as api:
        assert "10 programs share each of its cores" in " ".join(api.estimate(1, n=100).assumptions)
    monkeypatch.delattr(os, "getloadavg")
    assert pace(CARD, denoiser="unet", size=32) == alone


def test_a_run_is_remembered_and_the_newest_counts_most() -> None:
    """Seconds a query are those of earlier runs of the same provider, denoiser and size, the last one foremost."""
    remember(CARD, denoiser="unet", size=32, queries=1000, seconds=20.0)
    assert pace(CARD, denoiser="unet", size=32).query == pytest.approx(0.02)
    assert not pace(CARD, denoiser="unet", size=64).remembered
    remember(CARD, denoiser="unet", size=32, queries=100, seconds=10.0)
    assert (latest := pace(CARD, denoiser="unet", size=32).query) == pytest.approx(11 / 150)
    remember(replace(CARD, fingerprint=""), denoiser="unet", size=32, queries=100, seconds=10.0)
    remember(CARD, denoiser="unet", size=32, queries=3, seconds=10.0)
    assert pace(CARD, denoiser="unet", size=32).query == latest, "three queries tell only what loading takes"


def test_a_broken_memory_is_none() -> None:
    """What is remembered is a convenience: junk in the file is as no file, and is written over."""
    file = (machine() or home()) / "pace.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{")
    assert not pace(CARD, denoiser=None, size=32).remembered
    remember(CARD, denoiser=None, size=32, queries=100, seconds=1.0)
    assert pace(CARD, denoiser=None, size=32).remembered


def test_the_slower_of_quota_and_machine_decides() -> None:
    """Denoising goes on while requests wait for their quota: the time is that of the slower one, plus the waits."""
    assert Pace(query=0.1, image=2.0).seconds(100, rate=100) == (12.0, 12.0, 12.0)
    assert Pace(query=0.001, image=2.0).seconds(100, rate=10) == (12.0, 12.0, 12.0)
    assert Pace(query=0.1, image=2.0).seconds(0, rate=10) == (0.0, 0.0, 0.0)


def test_an_estimate_after_a_run_has_the_runs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What took a fiftieth of a second a query is estimated to take that, by another object too."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def slow(images):  # type: ignore[no-untyped-def]
        now[0] += 0.02 * len(images)
        return [0] * len(images)

    grey = np.full((16, 16, 3), 128, np.uint8)
    before = SmoothedAPI(slow, denoiser=None, seed=0, fingerprint="v1").estimate(1, n=100).seconds_expected
    with SmoothedAPI(slow, denoiser=None, seed=0, fingerprint="v1") as api:
        api.certify(grey, n=100)
    after = SmoothedAPI(slow, denoiser=None, seed=0, fingerprint="v1").estimate(1, n=100)
    assert before < 1.5
    assert after.seconds_expected == pytest.approx(2.0)
    assert any("as in earlier runs" in line for line in after.assumptions)
