"""Shared fixtures. Data outside the repository is optional: tests that want it skip without it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

from api_smoothing import testing
from api_smoothing.adapters import registry
from api_smoothing.cli.overview import has_package
from api_smoothing.sandbox import PROVIDERS

# The same examples each time, however long one of them takes: a machine may stand still for seconds.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("reference data not present beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's secret seed, cache or configuration, or waits for another one's turn.

    Nor does it find answers that an earlier one, in a folder of the same name, has kept where temporary files are.
    """
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("API_SMOOTH_MACHINE", str(tmp_path / "machine"))
    elsewhere = SimpleNamespace(gettempdir=lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr("api_smoothing.engine.storage.spill.tempfile", elsewhere)


@pytest.fixture(autouse=True)
def idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No estimate of seconds hangs on what else this machine does."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What torch draws without a seed, weights of new networks too, is the same whatever was run before."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.fixture
def before_midnight() -> None:
    """The day (UTC) does not end within the next minutes: who spends a day's budget would get another."""
    if (left := 86_400 - time.time() % 86_400) < 180:
        time.sleep(left + 1)


@pytest.fixture
def no_waits() -> Iterator[None]:
    """What failed is tried again at once."""
    with testing.no_waits():
        yield


@pytest.fixture
def as_from_a_terminal() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt, also where the tests themselves run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    found = signal.signal(signal.SIGINT, before)
    assert found is signal.default_int_handler, "the handler was not given back"


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Every provider that has a sandbox; skips one whose SDK is not installed."""
    package = registry.provider(request.param).package
    if package is not None and not has_package(package):
        pytest.skip(f"the SDK of {request.param} is not installed")
    return str(request.param)
