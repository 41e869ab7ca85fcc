"""Storage in memory: nothing is written anywhere, and everything ends with the object."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.answers import MemoryCache
from api_smoothing.engine.storage.base import Contents
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import Ledger, ledger_file, unnamed
from api_smoothing.engine.storage.looks import KeptLooks, looks_file
from api_smoothing.engine.storage.rate import RateLimiter, rate_file
from api_smoothing.results import Budget
from api_smoothing.secret import Seed, fresh_seed, resolve_seed


class MemoryStorage:
    """Shared by whoever is handed this object, in the threads of one process.

    Its secret seed is its own, drawn anew for every object: certificates of two objects have different noise. Its
    limiter does not know of other processes that use the same account. `clock` (the time of day), `steady` and
    `sleep` are as for FolderStorage.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._clock, self._steady, self._sleep = clock, steady, sleep
        self._answers = MemoryCache()
        self._ledger, self._looks, self._rate = ledger_file(None), looks_file(None), rate_file(None)
        self._seed = fresh_seed()

    def answers(self, *, paid: bool, keep: bool = True) -> MemoryCache:
        return MemoryCache(self._answers) if keep else MemoryCache()

    def budget(
        self, budget: Budget, *, run: str | None, provider: str, micro_usd: int, account: str = ""
    ) -> BudgetAccount:
        if run is None and not micro_usd:
            return InMemoryBudget(budget, micro_usd=micro_usd)
        return Ledger(
            self._ledger,
            budget,
            run=run or unnamed(),
            provider=provider,
            micro_usd=micro_usd,
            account=account,
            clock=self._clock,
        )

    def limiter(self, key: str, quotas: Sequence[Quota]) -> RateLimiter | None:
        if not quotas:
            return None
        return RateLimiter(self._rate, key=key, quotas=quotas, clock=self._steady, sleep=self._sleep)

    def looks(self, *, keep: bool = True) -> KeptLooks:
        return KeptLooks(self._looks if keep else looks_file(None), clock=self._clock)

    def seed(self, value: int | None) -> Seed:
        return self._seed if value is None else resolve_seed(value)

    def contents(self) -> Contents:
        counts = [answers for _, _, answers in self._answers.streams()]
        return Contents(answers=sum(counts), streams=len(counts))

    def clear(self) -> int:
        return self._answers.clear()

    def close(self) -> None:
        """Nothing is held open."""
