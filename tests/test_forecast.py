"""Estimates: what a run will cost, told before anything is sent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters import AdapterCard, Answer, Label, Verdict
from api_smoothing.certify import plan
from api_smoothing.certify.radius import threshold
from api_smoothing.engine.forecast import PRIOR
from api_smoothing.errors import UnreachableRadiusError

GREY = np.full((16, 16, 3), 128, np.uint8)


class Priced:
    """A service at a tenth of a cent a query and 30 queries a second, that agrees on everything."""

    def __init__(self) -> None:
        self.card = AdapterCard(name="priced", fingerprint="1", usd_per_query=0.001, queries_per_second=30)
        self.asked = 0

    def label(self, images, /):  # type: ignore[no-untyped-def]
        self.asked += len(images)
        return [Answer(labels=(Label(name="cat"),)) for _ in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def smoothed(adapter: Priced, budget: Budget | None = None, method: str = "auto") -> SmoothedAPI:
    return SmoothedAPI(adapter, denoiser=None, seed=0, cache=False, budget=budget, method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "queries"), [("auto", 300), ("clopper-pearson", 330)])
def test_a_fixed_number_of_queries_is_known_to_the_cent(method: str, queries: int) -> None:
    """With n alone the estimate is exact in queries, dollars and seconds, and sends nothing."""
    adapter = Priced()
    found = smoothed(adapter, method=method).estimate(3, n=100, n0=10)
    assert (found.queries_low, found.queries_expected, found.queries_high) == (queries,) * 3
    assert found.usd_expected == pytest.approx(queries / 1000)
    assert found.seconds_expected == pytest.approx(queries / 30)
    assert adapter.asked == 0


def test_a_target_is_estimated_by_exact_expectation_over_the_prior() -> None:
    """For one unknown image the expected queries are the mean over the prior of the exact expectation."""
    found = smoothed(Priced()).estimate(1, radius=0.25, n=500)
    p0 = threshold(0.25, sigma=0.25)
    calls = [plan.expected_queries(p, p0, alpha=0.001, cap=500).calls for p in PRIOR]
    assert found.queries_expected == round(sum(calls) / len(calls))
    assert found.queries_low == int(min(calls))
    assert found.queries_high == math.ceil(max(calls))


def test_many_images_are_estimated_closer_than_one() -> None:
    """The spread of a sum of images grows slower than the sum."""
    api = smoothed(Priced())
    one, many = api.estimate(1, radius=0.25, n=500), api.estimate(100, radius=0.25, n=500)
    assert many.queries_low < many.queries_expected < many.queries_high
    wide = (one.queries_high - one.queries_low) / one.queries_expected
    assert (many.queries_high - many.queries_low) / many.queries_expected < wide / 3


def test_what_is_cached_is_not_estimated_again() -> None:
    """An image that was certified costs nothing more, and one half done only the rest."""
    adapter = Priced()
    api = smoothed(adapter)
    api.certify(GREY, n=60)
    asked = adapter.asked
    assert api.estimate(GREY, n=100).queries_expected == 40
    assert api.estimate([GREY], n=60).queries_expected == 0
    assert adapter.asked == asked


def test_the_budget_bounds_the_estimate() -> None:
    """No more is announced than the budget allows, and the estimate says so."""
    found = smoothed(Priced(), Budget(usd=0.05)).estimate(3, n=100)
    assert found.queries_high == 50
    assert any("budget" in line for line in found.assumptions)


def test_an_unreachable_radius_is_refused() -> None:
    """What no answers could certify has no price."""
    with pytest.raises(UnreachableRadiusError):
        smoothed(Priced()).estimate(1, radius=0.9, n=100)


def test_the_estimate_holds_the_true_cost() -> None:
    """A unanimous image costs what the low end of the estimate says, within the range."""
    adapter = Priced()
    api = smoothed(adapter)
    found = api.estimate(1, radius=0.25, n=500)
    spent = api.certify(GREY, radius=0.25, n=500).queries
    assert found.queries_low <= spent <= found.queries_high
