"""What a facade is put together from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from counting_service import GREY, CountingService, api_of

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.engine import parts
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home


@pytest.mark.parametrize(
    "budget", [{"usd": float("inf")}, {"queries": 2.5}, {"usd": "2"}], ids=["inf", "fraction", "text"]
)
def test_a_budget_is_a_number(budget: dict[str, Any]) -> None:
    """What cannot be a budget is refused in one line."""
    with pytest.raises(ConfigurationError):
        api_of(CountingService(), budget=Budget(**budget)).predict(GREY, n=5)


def test_a_cache_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Whoever names a folder for paid answers gets it, or is told why not."""
    service = CountingService(fingerprint="")
    try:
        for _ in range(2):
            api_of(service, cache=tmp_path).predict(GREY, n=10)
    except ConfigurationError:
        return
    assert service.seen == 10


def queries(service: CountingService, **options: Any) -> int:
    """How many queries were sent for twenty votes."""
    with SmoothedAPI(service, denoiser=None, **options) as api:
        return api.predict(GREY, n=20).queries


def test_store_memory_writes_nothing() -> None:
    """With "memory" there is no file, not even a seed, and another object starts anew."""
    service = CountingService()
    assert [queries(service, store="memory") for _ in range(2)] == [20, 20]
    assert not home().exists()


def test_a_storage_that_is_handed_in_is_shared_and_left_open() -> None:
    """Objects with one Storage share answers, budgets and seed, also after one of them was closed."""
    service, store = CountingService(), MemoryStorage()
    budget = Budget(queries=25, run="r")
    assert [queries(service, store=store, budget=budget) for _ in range(2)] == [20, 0]
    with SmoothedAPI(service, denoiser=None, store=store, budget=budget, sigma=0.5) as api:
        assert api.predict(GREY, n=20).queries == 5
    assert service.seen == 25
    assert not home().exists()


def test_what_cannot_be_named_is_nobody_elses() -> None:
    """Answers of a provider without a fingerprint are kept for the object only, whatever the storage."""
    service, store = CountingService(fingerprint=""), MemoryStorage()
    assert [queries(service, store=store) for _ in range(2)] == [20, 20]


def test_the_folder_is_the_default(tmp_path: Path) -> None:
    """Without a store the storage is the installation's folder, with its answers where `cache` says."""
    for cache, folder in ((True, home() / "votes"), (str(tmp_path / "x"), tmp_path / "x")):
        storage = parts.storage(None, cache)
        assert isinstance(storage, FolderStorage)
        assert storage.folder == folder


@pytest.mark.parametrize(
    ("store", "cache", "word"),
    [
        ("postgresql://db/x", True, "not built yet"),
        ("postgres://db/x", True, "not built yet"),
        ("redis", True, "'memory'"),
        (7, True, "int"),
        ("memory", "folder", "cache"),
        (MemoryStorage(), "folder", "cache"),
        (MemoryStorage(), False, "cache"),
    ],
)
def test_a_store_that_cannot_be_is_refused(store: Any, cache: Any, word: str) -> None:
    """One line that says what is wrong, before anything is made."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        parts.storage(store, cache)
    assert "\n" not in str(caught.value)
    assert not home().exists()
