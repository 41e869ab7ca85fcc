"""Estimates: what a run will cost, told before anything is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any

import numpy as np
import pytest
from counting_service import CountingService, api_of, draw, is_canary, says

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters import AdapterCard, Answer, Label, Quota, Verdict
from api_smoothing.adapters.base import EncodedImage
from api_smoothing.certify import Spec, certifier_of, plan
from api_smoothing.certify.crossing import passage
from api_smoothing.certify.radius import threshold
from api_smoothing.engine.affordable import within_budget
from api_smoothing.engine.estimate import shares
from api_smoothing.engine.estimate.forecast import forecast
from api_smoothing.engine.estimate.pricing import Price, Tier, price
from api_smoothing.engine.estimate.queries import TAIL, Standing, _totals
from api_smoothing.engine.estimate.stopping import outlook, stopping_rules
from api_smoothing.errors import UnreachableRadiusError
from api_smoothing.results import CostEstimate

GREY = np.full((16, 16, 3), 128, np.uint8)
TODAY = date(2026, 11, 21)
CARD = AdapterCard(
    name="priced", fingerprint="1", usd_per_query=0.001, quotas=(Quota(unit="image", count=30),)
)


class Priced:
    """A service at a tenth of a cent a query and 30 queries a second, that agrees on everything."""

    def __init__(self) -> None:
        self.card = CARD
        self.asked = 0

    def label(self, images, /):  # type: ignore[no-untyped-def]
        self.asked += len(images)
        return [Answer(labels=(Label(name="cat"),)) for _ in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def smoothed(adapter: Priced, budget: Budget | None = None, method: str = "auto") -> SmoothedAPI:
    return SmoothedAPI(adapter, denoiser=None, seed=0, cache=False, budget=budget, method=method)  # type: ignore[arg-type]


def question(**changes: Any) -> Spec:
    usual = {"radius": 0.25, "n": None, "n0": 100, "sigma": 0.25, "alpha": 0.001}
    return Spec(**{**usual, "method": "auto", "noise": "gaussian", **changes})  # type: ignore[arg-type]


def estimate(
    known: int | Sequence[Sequence[Hashable | None]],
    asked: Spec,
    *,
    card: AdapterCard = CARD,
    affordable: int | None = None,
    cost: Price | None = None,
    extra: int = 0,
) -> CostEstimate:
    images = [[] for _ in range(known)] if isinstance(known, int) else known
    return forecast(
        images,
        spec=asked,
        affordable=affordable,
        card=card,
        price=cost or price(card),
        extra_per_image=extra,
        today=TODAY,
    )


def test_of_one_image_the_runs_are_its_quantiles() -> None:
    """Nothing is drawn, so that their mean is the expectation, and low and high cut off what they say."""
    rules, prior = stopping_rules(question(n=400)), shares.UNKNOWN
    model, image = prior.model([]), Standing(n=0, votes=0, skip=0)
    lows, highs, expected, endless = _totals(Counter([image]), prior, model, rules)
    assert (endless, lows.tolist()) == (0.0, sorted(lows.tolist()))
    assert float(((lows + highs) / 2).mean()) == pytest.approx(expected, abs=0.6)
    chance = model / model.sum() @ outlook(rules[0], prior.nodes).chance
    for share in (TAIL, 0.5, 1 - TAIL):
        least = int(np.searchsorted(np.cumsum(chance), share)) + 1  # of T, whose bins are single numbers here
        assert abs(float(np.quantile(highs, share)) - least) <= 1


def span(found: CostEstimate) -> tuple[int, int, int]:
    return found.queries_low, found.queries_expected, found.queries_high


# fixed numbers of queries


@pytest.mark.parametrize(("method", "queries"), [("auto", 300), ("clopper-pearson", 330)])
def test_a_fixed_number_of_queries_is_known_to_the_cent(method: str, queries: int) -> None:
    """With n alone the estimate is exact in queries, dollars and seconds, and sends nothing."""
    adapter = Priced()
    found = smoothed(adapter, method=method).estimate(3, n=100, n0=10)
    assert span(found) == (queries,) * 3
    assert found.usd_expected == pytest.approx(queries / 1000)
    assert queries / 30 <= found.seconds_expected <= queries / 30 + 3
    assert adapter.asked == 0


def test_what_is_cached_is_not_estimated_again() -> None:
    """An image that was certified costs nothing more, and one half done only the rest."""
    adapter = Priced()
    api = smoothed(adapter)
    api.certify(GREY, n=60)
    asked = adapter.asked
    assert api.estimate(GREY, n=100).queries_expected == 40
    assert api.estimate([GREY], n=60).queries_expected == 0
    assert adapter.asked == asked


def test_canary_queries_are_counted_for_images_that_are_asked() -> None:
    """Every image that still costs anything costs its canaries too, and the estimate names them."""
    found = estimate([[], ["cat"] * 99, ["cat"] * 100], question(radius=None, n=100), extra=2)
    assert span(found) == (105, 105, 105)
    assert any("canary" in line for line in found.assumptions)
    decided, fresh = ["cat"] * 60, []
    plain = estimate([decided, fresh], question(n=500))
    watched = estimate([decided, fresh], question(n=500), extra=2)
    assert span(watched) == tuple(value + 2 for value in span(plain))


@pytest.mark.parametrize(("affordable", "queries"), [(99, 0), (100, 100), (250, 200), (1000, 300)])
def test_a_budget_buys_whole_images(affordable: int, queries: int) -> None:
    """A fixed number of queries that the budget cannot pay is not begun, and the estimate says for how many."""
    found = estimate(3, question(radius=None, n=100), affordable=affordable)
    assert span(found) == (queries,) * 3
    left_out = 3 - queries // 100
    assert any(f"{left_out} of 3 images" in line for line in found.assumptions) == bool(left_out)


def test_the_facades_budget_reaches_the_estimate() -> None:
    """Dollars bound the queries announced, at the price the budget is charged."""
    found = smoothed(Priced(), Budget(usd=0.25)).estimate(3, n=100)
    assert found.queries_high == 200


# targets


@pytest.mark.parametrize("asked", [question(radius=0.2, n=100), question(radius=0.2, n=100, method="fixed")])
def test_the_expectation_is_exact(asked: Spec) -> None:
    """Expected queries are the mean over the shares assumed of the exact mean of the stopping rule."""
    rule = stopping_rules(asked)[0]
    calls = [passage(rule.upper, float(p), rule.lower).calls for p in shares.UNKNOWN.nodes]
    found = estimate(10_000, asked)
    assert found.queries_expected == pytest.approx(10_000 * float(shares.UNKNOWN.weights @ calls), abs=1)


def test_the_rule_is_the_certifiers() -> None:
    """The means of the rule are those that certify's own plan states, with a cap and without."""
    p0 = threshold(0.25, sigma=0.25)
    for cap in (300, None):
        seen = outlook(stopping_rules(question(n=cap))[0], np.array([0.5, 0.8, 0.9, 0.99, 1.0]))
        for p, mean in zip([0.5, 0.8, 0.9, 0.99, 1.0], seen.mean, strict=True):
            assert mean == pytest.approx(plan.expected_queries(p, p0, alpha=0.001, cap=cap).calls, rel=1e-3)


