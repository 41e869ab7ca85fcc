"""Where nobody has set a number: the cap of a radius, and five dollars a run, from Python."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of, says

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.certify import certifier
from api_smoothing.certify.presence import PresenceCertifier
from api_smoothing.engine.estimate.defaults import terms_of, usual_cap
from api_smoothing.engine.estimate.pricing import Price, price
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError
from api_smoothing.events import Event, ImageStarted, RunStarted


def dear(usd: float = 1.0, **card: Any) -> CountingService:
    return CountingService(usd_per_query=usd, **card)


def watched(service: Any, **options: Any) -> tuple[SmoothedAPI, list[Event]]:
    events: list[Event] = []
    return api_of(service, observers=[events.append], **options), events


@pytest.mark.parametrize(
    ("service", "cap", "why"),
    [
        (dear(0.0001), 1_000, "where queries cost money"),
        (CountingService(), 1_000, "where their price is unknown"),
        (lambda x: [0] * len(x), 10_000, "where they are free"),
        (dear(0.0), 10_000, "where they are free"),
        (dear(0.0001, place="sandbox"), 1_000, "where queries cost money"),
    ],
    ids=["paid", "unknown", "free", "priced at 0", "rehearsed"],
)
def test_the_cap_of_a_radius_follows_the_price(service: Any, cap: int, why: str) -> None:
    """Which cap holds is told before the first query, and the estimate has it and says the same words."""
    api, events = watched(service)
    with api:
        estimate = api.estimate(1, radius=0.25)
        assert api.certify(GREY, radius=0.25).reached
    first = events[0]
    assert isinstance(first, RunStarted)
    assert first.n == cap
    assert first.unset[0] == f"at most {cap:,} queries an image, the cap {why}" == estimate.assumptions[0]
    assert [event.planned for event in events if isinstance(event, ImageStarted)] == [cap]


def test_the_cap_is_the_rule_of_that_number() -> None:
    """n left out and the cap written out are one question: the second is answered from the same votes, as no look."""
    with api_of(dear(0.0001)) as api:
        one, other = api.certify(GREY, radius=0.25), api.certify(GREY, radius=0.25, n=1000)
        assert (one.n, one.rule, one.looks) == (other.n, "capped/2", 1)
        assert other.queries == 0
        assert api.certify(GREY, radius=0.25, n=None).looks == 2


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
@pytest.mark.parametrize("radius", [0.6, 0.62, 0.65, 0.7])
def test_the_cap_is_never_fewer_than_the_radius_needs(radius: float, noise: Any) -> None:
    """That many unanimous votes certify it, also for many labels at once, and where it is raised one fewer does not."""
    settings = {"sigma": 0.25, "alpha": 0.001, "noise": noise}
    cap = usual_cap(radius, "paid", **settings)
    assert cap >= 1000
    asked = certifier(target=radius, n=cap, slack=1e-11, **settings)
    while need := asked.need():
        asked.add(["cat"] * need)
    assert asked.result().reached
    if cap > 1000:
        with pytest.raises(UnreachableRadiusError):
            certifier(target=radius, n=cap - 1, **settings)
    labels = PresenceCertifier(
        max_labels=50,
        target=radius,
        n=usual_cap(radius, "paid", max_classes=50, **settings),
        slack=1e-11,
        **settings,
    )
    while need := labels.need():
        labels.add([{"cat"}] * need)
    assert labels.results()[0].reached


def test_a_radius_that_takes_tens_of_thousands_is_nobodys_default() -> None:
    """It is refused in one line that says how many answers it takes; whoever names them gets them."""
    service = dear()
    with api_of(service) as api, pytest.raises(UnreachableRadiusError, match="at least 43,"):
        api.certify(GREY, radius=0.9)
    assert service.seen == 0


def test_no_cap_needs_a_radius_and_a_fixed_rule_a_number() -> None:
    """One line each, before anything is sent."""
    service = CountingService()
    with api_of(service) as api, pytest.raises(ConfigurationError, match="give a radius, n, or both"):
        api.certify(GREY, n=None)
    for method in ("fixed", "clopper-pearson"):
        with api_of(service, method=method) as api, pytest.raises(ConfigurationError, match="needs n"):
            api.certify(GREY, radius=0.25)
    assert service.seen == 0


def test_labels_have_the_same_cap() -> None:
    """Presence is capped by exact α-spending first; asked again, by the confidence sequence, which stops there."""
    service = CountingService(
        lambda first, images: [says("cat" if (first + k) % 6 else "dog") for k in range(len(images))], batch=8
    )
    api, events = watched(service)
    with api:
        asked = {"thresholds": {"cat": 0.5}, "radius": 0.25}
        [found] = api.certify_labels(GREY, **asked)  # type: ignore[arg-type]
        assert isinstance(events[0], RunStarted)
        assert events[0].n == 1000
        assert found.looks == 1
        [again] = api.certify_labels(GREY, thresholds={"cat": 0.5}, radius=0.3)
        assert (again.looks, again.n <= 1000) == (2, True)


def test_a_run_without_a_budget_has_five_dollars(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once in the log, and by an event each time, before the first query; then nothing more is sent."""
    service = dear()
    api, events = watched(service)
    with caplog.at_level(logging.WARNING, "api_smoothing"), api:
        assert [api.predict(GREY, n=20).queries for _ in range(2)] == [5, 0]
    assert service.seen == 5
    told = "this run may cost $5.00, the limit where no budget is given"
    assert [told in record.getMessage() for record in caplog.records] == [True]
    assert [event.unset for event in events if isinstance(event, RunStarted)] == [(told,)] * 2


