"""What queries cost: dated tables, a provider's in its folder, which the user's own file overrides.

Dollars are exact decimals throughout. A price table ["PROVIDER/WHAT"] has

    unit            what is billed, "image" if left out
    tiers           US dollars per 1000 units, up to a volume a month; the last tier has no end; none: not billed by use
    usd_per_hour    US dollars an hour while the model runs, whether it is asked or not
    free_per_month  units a month that are not billed; estimates mention them and do not count on them
    as_of, source   when the price was last seen, and the page that decides
    note            what else one should know
    unconfirmed     what was never seen on the page itself: shown with every estimate
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.base import AdapterCard
from api_smoothing.adapters.provider import Provider, text_of
from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.home import answers_folder, home, settings_file
from api_smoothing.private import refuse_writable

#: Queries an image costs beyond its votes, where drift shows only through a canary.
CANARIES: Final = 2

USER_FILE: Final = "pricing.toml"
STALE_DAYS: Final = 180
_MOST: Final = 1_000_000  # dollars per 1000; a larger price is a slip of the pen


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """`usd_per_1000` units, up to `up_to` units a month (None: from there on)."""

    usd_per_1000: Decimal
    up_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of one query, which is one `unit`.

    `usd_per_hour` is billed while the model runs, beside the queries; a budget in dollars does not see it.
    `free_per_month` units are not billed; nothing here counts on them. `as_of` is the day the price was last seen
    at `source`; both are empty for a price that an adapter brought along. `unconfirmed` names what nobody saw there.
    """

    key: str = ""
    unit: str = "image"
    tiers: tuple[Tier, ...] = ()
    usd_per_hour: Decimal | None = None
    free_per_month: int = 0
    as_of: date | None = None
    source: str = ""
    note: str = ""
    unconfirmed: str = ""

    @property
    def micro_usd(self) -> int:
        """What a budget is charged for a query, in whole micro-dollars: at least the bill, whatever the volume."""
        dearest = max((tier.usd_per_1000 for tier in self.tiers), default=Decimal(0))
        return int((dearest * 1000).to_integral_value(ROUND_CEILING))

    def usd(self, queries: int, used_this_month: int = 0) -> float:
        """What `queries` cost after `used_this_month` units of the same month, without free ones."""
        if queries < 0 or used_this_month < 0:
            raise ValueError("queries and units used are counts from 0 on")
        start, end = used_this_month, used_this_month + queries
        total, below = Decimal(0), 0
        for tier in self.tiers:
            top = end if tier.up_to is None else min(end, tier.up_to)
            total += tier.usd_per_1000 * max(0, top - max(start, below))
            below = top if tier.up_to is None else tier.up_to
        return float(total / 1000)

    def stale(self, today: date) -> bool:
        """Whether the price was last seen more than 180 days before `today`."""
        return self.as_of is not None and (today - self.as_of).days > STALE_DAYS

    def describe(self) -> str:
        """The price in words, without its date: "$1.50 per 1,000 images"."""
        parts = [f"{dollars(self.tiers[0].usd_per_1000)} per 1,000 {self.unit}s"] if self.micro_usd else []
        if self.usd_per_hour is not None:
            parts.append(f"{dollars(self.usd_per_hour)} an hour while the model runs")
        return " and ".join(parts) or "free of charge"


def price(card: AdapterCard, *, path: Path | None = None) -> Price:
    """The price of one query to the provider of `card`.

    `path` is a price file, by default the user's own, if there is one: pricing.toml beside the user's config.toml.
    Its entries replace those that providers declare, each as a whole. A card without a price key has the price it
    states itself.

    Raises ConfigurationError for a key that nobody has, for a file that is not as this module describes, and for
    one that lies where it is not read.
    """
    if path is None:
        _refuse_misplaced()
    if card.price is None:
        return _stated(card)
    own = settings_file(USER_FILE) if path is None else path
    table = _read(_text(own), str(own)) if path is not None or own.is_file() else {}
    _refuse_unknown_keys(table, card.price, own)
    if card.price not in table:
        declared = registry.find(card.price.partition("/")[0])
        table |= {} if declared is None else prices_of(declared)
    if card.price not in table:
        known = dict.fromkeys(key for declared in registry.declared() for key in prices_of(declared))
        raise ConfigurationError(
            f'provider {card.name} has no price: add a table ["{card.price}"] to {own}; '
            f"known are {', '.join(known | table)}"
        )
    return table[card.price]


def prices_of(declared: Provider) -> dict[str, Price]:
    """The price tables that a provider declares. Raises ConfigurationError where one is malformed, or of another."""
    if declared.prices is None:
        return {}
    table = _read(text_of(declared.prices), declared.prices)
    for key in table:
        if not key.startswith(f"{declared.name}/"):
            raise ConfigurationError(
                f'{declared.prices}: the table ["{key}"] must be called "{declared.name}/…"'
            )
    return table