def test_stopping_times_are_distributed_as_they_are() -> None:
    """The chance to be still going after t answers, from any standing, is that of the counts followed one by one."""
    rule = stopping_rules(question(n=200))[0]
    for n, votes, p in [(0, 0, 0.9), (20, 18, 0.85), (60, 55, 0.95)]:
        seen = outlook(rule, np.array([p]), n=n, votes=votes)
        going = 1.0 - np.cumsum(seen.chance[0])
        for t in (1, 40, 100, 139):
            ran = passage(rule.upper[n : n + t] - votes, p, rule.lower[n : n + t] - votes)
            assert going[seen.high == t] == pytest.approx(1.0 - ran.upper - ran.lower, abs=1e-9)
        assert seen.high[-1] == 200 - n


def test_many_images_are_estimated_closer_than_one() -> None:
    """The spread of a sum of images grows slower than the sum, down to what is unknown about the model."""
    one, many, more = (estimate(count, question(n=500)) for count in (1, 100, 10_000))
    wide = [(e.queries_high - e.queries_low) / e.queries_expected for e in (one, many, more)]
    assert wide[1] < wide[0] / 2
    assert wide[2] > wide[1] / 2
    for found in (one, many, more):
        assert found.queries_low < found.queries_expected < found.queries_high


def test_equal_questions_get_equal_estimates() -> None:
    """An estimate depends on nothing but what it is given."""
    assert estimate(20, question()) == estimate(20, question())


