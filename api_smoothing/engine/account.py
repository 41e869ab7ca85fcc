"""Who pays for queries: the interface of the budgets, in this process (purse) or on disk (ledger)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Queries taken out of the budget before they are sent.

    `granted` may be sent, once. `busy` are being asked by someone else just now: their answers will be in the
    cache. The budget has no room for `unpaid`.
    """

    granted: tuple[int, ...]
    busy: tuple[int, ...] = ()
    unpaid: tuple[int, ...] = ()
    entry: int = 0


class Account(Protocol):
    """A budget. What is reserved is spent, unless it is settled as never sent. Thread-safe."""

    def affordable(self) -> int | None:
        """How many more queries the budget allows; None when it sets no limit."""
        ...

    def reserve(self, stream: str, indices: Sequence[int]) -> Reservation:
        """Take queries out of the budget, as many as it allows, before they are sent."""
        ...

    def settle(self, reservation: Reservation, *, sent: bool) -> None:
        """Close a reservation: its queries were sent (whatever came of it), or surely never left."""
        ...

    def busy(self, stream: str, indices: Sequence[int]) -> bool:
        """Whether someone else is asking any of these queries just now."""
        ...

    def cost_usd(self, queries: int) -> float:
        """What `queries` cost."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
