"""Queries that cost money are sent only with consent: the one place where it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.adapters.base import AdapterCard

#: US dollars a run may cost without a question.
ASKED: Final = 1.0


def agreed(card: AdapterCard, *, free: bool = False, yes: bool = False) -> bool:
    """Say what one query to the provider of `card` costs; where it costs something, whether the user wants it sent.

    A model on this machine is nobody's question. `free` is for queries that are not charged, as to a sandbox, and `yes`
    agrees beforehand. Raises ConfigurationError where nobody can be asked.
    """
    from api_smoothing.engine.estimate.pricing import price

    if card.accepts == "tensor":
        return True
    cost = price(card)
    if free or not (cost.micro_usd or cost.usd_per_hour):
        print(f"api-smooth: one query to {shown(card.provider)}, free of charge", file=sys.stderr)
        return True
    offer = _offer(card)
    if yes:
        print(f"api-smooth: {offer}", file=sys.stderr)
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{offer}; add --yes to send it")
    return _asked(f"{offer}; send it? [y/N] ")


def agreed_to_range(low: float, high: float, *, yes: bool = False) -> bool:
    """Say what a run will cost, from `low` to `high` US dollars; above ASKED, whether the user at a terminal wants it.

    `yes` agrees beforehand. Where nobody can be asked the range is said, and the budget is the limit.
    """
    if not high:
        return True
    told = f"${high:,.2f}" if round(low, 2) == round(high, 2) else f"${low:,.2f} to ${high:,.2f}"
    told = f"api-smooth: this will cost {told if high >= 0.01 else 'less than a cent'}"
    if high > ASKED and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        return _asked(f"{told}; go on? [y/N] ")
    print(told, file=sys.stderr)
    return True


def _asked(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("api-smooth: nothing was sent", file=sys.stderr)
    return False


def _offer(card: AdapterCard) -> str:
    from datetime import date

    from api_smoothing.engine.estimate.pricing import dollars, price

    cost = price(card)
    offer = f"one query to {shown(card.provider)} costs {dollars(cost.micro_usd / 1e6)}"
    if cost.usd_per_hour is not None:
        offer += f", besides {dollars(cost.usd_per_hour)} an hour while the model runs"
    if cost.as_of is not None:
        offer += f" (price seen on {cost.as_of}{', long ago' if cost.stale(date.today()) else ''})"
    return offer
