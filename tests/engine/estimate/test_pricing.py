"""Prices: a dated table that the user's own file overrides, in exact arithmetic, never below the bill."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_smoothing.adapters import AdapterCard
from api_smoothing.engine.estimate.pricing import STALE_DAYS, Price, Tier, dollars, price
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home

OWN = """
["google/label-detection"]
unit = "image"
tiers = [{ usd_per_1000 = 0.90 }]
as_of = 2026-11-01
source = "our contract"
"""


def card(key: str | None = None, usd: float = 0.0) -> AdapterCard:
    return AdapterCard(name="acme", fingerprint="1", price=key, usd_per_query=usd)


def write(text: str, path: Path | None = None) -> Path:
    path = path or home() / "pricing.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "micro_usd"),
    [
        ("aws/detect-labels", 1000),
        ("aws/detect-moderation-labels", 1000),
        ("aws/detect-custom-labels", 0),
        ("google/label-detection", 1500),
        ("google/safe-search", 1500),
        ("azure/tags-4.0", 1000),
        ("azure/tags-3.2", 1000),
        ("clarifai/general", 1200),
    ],
)
def test_every_service_has_a_dated_price(key: str, micro_usd: int) -> None:
    """Each price key of the package is in the table, with the day it was seen and the page it is from."""
    found = price(card(key))
    assert (found.key, found.micro_usd) == (key, micro_usd)
    assert found.as_of is not None
    assert found.source.startswith("https://")


def test_custom_labels_are_billed_by_the_hour() -> None:
    """A model that is billed while it runs has no price a query, and says what an hour costs."""
    found = price(card("aws/detect-custom-labels"))
    assert found.usd(1_000_000) == 0.0
    assert found.usd_per_hour == Decimal(4)
    assert "an hour" in found.describe()


def test_tiers_are_charged_to_the_cent() -> None:
    """Each tier's price holds for the units within it, wherever in the month the queries begin."""
    found = price(card("aws/detect-labels"))
    assert found.usd(1000) == 1.0
    assert found.usd(1_000_000) == 1000.0
    assert found.usd(1_000_003) == 1000.0024
    assert found.usd(6_000_000) == 1000 + 3200 + 600
    assert found.usd(10, used_this_month=999_995) == 0.009
    assert found.usd(10, used_this_month=40_000_000) == 0.004
    assert found.usd(0) == 0.0


@given(st.integers(0, 50_000_000), st.integers(0, 50_000_000))
def test_a_split_bill_is_the_same_bill(first: int, second: int) -> None:
    """Queries cost the same whether they are charged together or one part after the other."""
    found = price(card("aws/detect-labels"))
    assert found.usd(first + second) == pytest.approx(
        found.usd(first) + found.usd(second, used_this_month=first), rel=1e-12
    )