def test_a_decided_image_costs_nothing() -> None:
    """Votes that already meet the target, or rule it out, leave nothing to pay."""
    won, lost = ["cat"] * 100, ["cat", "dog"] * 50
    found = estimate([won, lost], question(n=500), extra=2)
    assert span(found) == (0, 0, 0)


def test_votes_in_the_cache_speak_for_their_image() -> None:
    """An image that has half of the votes it needs, all agreeing, is expected to need the other half."""
    rest = 47 - 30  # with this cap 47 unanimous votes certify
    found = estimate([["cat"] * 30], question(n=500))
    assert found.queries_low == rest
    assert found.queries_expected < 2 * rest
    assert found.queries_expected < estimate(1, question(n=500)).queries_expected


def test_votes_in_the_cache_speak_for_the_other_images() -> None:
    """After many images that all but agreed, an unknown one of the same model is taken to be like them."""
    known: list[list[str]] = [["cat"] * 53 for _ in range(60)]
    before = estimate(100, question(n=500))
    after = estimate([*known, *([] for _ in range(100))], question(n=500))
    assert abs(after.queries_expected - 5300) < abs(before.queries_expected - 5300) / 4
    assert after.queries_high - after.queries_low < (before.queries_high - before.queries_low) / 3


def test_what_may_never_end_is_said() -> None:
    """Without a cap and a budget the estimate says that some images take more than it counts."""
    assert any("20,000" in line for line in estimate(3, question()).assumptions)
    assert not any("20,000" in line for line in estimate(3, question(n=500)).assumptions)
    assert not any("20,000" in line for line in estimate(3, question(), affordable=500).assumptions)


def test_an_unreachable_radius_is_refused() -> None:
    """What no answers could certify has no price."""
    with pytest.raises(UnreachableRadiusError):
        smoothed(Priced()).estimate(1, radius=0.9, n=100)


def test_a_budget_too_small_for_the_radius_is_told() -> None:
    """A budget below the fewest answers that can certify buys nothing, and the estimate says what it takes."""
    found = estimate(1, question(), affordable=30)
    assert span(found) == (0, 0, 0)
    assert any("at least 44" in line for line in found.assumptions)


# the range holds the cost

#: Vote shares at the 5th, 15th, …, 95th percentile of single published models.
MODELS = {
    "CIFAR-10, ResNet-110, σ 0.25": (0.45, 0.6012, 0.7241, 0.8468, 0.9323, 0.979, 0.9956, 0.9992, 1, 1),
    "CIFAR-10, ResNet-110, σ 0.5": (
        0.45,
        0.45,
        0.5923,
        0.6964,
        0.7905,
        0.8667,
        0.9309,
        0.9758,
        0.9952,
        0.9999,
    ),
    "ImageNet, ResNet-50, σ 0.25": (0.6354, 0.9094, 0.9941, 1, 1, 1, 1, 1, 1, 1),
    "ImageNet, ResNet-50, σ 0.5": (0.45, 0.6007, 0.7383, 0.8758, 0.9748, 0.9968, 0.9999, 1, 1, 1),
}
Draw = Callable[[np.random.Generator, int], np.ndarray]


def published(knots: Sequence[float]) -> Draw:
    return lambda rng, size: np.interp(rng.random(size), np.arange(10) / 10 + 0.05, knots)


DISTRIBUTIONS: dict[str, Draw] = {
    "the prior": lambda rng, size: rng.choice(shares.UNKNOWN.nodes, size, p=shares.UNKNOWN.weights),
    **{name: published(knots) for name, knots in MODELS.items()},
    "a weak model": lambda rng, size: rng.beta(2, 1, size),
    "a good model": lambda rng, size: rng.beta(20, 1, size),
}


