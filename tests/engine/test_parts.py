"""What a facade is put together from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from counting_service import GREY, CountingService, api_of

from api_smoothing import Budget
from api_smoothing.errors import ConfigurationError


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