@given(
    st.lists(st.decimals(0, 1000, places=6), min_size=1, max_size=4),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_the_budget_is_never_charged_less_than_the_bill(
    prices: list[Decimal], queries: int, used: int
) -> None:
    """Whole micro-dollars a query are at least what the tiers come to, for every volume, rising tiers included."""
    ends = [1000 * (i + 1) for i in range(len(prices) - 1)]
    tiers = tuple(Tier(usd_per_1000=p, up_to=e) for p, e in zip(prices, [*ends, None], strict=True))
    found = Price(tiers=tiers)
    assert queries * found.micro_usd >= found.usd(queries, used) * 1e6 * (1 - 1e-12)


def test_an_adapters_own_price_is_flat() -> None:
    """Without a price key the card's usd_per_query holds, exactly, and the budget is charged it rounded up."""
    found = price(card(usd=0.0000333))
    assert found.micro_usd == 34
    assert found.usd(1_000_000) == 33.3
    assert not found.stale(date(2100, 1, 1))
    assert price(card()).usd(1000) == 0.0
    assert price(card()).describe() == "free of charge"


@pytest.mark.parametrize("usd", [-0.001, float("nan"), float("inf")])
def test_an_impossible_price_of_an_adapter_is_refused(usd: float) -> None:
    """A price that is no amount of dollars is a configuration error, not a free query."""
    with pytest.raises(ConfigurationError, match="usd_per_query"):
        price(card(usd=usd))


def test_an_unknown_key_is_refused() -> None:
    """A price nobody knows is an error that says where to put it, never a free query."""
    with pytest.raises(ConfigurationError) as error:
        price(card("acme/tags"))
    assert str(home() / "pricing.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_the_users_file_replaces_and_adds() -> None:
    """An entry of the user's file takes the place of the package's as a whole; others stay; new ones count."""
    write(OWN + OWN.replace("google/label-detection", "acme/tags").replace("0.90", "2"))
    own = price(card("google/label-detection"))
    assert (own.micro_usd, own.free_per_month, own.source) == (900, 0, "our contract")
    assert price(card("acme/tags")).micro_usd == 2000
    assert price(card("google/safe-search")).micro_usd == 1500


def test_an_hourly_price_may_be_spread_over_queries() -> None:
    """A user who knows the throughput may give custom labels a price a query, beside the hour's."""
    write(
        OWN.replace("google/label-detection", "aws/detect-custom-labels").replace(
            "unit", "usd_per_hour = 4\nunit"
        )
    )
    found = price(card("aws/detect-custom-labels"))
    assert (found.micro_usd, found.usd_per_hour) == (900, Decimal(4))


def test_a_price_file_can_be_named(tmp_path: Path) -> None:
    """A file given by path is read in place of the user's own, and must be there."""
    write(OWN)
    other = write(OWN.replace("0.90", "0.70"), tmp_path / "other.toml")
    assert price(card("google/label-detection"), path=other).micro_usd == 700
    with pytest.raises(ConfigurationError, match=r"missing\.toml"):
        price(card("google/label-detection"), path=tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("tiers = [", "tiers = ", "not TOML"),
        ('["google/label-detection"]', "", "table"),
        ('unit = "image"', "unit = 3", "unit"),
        ('unit = "image"', 'units = "image"', "units"),
        ("tiers = [{ usd_per_1000 = 0.90 }]", "", "tiers"),
        ("0.90", "-1", "0 to 1,000,000"),
        ("0.90", "nan", "0 to 1,000,000"),
        ("0.90", '"0.90"', "0 to 1,000,000"),
        ("0.90", "true", "0 to 1,000,000"),
        ("usd_per_1000 = 0.90", "usd = 0.90", "usd_per_1000"),
        ("usd_per_1000 = 0.90", "usd_per_1000 = 0.90, upto = 5", "upto"),
        ("usd_per_1000 = 0.90", "usd_per_1000 = 0.90, up_to = 5", "up_to"),
        ("{ usd_per_1000 = 0.90 }", "{ usd_per_1000 = 1 }, { usd_per_1000 = 0.90 }", "up_to"),
        (
            "{ usd_per_1000 = 0.90 }",
            "{usd_per_1000 = 1, up_to = 9}, {usd_per_1000 = 1, up_to = 9}, {usd_per_1000 = 1}",
            "from 10 on",
        ),
        ("as_of = 2026-11-01", "", "as_of"),
        ("as_of = 2026-11-01", 'as_of = "2026-11-01"', "as_of"),
        ("as_of = 2026-11-01", "as_of = 2026-11-01T10:00:00", "as_of"),
        ('"our contract"', '""', "source"),
        ('source = "our contract"', "", "source"),
        ("as_of", "free_per_month = -1\nas_of", "free_per_month"),
        ("as_of", "free_per_month = 1.5\nas_of", "free_per_month"),
        ("as_of", "usd_per_hour = -4\nas_of", "usd_per_hour"),
        ("as_of", "note = 3\nas_of", "note"),
    ],
)
def test_a_wrong_price_file_is_one_line(old: str, new: str, says: str) -> None:
    """Whatever is wrong with the user's prices is refused in one line that names the file and the field."""
    assert old in OWN
    path = write(OWN.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as error:
        price(card("aws/detect-labels"))
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_price_grows_old() -> None:
    """A price is stale once it was last seen more than 180 days ago."""
    found = price(card("google/label-detection"))
    assert found.as_of is not None
    assert not found.stale(found.as_of + timedelta(days=STALE_DAYS))
    assert found.stale(found.as_of + timedelta(days=STALE_DAYS + 1))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (Decimal("1.5"), "$1.50"),
        (0.0001, "$0.0001"),
        (1234567, "$1,234,567.00"),
        (1e-06, "$0.000001"),
    ],
)
def test_amounts_are_written_in_full(amount: Decimal | float, text: str) -> None:
    """Small amounts keep their digits; large ones are grouped."""
    assert dollars(amount) == text


def test_counts_below_zero_are_a_mistake() -> None:
    """A bill for fewer than no queries is a programming error."""
    with pytest.raises(ValueError, match="from 0 on"):
        price(card()).usd(-1)


def test_prices_that_lie_where_nobody_reads_them_are_told() -> None:
    """A file beside the answers, where the documents once sent it, is an error with both places, in one line."""
    write(OWN, home() / "votes" / "pricing.toml")
    with pytest.raises(
        ConfigurationError, match=r"^[^\n]*votes/pricing.toml[^\n]*move the file to [^\n]*$"
    ) as caught:
        price(card("google/label-detection"))
    assert str(home() / "pricing.toml") in str(caught.value)


def test_a_price_under_a_name_its_provider_does_not_have_is_told() -> None:
    """A slip in the key is told with the key that was meant: the list price would hold instead."""
    write(OWN.replace("google/label-detection", "google/labels-detection"))
    with pytest.raises(
        ConfigurationError, match=r"google/labels-detection.*did you mean google/label-detection"
    ):
        price(card("google/label-detection"))


def test_prices_others_may_write_are_refused() -> None:
    """A price is what a budget is charged."""
    write(OWN)
    (home() / "pricing.toml").chmod(0o666)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        price(card("google/label-detection"))
