"""Who pays for queries: the interface of the budgets, in this process or on disk (ledger)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Queries taken out of the budget before they are sent: `granted` may be sent, once; `unpaid` found no room."""

    granted: tuple[int, ...]
    unpaid: tuple[int, ...] = ()
    entry: int = 0


class BudgetAccount(Protocol):
    """A budget. What is reserved is spent, unless it is settled as never sent. Thread-safe."""

    def spent(self) -> tuple[int, int]:
        """Queries and micro-dollars spent, reservations included."""
        ...

    def today(self) -> int:
        """Micro-dollars that all runs of the account have spent this day (UTC), reservations included."""
        ...

    def affordable(self) -> int | None:
        """How many more queries the budget allows; None when it sets no limit."""
        ...

    def reserve(self, stream: str, indices: Sequence[int], *, leave: int = 0) -> Reservation:
        """Take queries out of the budget before they are sent, as many as it allows when `leave` others are kept."""
        ...

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        """Close a reservation: its queries were sent (whatever came of it), or surely never left."""
        ...

    def cost_usd(self, queries: int) -> float:
        """What `queries` cost."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
