"""Planning without queries, and certificates for several labels at once."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import FAILED, certifier, plan
from api_smoothing.certify.error_bounds import null_error, open_crossing
from api_smoothing.certify.presence import Absent, PresenceCertifier, top_k_presence
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.errors import ConfigurationError

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


def test_a_cap_costs_little_near_the_information_limit() -> None:
    """Without a cap the mean is at most 1.3 times the limit from p=0.9 to p=0.99 at p0=0.84."""
    p0 = float(ndtr(1.0))
    for p in (0.9, 0.95, 0.97, 0.99):
        expected = plan.expected_queries(p, p0, alpha=ALPHA)
        assert expected.power > 0.98
        assert expected.calls < 1.3 * plan.information_limit(p, p0, ALPHA)


def tags(draw: random.Random) -> frozenset[str]:
    """A tagger's answer: cat nearly always, outdoor half of the time, dog hardly ever."""
    chances = {"cat": 0.985, "outdoor": 0.5, "dog": 0.01}
    return frozenset(label for label, p in chances.items() if draw.random() < p)


def test_presence_and_absence_are_certified_together() -> None:
    """From the same answers: cat present, dog absent, outdoor neither."""
    made = PresenceCertifier(target=0.1, alpha=ALPHA, sigma=0.25, max_labels=3, absent=["dog"])
    draw = random.Random(0)
    while need := made.need():
        made.add([tags(draw) for _ in range(need)])
    results = {bound.label: bound for bound in made.results() if bound.label is not None}
    assert set(results) == {"cat", Absent("dog")}
    assert all(bound.radius == 0.1 and bound.reached for bound in results.values())
    assert {bound.stopped for bound in made.results() if bound.label is None} == {"futile"}


def test_presence_reports_the_best_radius_after_n() -> None:
    """Without a target each label gets its own radius; more labels an answer cost a little of it."""
    radii = []
    for max_labels in (3, 30):
        made = PresenceCertifier(n=200, alpha=ALPHA, sigma=0.25, max_labels=max_labels)
        draw = random.Random(0)
        while need := made.need():
            made.add([tags(draw) for _ in range(need)])
        best = made.results()[0]
        assert (best.label, best.stopped, best.n) == ("cat", "n", 200)
        radii.append(best.radius)
        assert all(bound.label in ("cat", None) for bound in made.results())
    assert radii[0] > radii[1] > 0.2


@pytest.mark.parametrize("mode", [{"target": 0.1}, {"target": 0.1, "n": 80}, {"n": 60}])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_presence_batches_change_nothing(mode: dict[str, Any], seed: int) -> None:
    """Asking need() answers at a time gives the labels the same decisions at the same n as one at a time."""
    results = []
    for one_by_one in (True, False):
        made = PresenceCertifier(alpha=0.05, sigma=0.25, max_labels=3, absent=["dog"], **mode)
        draw = random.Random(seed)
        while need := made.need():
            made.add([tags(draw) for _ in range(1 if one_by_one else need)])
        results.append(made.results())
    assert results[0] == results[1]


def test_a_failed_answer_is_neither_presence_nor_absence() -> None:
    """Failures certify nothing, not even absence, and too many fail every label."""
    made = PresenceCertifier(n=100, alpha=ALPHA, sigma=0.25, max_labels=2, absent=["dog"])
    made.add([frozenset({"cat"})] * 90 + [FAILED] * 10)
    assert {bound.stopped for bound in made.results()} == {"failed"}
    assert all(bound.label is None for bound in made.results())
    assert {bound.votes for bound in made.results()} == {90}


def test_too_many_labels_break_the_contract() -> None:
    """An answer with more labels than max_labels is refused, as the error bound rests on it."""
    made = PresenceCertifier(n=100, alpha=ALPHA, sigma=0.25, max_labels=1)
    with pytest.raises(ConfigurationError, match="max_labels"):
        made.add([frozenset({"cat", "dog"})])


@pytest.mark.parametrize("k", [2, 3])
def test_top_k_is_sound_over_its_classes(k: int) -> None:
    """p0 may be below ½: the error over all classes, Σp ≤ 1, stays within α, and k classes may meet it."""
    p0, boundary = top_k_presence(target=0.02, k=k, alpha=0.05, sigma=0.25)
    assert 1 / (k + 1) < p0 < 0.5
    same = open_boundary(p0, 0.05)
    assert null_error(lambda p: open_crossing(same, 2048, p), p0, 1) <= 0.05
    assert boundary.reach(0, 0) is not None


def test_labels_may_be_any_hashable() -> None:
    """Labels are compared, never interpreted."""
    labels: list[Hashable] = [0, ("a", 1), None]
    made = PresenceCertifier(n=20, alpha=0.05, sigma=0.25, max_labels=3)
    made.add([frozenset(labels[:2])] * 20)
    assert {bound.label for bound in made.results()} == {0, ("a", 1)}
