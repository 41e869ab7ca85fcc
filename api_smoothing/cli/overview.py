"""What can be said of each provider without asking it: card, price, package, credentials. For `providers`."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.machinery import PathFinder
from typing import Any, Final

from api_smoothing import adapters
from api_smoothing.adapters import AdapterCard, Credentials, Provider, registry
from api_smoothing.adapters.provider import resolve
from api_smoothing.engine.estimate.pricing import STALE_DAYS, Price, price
from api_smoothing.errors import ApiSmoothError, ConfigurationError

HEADINGS: Final = (
    "name", "extra", "credentials", "price", "seen on", "queries/s", "a call", "sides", "MB", "ends",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider. `card` and `price` are None where they depend on options; `remark` then says on which."""

    name: str
    extra: str | None = None
    local: bool = False
    card: AdapterCard | None = None
    price: Price | None = None
    package: str | None = None
    installed: bool | None = None
    credentials: Credentials | None = None
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        cost = None
        if self.price is not None:
            tiers = [{"usd_per_1000": float(t.usd_per_1000), "up_to": t.up_to} for t in self.price.tiers]
            hourly, seen = self.price.usd_per_hour, self.price.as_of
            cost = asdict(self.price) | {
                "tiers": tiers,
                "usd_per_hour": None if hourly is None else float(hourly),
                "as_of": None if seen is None else seen.isoformat(),
                "micro_usd": self.price.micro_usd,
            }
        return {
            "name": self.name,
            "card": None if self.card is None else asdict(self.card),
            "price": cost,
            "package": self.package,
            "installed": self.installed,
            "credentials": None if self.credentials is None else asdict(self.credentials),
            "remark": self.remark or None,
        }

    def cells(self) -> tuple[str, ...]:
        """One cell for each of HEADINGS."""
        extra = {None: "", True: "installed", False: "missing"}[self.installed]
        found = "" if self.credentials is None else "found" if self.credentials.found else "missing"
        if self.card is None or self.price is None:
            free = "free" if self.local else ""
            return (self.name, extra, found, free, *[""] * (len(HEADINGS) - 4))
        card, rate = self.card, self.card.queries_per_second
        most = "" if card.max_side is None else f"{card.max_side:,}"
        size = card.max_image_bytes
        return (
            self.name,
            extra,
            found,
            self.price.describe().replace(" per 1,000 images", "/1,000"),
            "" if self.price.as_of is None else self.price.as_of.isoformat(),
            "" if rate is None else f"{rate:,.4g}",
            f"{card.batch:,}",
            f"{card.min_side:,}–{most}" if most or card.min_side > 1 else "any",
            "" if size is None else f"{size / 1e6:.1f}",
            card.end_of_life or "",
        )

    def remarks(self, today: date) -> list[str]:
        """What to do or to know before using it."""
        found = [self.remark] if self.remark else []
        if self.installed is False:
            extra = f"pip install 'api-smooth[{self.extra}]'"
            found.append(f"{self.package} is not installed" if self.extra is None else extra)
        if self.credentials is not None:
            found.append(f"credentials: {self.credentials.source}")
        if self.price is not None and self.price.stale(today):
            found.append(f"price seen more than {STALE_DAYS} days ago, compare {self.price.source}")
        if self.price is not None and self.price.unconfirmed:
            found.append(f"unconfirmed: {self.price.unconfirmed}")
        return found


def overview() -> list[Row]:
    """A row for every provider, built-in ones first. Imports no provider's package, sends nothing."""
    return [_row(name) for name in adapters.names()]


def has_package(name: str) -> bool:
    """Whether a package is installed, without importing it or, for a dotted name, what it is in."""
    top, *parts = name.split(".")
    spec = importlib.util.find_spec(top)
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec is not None


def _row(name: str) -> Row:
    try:
        declared = registry.provider(name)
    except ConfigurationError as error:
        return Row(name=name, remark=_line(error))
    installed = None if declared.package is None else has_package(declared.package)
    row = Row(
        name=name,
        extra=declared.extra,
        local=declared.local,
        package=declared.package,
        installed=installed,
    )
    if declared.local:  # its module would load torch only to say so
        return replace(row, remark="runs here; --model names the network")
    remarks = []
    try:
        row = replace(row, credentials=_credentials(declared))
    except Exception as error:
        remarks.append(_line(error))
    try:
        card = adapters.load(name).card
        row = replace(row, card=card, price=price(card))
    except Exception as error:  # a plugin may raise anything, and must not hide the other providers
        remarks.append(_line(error))
    return replace(row, remark="; ".join(dict.fromkeys(remarks)))


def _credentials(declared: Provider) -> Credentials | None:
    """What the provider says of its credentials; None where it says nothing."""
    if declared.credentials is None:
        return None
    found: Credentials = resolve(declared.credentials)()
    return found


def _line(error: Exception) -> str:
    text = str(error) if isinstance(error, ApiSmoothError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
