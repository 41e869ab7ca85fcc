"""Storage in memory and in a folder: the laws of the suite, and what only a folder has to get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.engine.storage.suite import Clock, Heartbeat, StorageSuite
from api_smoothing.engine.storage.whereabouts import Surroundings, Whereabouts, here


def elsewhere() -> Whereabouts:
    """This process, as it would be in another container."""
    return replace(here(), space="pid:[1]")


class TestMemory(StorageSuite):
    @pytest.fixture
    def opened(self, clock: Clock) -> Callable[..., MemoryStorage | None]:
        storage = MemoryStorage(clock=clock, steady=clock, sleep=clock.sleep)
        return lambda elsewhere=False: None if elsewhere else storage


class TestFolder(StorageSuite):
    build = """
from pathlib import Path
from api_smoothing.engine.storage.folder import FolderStorage
storage = FolderStorage(Path(place))
"""

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "home")

    @pytest.fixture
    def opened(self, place: str, clock: Clock, heartbeat: Heartbeat) -> Callable[..., FolderStorage]:
        def once_more(away: bool = False) -> FolderStorage:
            where = elsewhere if away else here
            surroundings = Surroundings(clock=clock, heartbeat=heartbeat, here=where)
            return FolderStorage(Path(place), surroundings=surroundings, steady=clock, sleep=clock.sleep)

        return lambda elsewhere=False: once_more(elsewhere)
