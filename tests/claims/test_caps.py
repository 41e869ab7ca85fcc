"""Caps: what they are said to take is what runs take, and the cheapest is cheaper than none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.plan import expected_of_many, expected_queries
from api_smoothing.certify.radius import threshold
from api_smoothing.claims import caps
from api_smoothing.claims.caps import for_budget, for_claim
from api_smoothing.claims.claim import Claim
from api_smoothing.engine.estimate.shares import CIFAR10, CONCENTRATION
from api_smoothing.errors import ConfigurationError

P0 = float(ndtr(1.0))
SHARES = np.array([0.3, 0.6, 0.8, 0.86, 0.9, 0.95, 0.99, 0.999])
WEIGHTS = np.full(8, 1 / 8)
CAPS = (60, 100, 200, 500, 1200)


def test_the_claim_is_cheapest_with_a_cap_that_gives_up_early() -> None:
    """Its answers are the product it says, below those of the largest cap, with as good a chance of a proof, nearly."""
    found = for_claim(SHARES, WEIGHTS, p0=P0, at_least=0.3, population=400, caps=CAPS)
    best, largest = found[0], max(found, key=lambda one: one.cap)
    assert best.answers == pytest.approx(best.images * best.each)
    assert best.answers < 0.85 * largest.answers
    assert best.cap < largest.cap
    assert best.proved >= 0.95 * max(one.proved for one in found)
    single = [expected_queries(float(p), P0, alpha=0.001, cap=best.cap) for p in SHARES]
    assert best.each == pytest.approx(np.mean([one.calls for one in single]), rel=1e-6)
    assert best.certified == pytest.approx(np.mean([one.power for one in single]), abs=1e-6)


def test_a_claim_that_needs_the_dear_images_gets_a_larger_cap() -> None:
    """The nearer X is to what is certifiable, the larger the cap."""
    found = [
        for_claim(SHARES, WEIGHTS, p0=P0, at_least=x, population=400, caps=CAPS) for x in (0.2, 0.3, 0.45)
    ]
    caps = [plans[0].cap for plans in found]
    assert caps == sorted(caps)
    assert caps[0] < caps[-1]


def test_the_course_of_a_planned_claim_is_what_simulated_ones_do() -> None:
    """200 sets of 120 images: mean images and the share proved agree with the plan."""
    plan = for_claim(SHARES, WEIGHTS, p0=P0, at_least=0.25, population=120, right=0.9, caps=[100])[0]
    rng = np.random.default_rng(1)
    ends = []
    for _ in range(200):
        claim = Claim(0.25, population=120)
        for one in rng.random(120) < plan.certified:
            if claim.add(bool(one)) != "open":
                break
        ends.append((claim.looked, claim.state == "proved"))
    looked, proved = np.mean(ends, axis=0)
    assert proved == pytest.approx(plan.proved, abs=0.06)
    assert looked == pytest.approx(plan.images, abs=6.0)


@pytest.mark.parametrize(
    ("radius", "at_least", "population", "right"),
    [
        (0.1, 0.4, 300, 1.0),
        (0.1, 0.45, 300, 0.9),
        (0.25, 0.3, 100, 1.0),
    ],
)
def test_a_first_look_changes_no_choice(
    radius: float, at_least: float, population: int, right: float
) -> None:
    """The cheapest of the whole series, each cap of it exactly, is what the first look leaves; and costs the same."""
    p0 = threshold(radius, sigma=0.25)
    about: dict[str, Any] = {"p0": p0, "at_least": at_least, "population": population, "right": right}
    series = caps._tried(p0, 0.001, None)
    whole = for_claim(SHARES, WEIGHTS, caps=series, concentration=50.0, **about)
    assert for_claim(SHARES, WEIGHTS, concentration=50.0, **about)[0] == whole[0]


def test_a_first_look_changes_no_budget() -> None:
    """Nor the cap for a budget."""
    p0 = threshold(0.1, sigma=0.25)
    for budget in (2_000, 60_000):
        about: dict[str, Any] = {"p0": p0, "images": 100, "budget": budget}
        whole = for_budget(SHARES, WEIGHTS, caps=caps._tried(p0, 0.001, None), **about)
        assert for_budget(SHARES, WEIGHTS, **about)[0] == whole[0]


def test_a_plan_takes_a_few_caps_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long, boundaries whose error is calibrated, is left to the caps that are in question."""
    exactly: list[int] = []

    def counted(*args: Any, cap: int, **more: Any) -> Any:
        exactly.append(cap)
        return expected_of_many(*args, cap=cap, **more)

    monkeypatch.setattr(caps, "expected_of_many", counted)
    p0, nodes = threshold(0.25, sigma=0.25), np.array(CIFAR10[0.25])
    weights = np.full(nodes.size, 1 / nodes.size)
    found = for_claim(nodes, weights, p0=p0, at_least=0.4, population=500, concentration=CONCENTRATION)
    assert len(exactly) <= 4 < len(caps._tried(p0, 0.001, None)) / 3
    assert found[0].cap in exactly


def test_a_small_budget_gives_dear_images_up() -> None:
    """More images are certified than with a large cap; with money for all, the larger cap is the better one."""
    for budget, best in ((4_000, 100), (1_000_000, 2000)):
        found = for_budget(SHARES, WEIGHTS, p0=P0, images=100, budget=budget, caps=[100, 2000])
        assert found[0].cap == best
        assert found[0].certified >= found[1].certified
    assert found[0].images == 100.0


def test_many_shares_are_few() -> None:
    """A prior of 400 nodes plans as its 48 means do."""
    fine = np.interp((np.arange(400) + 0.5) / 400, (np.arange(8) + 0.5) / 8, SHARES)
    plan = for_budget(fine, np.full(400, 1 / 400), p0=P0, images=100, budget=10_000, caps=[200])[0]
    exact = [expected_queries(float(p), P0, alpha=0.001, cap=200) for p in fine[10::20]]
    assert plan.certified / plan.images == pytest.approx(np.mean([one.power for one in exact]), abs=0.02)


def test_caps_that_certify_nothing_are_refused() -> None:
    """By one line."""
    with pytest.raises(ConfigurationError, match="certifies anything"):
        for_budget(SHARES, WEIGHTS, p0=P0, images=10, budget=100, caps=[10, 20])


def test_a_large_set_is_planned_as_one_of_two_thousand() -> None:
    """A million images take no longer to plan, and the same cap."""
    found = [for_claim(SHARES, WEIGHTS, p0=P0, at_least=0.3, population=n, caps=[100]) for n in (2000, 10**6)]
    assert found[0] == found[1]


def test_a_prior_of_few_images_plans_for_models_that_are_worse() -> None:
    """Shares certified are drawn from the beta law: the plan's chance of a proof is that of the sets of such models."""
    plan = for_claim(SHARES, WEIGHTS, p0=P0, at_least=0.3, population=200, concentration=8.0, caps=[100])[0]
    sure = for_claim(SHARES, WEIGHTS, p0=P0, at_least=0.3, population=200, caps=[100])[0]
    assert plan.certified == sure.certified
    assert plan.proved < sure.proved - 0.1
    rng = np.random.default_rng(2)
    models = rng.beta(8.0 * plan.certified, 8.0 * (1.0 - plan.certified), 300)
    proved = 0
    for share in models:
        claim = Claim(0.3, population=200)
        while claim.state == "open" and not claim.exhausted:
            claim.add(bool(rng.random() < share))
        proved += claim.state == "proved"
    assert proved / 300 == pytest.approx(plan.proved, abs=0.09)