def answers(p: float, rng: np.random.Generator) -> Iterator[int]:
    """Answers of an image whose top class, 0, has the share `p`; the rest is spread so that no class has more."""
    others = max(1, math.ceil((1 - p) / p))
    while True:
        yield from np.where(rng.random(512) < p, 0, rng.integers(1, others + 1, 512)).tolist()


def cost(p: float, asked: Spec, rng: np.random.Generator, affordable: int | None = None) -> int:
    """The answers that certify's own certifier takes for one image of share `p`."""
    budget = None if affordable is None else within_budget(asked, affordable)
    certifier = budget or certifier_of(asked)
    stream, spent = answers(p, rng), 0
    while need := certifier.need():
        certifier.add(list(islice(stream, need)))
        spent += need
    return spent


# Not at radius 0.5: a model as weak as Beta(2, 1) loses nearly every image at once there, and costs less than low.
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        *((name, question(n=500)) for name in DISTRIBUTIONS),
        *((name, question(radius=0.5, n=1000)) for name in DISTRIBUTIONS if name != "a weak model"),
    ],
)
def test_the_range_holds_the_cost(name: str, asked: Spec) -> None:
    """In at least 90 of 100 runs the true cost lies between low and high: of one image, of 10, and of 100."""
    rng = np.random.default_rng(len(name))
    costs = np.array([cost(p, asked, rng) for p in DISTRIBUTIONS[name](rng, 700).tolist()])
    for images in (1, 10, 100):
        low, _, high = span(estimate(images, asked))
        runs = rng.choice(costs, (1000, images)).sum(axis=1)
        held = np.mean((low <= runs) & (runs <= high))
        assert held >= 0.9, f"{images} images: {held:.1%} within {low} to {high}"


@pytest.mark.parametrize(
    ("name", "affordable"),
    [("the prior", 60), ("the prior", 2000), ("ImageNet, ResNet-50, σ 0.25", 400), ("a weak model", 400)],
)
def test_the_range_holds_the_cost_on_a_budget(name: str, affordable: int) -> None:
    """Without a cap but on a budget, ten images cost between low and high in at least 90 of 100 runs."""
    low, _, high = span(estimate(10, question(), affordable=affordable))
    rng = np.random.default_rng(affordable)
    held = 0
    for _ in range(100):
        spent = 0
        for p in DISTRIBUTIONS[name](rng, 10).tolist():
            spent += cost(p, question(), rng, affordable - spent)
        held += low <= spent <= high
    assert held >= 90
    assert high <= affordable


def test_the_facade_spends_what_was_estimated() -> None:
    """A unanimous image costs what the estimate allows for."""
    adapter = Priced()
    api = smoothed(adapter)
    found = api.estimate(1, radius=0.25, n=500)
    spent = api.certify(GREY, radius=0.25, n=500).queries
    assert found.queries_low <= spent <= found.queries_high


# radius, money, time


@pytest.mark.parametrize("changes", [{"n": 60}, {"n": 1000}, {"n": 60, "sigma": 0.5}])
def test_the_largest_radius_under_a_cap_is_the_largest(changes: dict[str, Any]) -> None:
    """A radius just below the one announced can be certified with the cap, and one just above it cannot."""
    most = estimate(1, question(radius=0.1, **changes)).max_radius
    assert most is not None
    certifier_of(question(**{**changes, "radius": most - 0.001}))
    with pytest.raises(UnreachableRadiusError):
        certifier_of(question(**{**changes, "radius": most + 0.001}))


def test_the_largest_radius_of_a_budget_is_that_of_its_share_an_image() -> None:
    """Without a cap the budget limits the radius, divided among the images; no larger one can be certified."""
    found = estimate(10, question(radius=0.1), affordable=1000, extra=2)
    assert found.max_radius is not None
    certifier_of(question(radius=found.max_radius - 0.02, cap=98))
    with pytest.raises(UnreachableRadiusError):
        certifier_of(question(radius=found.max_radius + 0.001, cap=98))
    assert any("98 queries an image" in line for line in found.assumptions)
    assert estimate(10, question()).max_radius is None
    assert estimate(10, question(radius=0.1), affordable=5).max_radius == 0.0