def dollars(amount: Decimal | float) -> str:
    """An amount with two digits after the point, or as many as it has."""
    exact = Decimal(str(amount))
    digits = max(2, -int(exact.normalize().as_tuple().exponent))
    return f"${exact:,.{digits}f}"


def _stated(card: AdapterCard) -> Price:
    if card.usd_per_query is None:
        return Price(tiers=())
    if not (math.isfinite(card.usd_per_query) and 0 <= card.usd_per_query <= _MOST / 1000):
        raise ConfigurationError(
            f"provider {card.name}: usd_per_query must be a number from 0 to 1,000, not {card.usd_per_query!r}"
        )
    usd = Decimal(str(card.usd_per_query))
    return Price(tiers=(Tier(usd_per_1000=usd * 1000),) if usd else ())


def _refuse_misplaced() -> None:
    """A price file where one might look for it, but which nobody reads: its prices would be missed in silence."""
    own = settings_file(USER_FILE)
    for folder in dict.fromkeys([home(), answers_folder(home())]):
        stray = folder / USER_FILE
        if stray != own and stray.is_file():
            raise ConfigurationError(f"the prices in {stray} are not read there: move the file to {own}")


def _refuse_unknown_keys(table: Mapping[str, Price], asked: str, where: Path) -> None:
    """A table for a price that a provider here does not have is a slip of the pen, and another price would hold."""
    for key in table:
        declared = registry.find(key.partition("/")[0])
        known = {} if declared is None else prices_of(declared)
        if known and key not in known and key != asked:
            raise ConfigurationError(f"{where}: {unknown('price', key, [*known])}")


def _text(path: Path) -> str:
    refuse_writable(path)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"cannot read the prices in {path}: {reason}") from None


def _read(text: str, where: str) -> dict[str, Price]:
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from None
    return {key: _entry(key, table, f"{where}: {key}") for key, table in content.items()}


def _entry(key: str, table: Any, where: str) -> Price:
    if not isinstance(table, dict):
        raise ConfigurationError(f'{where} must be a table ["{key}"]')
    _refuse_unknown(
        table,
        ("unit", "tiers", "usd_per_hour", "free_per_month", "as_of", "source", "note", "unconfirmed"),
        where,
    )
    tiers = table.get("tiers")
    if not isinstance(tiers, list):
        raise ConfigurationError(
            f"{where} needs tiers = [{{ usd_per_1000 = … }}]; [] means that use is not billed"
        )
    hourly = table.get("usd_per_hour")
    as_of = table.get("as_of")
    if type(as_of) is not date:
        raise ConfigurationError(
            f"{where} needs as_of, the day the price was last seen, as 2026-01-31 without quotes"
        )
    return Price(
        key=key,
        unit=_words(table, "unit", where, "image"),
        tiers=_tiers(tiers, where),
        usd_per_hour=None if hourly is None else _amount(hourly, f"{where}: usd_per_hour"),
        free_per_month=_count(table.get("free_per_month", 0), f"{where}: free_per_month", least=0),
        as_of=as_of,
        source=_words(table, "source", where),
        note=_words(table, "note", where, ""),
        unconfirmed=_words(table, "unconfirmed", where, ""),
    )


def _tiers(tiers: list[Any], where: str) -> tuple[Tier, ...]:
    found: list[Tier] = []
    for number, tier in enumerate(tiers, 1):
        here = f"{where}: tier {number}"
        if not isinstance(tier, dict) or "usd_per_1000" not in tier:
            raise ConfigurationError(f"{here} must be a table with usd_per_1000")
        _refuse_unknown(tier, ("usd_per_1000", "up_to"), here)
        if (number < len(tiers)) != ("up_to" in tier):
            raise ConfigurationError(f"{here}: every tier but the last says where it ends, with up_to")
        least = 1 + (found[-1].up_to or 0) if found else 1
        end = _count(tier["up_to"], f"{here}: up_to", least=least) if "up_to" in tier else None
        found.append(Tier(usd_per_1000=_amount(tier["usd_per_1000"], f"{here}: usd_per_1000"), up_to=end))
    return tuple(found)


def _amount(value: Any, where: str) -> Decimal:
    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not (number and Decimal(value).is_finite() and 0 <= value <= _MOST):
        raise ConfigurationError(f"{where} must be an amount of dollars from 0 to {_MOST:,}, not {value!s}")
    return Decimal(value)


def _count(value: Any, where: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{where} must be a whole number from {least:,} on, not {value!s}")
    return value


def _words(table: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = table.get(name, default)
    if not isinstance(value, str) or (not value and default != ""):
        raise ConfigurationError(f"{where} needs {name}, in quotes")
    return " ".join(value.split())


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigurationError(f"{where}: {name} is no field; fields are {', '.join(known)}")
