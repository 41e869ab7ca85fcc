"""Queries that cost money are sent only with consent: the one place where it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.adapters.base import AdapterCard


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
    print(f"{offer}; send it? [y/N] ", end="", file=sys.stderr, flush=True)
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