def test_seconds_follow_the_tighter_quota() -> None:
    """Images and requests are both limited; a request carries a full batch."""
    per_request, per_image = Quota(unit="request", count=15), Quota(unit="image", count=1800, seconds=60.0)
    for quotas, rate in [((per_request,), 240), ((per_request, per_image), 30), ((), None)]:
        card = AdapterCard(name="batched", fingerprint="1", batch=16, quotas=quotas)
        found = estimate(3, question(radius=None, n=100), card=card)
        assert found.seconds_high == (300 / rate if rate else 0.0)
    card = AdapterCard(name="batched", fingerprint="1", batch=16, quotas=(per_request, per_image))
    line = estimate(1, question(n=500), card=card).assumptions[-1]
    assert "30 queries a second" in line
    assert "1,800 images a minute" in line
    assert "16 images a request" in line


def test_dollars_follow_the_tiers() -> None:
    """Large runs are estimated at the prices of the tiers they reach."""
    card = AdapterCard(name="aws", fingerprint="1", price="aws/detect-labels")
    found = estimate(2000, question(radius=None, n=1000), card=card)
    assert found.usd_expected == 1000 + 800


def lines_about(cost: Price, n: int = 100) -> str:
    return "\n".join(estimate(1, question(radius=None, n=n), cost=cost).assumptions)


def test_the_free_images_are_told_and_not_counted_on() -> None:
    """The estimate is what would be paid without free images, and says what they would save."""
    tiers = (Tier(usd_per_1000=Decimal("1.5")),)
    cost = Price(tiers=tiers, free_per_month=1000, as_of=TODAY, source="page")
    assert "within the free 1,000 a month this would cost $0" in lines_about(cost)
    assert "1,000 a month are free, worth $1.50" in lines_about(cost, n=2000)
    assert "free" not in lines_about(Price(tiers=tiers, as_of=TODAY, source="page"))
    assert estimate(1, question(radius=None, n=100), cost=cost).usd_expected == 0.15


def test_an_old_or_unconfirmed_price_is_called_so() -> None:
    """The day and the source of a price are told, its age when it is old, and what nobody has confirmed."""
    tiers = (Tier(usd_per_1000=Decimal(1)),)
    old = Price(
        tiers=tiers, as_of=date(2026, 5, 24), source="https://p", unconfirmed="all of it", note="soon gone"
    )
    told = lines_about(old)
    assert "price seen on 2026-05-24 at https://p, more than 180 days ago" in told
    assert "unconfirmed: all of it" in told
    assert "soon gone" in told
    assert "days ago" not in lines_about(Price(tiers=tiers, as_of=date(2026, 5, 25), source="https://p"))


def test_hours_are_told_beside_the_dollars() -> None:
    """A model billed by the hour costs nothing a query; the estimate says what the time would cost."""
    card = AdapterCard(
        name="custom",
        fingerprint="1",
        price="aws/detect-custom-labels",
        quotas=(Quota(unit="image", count=5),),
    )
    found = estimate(36, question(radius=None, n=1000), card=card)
    assert found.usd_high == 0.0
    assert any("$4.00 an hour" in line and "$8.00 for the time" in line for line in found.assumptions)


def test_a_local_model_has_neither_price_nor_limit() -> None:
    """What runs here costs nothing, and its speed is not foretold."""
    card = AdapterCard(name="local", fingerprint="1", accepts="tensor")
    found = estimate(3, question(n=500), card=card)
    assert (found.usd_high, found.seconds_high) == (0.0, 0.0)
    assert "this machine" in found.assumptions[-1]
    assert not any("$" in line for line in found.assumptions)


@pytest.mark.parametrize("method", ["fixed", "clopper-pearson"])
def test_the_estimated_budget_suffices(method: str) -> None:
    """A budget of exactly what the estimate says completes a run in which nothing fails."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("house" if is_canary(images) else "dog" if draw(images[0]) > 0.08 else "cat")]

    service = CountingService(reply, drift="canary")
    needed = api_of(service, method=method).estimate(1, n=100).queries_high
    with api_of(service, method=method, budget=Budget(queries=needed)) as api:
        assert api.certify(GREY, n=100).stopped == "n"
