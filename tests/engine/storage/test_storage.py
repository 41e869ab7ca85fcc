"""Storage in memory and in a folder: the laws of the suite, and what only a folder has to get right."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api_smoothing.engine import session
from api_smoothing.engine.storage.base import Storage
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


def test_a_session_builds_none_of_what_it_is_handed() -> None:
    """The session knows of storage what the interface says, and the modules that keep it are not imported there."""
    source = (Path(session.__file__)).read_text(encoding="utf-8")
    imported = {
        name.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("api_smoothing.engine.storage")
        for name in node.names
    }
    assert imported <= {"Asked", "BudgetAccount", "Storage", "stream_name"}


@pytest.mark.parametrize(
    "storage", [MemoryStorage(), FolderStorage(Path("nowhere"))], ids=["memory", "folder"]
)
def test_both_are_storages(storage: object) -> None:
    """What claims the interface has all of it."""
    assert isinstance(storage, Storage)


def test_two_memories_have_two_secrets() -> None:
    """The secret seed of a storage in memory is nobody else's, and is written nowhere."""
    assert MemoryStorage().seed(None) != MemoryStorage().seed(None)
