"""Everything a storage keeps, opened once."""

from __future__ import annotations

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage import Storage
from api_smoothing.results import Budget


def use(storage: Storage) -> None:
    """Open everything a storage has."""
    storage.seed(None)
    for kept in (
        storage.answers(paid=True),
        storage.looks(),
        storage.budget(Budget(), run="r", provider="p", micro_usd=1),
        storage.limiter("k", [Quota(unit="image", count=5)]),
    ):
        assert kept is not None
        kept.close()
