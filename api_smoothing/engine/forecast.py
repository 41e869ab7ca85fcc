"""What certifying will cost, from assumed vote shares and exact expectations; nothing is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.certify import plan
from api_smoothing.engine.question import Question
from api_smoothing.results import CostEstimate

#: Vote shares of the top class at the 5th, 15th, …, 95th percentile of images: the published certification logs of
#: four noise-trained CIFAR-10 and ImageNet models (Salman et al. 2019; Jeong and Shin 2020), pooled.
PRIOR: Final = (0.45, 0.5968, 0.7432, 0.8685, 0.9596, 0.9927, 0.9995, 1.0, 1.0, 1.0)
_SPREAD = 1.645  # standard deviations to the 5th and 95th percentile of a sum of many images
_FEW = 30  # votes from which an image's own share is believed


def forecast(
    known: Sequence[Sequence[Hashable | None]],
    *,
    question: Question,
    affordable: int | None,
    card: AdapterCard,
    usd: Callable[[int], float],
) -> CostEstimate:
    """The estimate for one image per entry of `known`, which holds the votes it has already.

    Raises UnreachableRadiusError for a radius no answers can certify.
    """
    question.certifier()  # refuses what no answers could certify
    low, expected, high, assumptions = _queries(known, question)
    if affordable is not None and affordable < high:
        assumptions.append(f"the budget stops the run after {affordable} queries")
        low, expected, high = (min(v, affordable) for v in (low, expected, high))
    if card.usd_per_query:
        assumptions.append(f"${card.usd_per_query:g} a query, failed ones included")
    rate = card.queries_per_second
    assumptions.append(
        f"{rate:g} queries a second" if rate else "time depends on this machine; no rate limit applies"
    )
    low_s, expected_s, high_s = (0.0 if rate is None else v / rate for v in (low, expected, high))
    return CostEstimate(
        images=len(known),
        queries_low=low,
        queries_expected=expected,
        queries_high=high,
        usd_low=usd(low),
        usd_expected=usd(expected),
        usd_high=usd(high),
        seconds_low=low_s,
        seconds_expected=expected_s,
        seconds_high=high_s,
        max_radius=_reach(question),
        assumptions=assumptions,
    )


def _queries(
    known: Sequence[Sequence[Hashable | None]], question: Question
) -> tuple[int, int, int, list[str]]:
    fixed = question.fixed
    if fixed is not None:
        total = sum(max(0, fixed - len(votes)) for votes in known)
        return total, total, total, [f"{fixed} queries an image, less those in the cache"]
    prior = np.array([question.calls(share) for share in PRIOR])
    low = expected = high = variance = 0.0
    own = 0
    for votes in known:
        share = _share(votes)
        own += share is not None
        calls = prior if share is None else np.array([question.calls(share)] * 2) * (0.5, 2.0)
        left = np.maximum(0.0, calls - len(votes))
        low, high = low + float(left.min()), high + float(left.max())
        expected += float(left.mean())
        variance += float(left.var())
    spread = _SPREAD * math.sqrt(variance)
    if len(known) > 1:
        low, high = max(low, expected - spread), min(high, expected + spread)
    sources = [f"{own} images by their cached votes"] if own else []
    if own < len(known):
        sources.append(f"{len(known) - own} images by the vote shares of published certification logs")
    return math.floor(low), round(expected), math.ceil(high), sources


def _share(votes: Sequence[Hashable | None]) -> float | None:
    """The top class's share, shrunk so that unanimous votes do not promise certainty; None for too few votes."""
    if len(votes) < _FEW:
        return None
    top = max(Counter(v for v in votes if v is not None).values(), default=0)
    return (top + 0.5) / (len(votes) + 1.0)


def _reach(question: Question) -> float | None:
    if question.n is None:
        return None
    return plan.max_radius(
        n=question.n,
        alpha=question.alpha,
        sigma=question.sigma,
        method=question.method,
        noise=question.noise,
    )
