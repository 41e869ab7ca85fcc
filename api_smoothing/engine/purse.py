"""The budget of a run, shared by its images and threads: reserved before a query, never exceeded."""

from __future__ import annotations

import math
import threading

from api_smoothing.results import Budget

MICRO = 1_000_000


class Purse:
    """Counts queries and micro-dollars against a Budget. Money is kept in whole micro-dollars, rounded up."""

    def __init__(self, budget: Budget, *, usd_per_query: float) -> None:
        self._price = math.ceil(usd_per_query * MICRO - 1e-9)
        self._queries_left = budget.queries
        self._money_left = None if budget.usd is None else math.floor(budget.usd * MICRO + 1e-9)
        self._lock = threading.Lock()

    def affordable(self) -> int | None:
        """How many more queries the budget allows; None when it sets no limit."""
        with self._lock:
            return self._affordable()

    def reserve(self, queries: int) -> int:
        """Take up to `queries` out of the budget; returns how many were taken."""
        with self._lock:
            limit = self._affordable()
            taken = queries if limit is None else min(queries, limit)
            if self._queries_left is not None:
                self._queries_left -= taken
            if self._money_left is not None:
                self._money_left -= taken * self._price
            return taken

    def cost_usd(self, queries: int) -> float:
        """What `queries` cost."""
        return queries * self._price / MICRO

    def _affordable(self) -> int | None:
        limits = [] if self._queries_left is None else [self._queries_left]
        if self._money_left is not None and self._price:
            limits.append(self._money_left // self._price)
        return min(limits, default=None)
