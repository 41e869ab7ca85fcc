"""Shared fixtures. Data outside the repository is optional: tests that want it skip without it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("reference data not present beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's secret seed, cache or configuration, or waits for another one's turn."""
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("API_SMOOTH_MACHINE", str(tmp_path / "machine"))