@pytest.mark.usefixtures("before_midnight")
@pytest.mark.parametrize(
    ("budget", "sent"),
    [(Budget(usd=None), 20), (Budget(queries=8), 8), (Budget(usd=7), 7), (Budget(usd_per_day=6), 6)],
)
def test_any_budget_takes_their_place(budget: Budget, sent: int, caplog: pytest.LogCaptureFixture) -> None:
    """What a Budget says is all that holds, and nothing is told of the usual one."""
    service = dear()
    api, events = watched(service, budget=budget)
    with api:
        assert api.predict(GREY, n=20).queries == sent
    assert not caplog.records
    assert isinstance(events[0], RunStarted)
    assert (events[0].budget, events[0].unset) == (budget, ())


def test_what_is_free_has_no_limit() -> None:
    """A sandbox charges nothing; of an unknown price no dollars can be counted, which is told."""
    for service, unset in [
        (dear(place="sandbox"), ()),
        (CountingService(), ("the price of service is unknown, so that no dollars are counted",)),
    ]:
        api, events = watched(service)
        with api:
            assert api.predict(GREY, n=20).n == 20
        assert isinstance(events[0], RunStarted)
        assert events[0].unset == unset


def test_an_estimate_says_what_the_usual_budget_does() -> None:
    """With a cap the whole price is told, and where the run would stop; without one the run's five dollars are it."""
    with api_of(dear(0.002)) as api:
        whole, open_ended = api.estimate(20, radius=0.25), api.estimate(20, radius=0.25, n=None)
    assert whole.usd_high > 5
    assert (
        "no budget is given, so that the run stops at $5.00; a budget sets another limit" in whole.assumptions
    )
    assert open_ended.usd_high == 5
    assert "no budget is given, which means $5.00 a run" in open_ended.assumptions


@pytest.mark.usefixtures("before_midnight")
def test_a_day_is_the_accounts(tmp_path: Any) -> None:
    """Objects with one quota key share the day, whatever their runs and their folders of answers."""
    sent = []
    for name in ("a", "b"):
        api = api_of(
            dear(0.5, quota_key="k"), budget=Budget(usd_per_day=4), cache=tmp_path / name, sigma=0.25
        )
        with api:
            sent.append(api.predict(np.zeros((8, 8, 3), np.uint8), n=5).queries)
    with api_of(dear(0.5, quota_key="other"), budget=Budget(usd_per_day=4), sigma=0.5) as api:
        sent.append(api.predict(GREY, n=5).queries)
    assert sent == [5, 3, 5]


def test_what_is_billed_by_the_hour_costs_money() -> None:
    """Its queries have no price, and a table without tiers or hours is a price of nothing."""
    card = CountingService(price="x/y").card
    assert terms_of(card, Price(usd_per_hour=4)) == "paid"  # type: ignore[arg-type]
    assert terms_of(card, Price()) == "free"
    assert terms_of(dear().card, price(dear().card)) == "paid"
