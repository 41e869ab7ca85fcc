"""Planning without queries, and certificates for several labels at once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify import certifier, plan

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001


@pytest.mark.parametrize("row", GOLDEN["information_limit_queries"]["rows"])
def test_information_limit_golden(row: list[float]) -> None:
    """ln(1/α)/KL(p‖p0) is the published number of answers."""
    p0, p, expected = row
    assert plan.information_limit(p, p0, ALPHA) == pytest.approx(expected, abs=0.1)  # published to 0.1


@pytest.mark.parametrize(
    ("n", "expected"), [(20, 0.5474), (100, 1.5004750), (1000, 2.4632626), (100_000, 3.8114566)]
)
def test_largest_radius_of_the_paper(n: int, expected: float) -> None:
    """Unanimous votes reach the published radius under the paper's protocol, and more under the no-split rule."""
    paper = plan.max_radius(n=n, alpha=ALPHA, sigma=1.0, method="clopper-pearson")
    assert paper == pytest.approx(expected, abs=5e-5)
    no_split = plan.max_radius(n=n + 100, alpha=ALPHA, sigma=1.0)
    anytime = plan.max_radius(n=n + 100, alpha=ALPHA, sigma=1.0, method="sequential")
    assert no_split > paper
    assert 0.9 * no_split < anytime < no_split


@pytest.mark.parametrize(("radius", "least"), [(1.0, 40), (1.5, 100), (2.0, 301)])
def test_fewest_answers(radius: float, least: int) -> None:
    """No rule certifies σ below 40 answers, 1.5σ below 100, 2σ below 300; one answer fewer is not enough."""
    assert plan.min_queries(radius, alpha=ALPHA, sigma=1.0) == least
    p0 = float(ndtr(radius))
    assert p0**least <= ALPHA < p0 ** (least - 1)
    reach = plan.target_boundary(p0, alpha=ALPHA).reach(0, 0)
    assert reach is not None
    assert least <= reach <= 1.25 * least


def test_largest_radius_is_what_a_run_reports() -> None:
    """The plan's radius is the one a unanimous run gets, for every rule."""
    for method in ("fixed", "sequential", "clopper-pearson"):
        made = certifier(n=150, n0=3, sigma=0.25, method=method)  # type: ignore[arg-type]
        while need := made.need():
            made.add(["a"] * need)
        expected = plan.max_radius(n=150, alpha=ALPHA, sigma=0.25, method=method)  # type: ignore[arg-type]
        assert made.result().radius == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("cap", "p"), [(None, 0.97), (120, 0.97), (120, 0.8)])
def test_expected_queries_match_simulated_runs(cap: int | None, p: float) -> None:
    """The exact mean and power agree with certifiers that are run, to four standard errors."""
    expected = plan.expected_queries(p, float(ndtr(1.0)), alpha=ALPHA, cap=cap)
    draw, calls, reached = random.Random(4), [], []
    for _ in range(300):
        made = certifier(target=0.25, sigma=0.25, n=cap)
        while need := made.need():
            made.add(["a" if draw.random() < p else None for _ in range(need)])
        calls.append(made.result().n)
        reached.append(bool(made.result().reached))
    assert np.mean(calls) == pytest.approx(expected.calls, abs=4 * np.std(calls) / 300**0.5)
    assert np.mean(reached) == pytest.approx(expected.power, abs=4 * 0.5 / 300**0.5)


@pytest.mark.parametrize(("p0", "cap"), [(0.6554, 60), (0.6554, 700), (float(ndtr(1.0)), 1200)])
def test_a_rough_plan_is_near_the_exact_one(p0: float, cap: int) -> None:
    """Mean answers and power of many shares, to 3 %; exactly so where nothing is left out."""
    shares = np.linspace(0.3, 0.999, 30)
    exact = plan.expected_of_many(shares, p0, alpha=ALPHA, cap=cap)
    rough = plan.roughly_of_many(shares, p0, alpha=ALPHA, cap=cap)
    for about, found in zip(exact, rough, strict=True):
        assert found.mean() == pytest.approx(about.mean(), rel=0.03)


def test_a_cap_costs_little_near_the_information_limit() -> None:
    """Without a cap the mean is at most 1.3 times the limit from p=0.9 to p=0.99 at p0=0.84."""
    p0 = float(ndtr(1.0))
    for p in (0.9, 0.95, 0.97, 0.99):
        expected = plan.expected_queries(p, p0, alpha=ALPHA)
        assert expected.power > 0.98
        assert expected.calls < 1.3 * plan.information_limit(p, p0, ALPHA)


@pytest.mark.parametrize("n", [20, 44, 98, 400])
def test_the_largest_target_without_a_cap(n: int) -> None:
    """The radius announced for n answers is out of their reach by a hair at most, and within it by as little."""
    most = plan.max_radius(n=n, alpha=ALPHA, sigma=1.0, method="open")
    within = plan.target_boundary(float(ndtr(most - 0.06)), alpha=ALPHA).reach(0, 0)
    beyond = plan.target_boundary(float(ndtr(most + 0.01)), alpha=ALPHA).reach(0, 0)
    assert within is not None
    assert beyond is not None
    assert within <= n < beyond
