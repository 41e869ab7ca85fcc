"""Where files lie: every file that runs make has its row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.home import home

PAGE = (Path(__file__).parents[2] / "docs" / "places.md").read_text(encoding="utf-8")
GREY = np.full((96, 96, 3), 128, np.uint8)


def names(folder: Path) -> set[str]:
    """The files in a folder, without those that SQLite makes beside its own."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {re.sub(r"-(wal|shm)$", "", name) for name in found}


def test_every_file_of_a_home_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model here, a service that costs and a folder of answers of one's own make no file that is not told."""
    pytest.importorskip("requests")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    elsewhere = tmp_path / "elsewhere"
    with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, fingerprint="here") as api:
        api.certify(GREY, n=20)
    for cache in (True, elsewhere):
        with SmoothedAPI(
            "http", sandbox=True, denoiser=None, size=96, cache=cache, budget=Budget(run="a", usd=1)
        ) as api:
            api.certify(GREY, n=20)
    told = set(re.findall(r"`([\w/.-]+)`", PAGE))
    made = names(home())
    assert {"seed", "ledger.db", "votes/paid.db"} <= made
    assert made <= told
    assert names(tmp_path / "machine") <= told
    assert names(elsewhere) <= {Path(name).name for name in told}
    assert (elsewhere / "ledger.db").is_file()
    modes = {path: oct(path.stat().st_mode & 0o777) for path in [home(), *home().rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {mode for path, mode in modes.items() if path.is_file()} == {"0o600"}
