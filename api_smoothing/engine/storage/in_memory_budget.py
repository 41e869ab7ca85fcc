"""The budget of one object, kept in memory: for models that run here and cost nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Final

from api_smoothing.engine.storage.budget import Reservation
from api_smoothing.results import Budget

MICRO: Final = 1_000_000


class Limits:
    """A Budget in whole queries and micro-dollars. Dollars are rounded down, prices are given rounded up."""

    def __init__(self, budget: Budget, *, micro_usd: int) -> None:
        self.micro_usd = micro_usd
        self._queries = budget.queries
        self._money, self._a_day = _whole(budget.usd), _whole(budget.usd_per_day)

    @property
    def most(self) -> tuple[int | None, int | None, int | None]:
        """The limits: queries, micro-dollars, and those of a day; None where there is none."""
        return self._queries, self._money, self._a_day

    def left(self, queries: int, micro_usd: int, today: int = 0) -> int | None:
        """How many more queries fit when these are spent, `today` by all runs of the account; None without a limit."""
        limits = [] if self._queries is None else [self._queries - queries]
        for most, spent in ((self._money, micro_usd), (self._a_day, today)):
            if most is not None and self.micro_usd:
                limits.append((most - spent) // self.micro_usd)
        return max(0, min(limits)) if limits else None

    def cost_usd(self, queries: int) -> float:
        """What `queries` cost."""
        return queries * self.micro_usd / MICRO


def _whole(usd: float | None) -> int | None:
    return None if usd is None else math.floor(usd * MICRO + 1e-6)


class InMemoryBudget:
    """A BudgetAccount that nobody shares and that ends with the process: it knows of no other run of the account."""

    def __init__(self, budget: Budget, *, micro_usd: int = 0) -> None:
        self._limits = Limits(budget, micro_usd=micro_usd)
        self._spent = 0
        self._lock = threading.Lock()

    def spent(self) -> tuple[int, int]:
        with self._lock:
            return self._spent, self._spent * self._limits.micro_usd

    def today(self) -> int:
        return self.spent()[1]

    def affordable(self) -> int | None:
        with self._lock:
            return self._left()

    def _left(self) -> int | None:
        usd = self._spent * self._limits.micro_usd
        return self._limits.left(self._spent, usd, usd)

    def reserve(self, stream: str, indices: Sequence[int], *, leave: int = 0) -> Reservation:
        with self._lock:
            left = self._left()
            taken = len(indices) if left is None else min(len(indices), max(0, left - leave))
            self._spent += taken
        return Reservation(granted=tuple(indices[:taken]), unpaid=tuple(indices[taken:]))

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        if not sent:
            with self._lock:
                self._spent -= len(reservation.granted)

    def cost_usd(self, queries: int) -> float:
        return self._limits.cost_usd(queries)

    def close(self) -> None:
        """Nothing to release."""
