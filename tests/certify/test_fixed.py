"""Rules for a fixed number of answers: with a split as in the paper, and without one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certifiers import make
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.certify import certifier, clopper_pearson, fixed, radius
from api_smoothing.certify.base import FAILED, Certifier

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001


@pytest.mark.parametrize(("n", "k_min"), GOLDEN["no_split_lcb"]["kmin"].items())
def test_no_split_k_min_golden(n: str, k_min: int) -> None:
    """The smallest count that certifies anything is the published one."""
    assert fixed.no_split_k_min(int(n), ALPHA) == k_min


@pytest.mark.parametrize("row", GOLDEN["no_split_lcb"]["rows"])
def test_no_split_lower_golden(row: list[float]) -> None:
    """The no-split bound has the published value; one vote below k_min there is none."""
    n, k, expected = row
    assert fixed.no_split_lower(int(k), int(n), ALPHA) == pytest.approx(expected, abs=2e-10)
    assert fixed.no_split_lower(fixed.no_split_k_min(int(n), ALPHA) - 1, int(n), ALPHA) == 0.0


def test_no_split_beats_the_split_at_equal_price() -> None:
    """120 votes without a split reach 1.5898073σ, the paper's 20+100 stop at 1.5004750σ."""
    assert radius.radius(fixed.no_split_lower(120, 120, ALPHA), sigma=1.0) == pytest.approx(
        1.5898073, abs=1e-7
    )


def counts_of(n: int, classes: int) -> Iterator[tuple[int, ...]]:
    """All ways to share n votes among the classes."""
    if classes == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in counts_of(n - first, classes - 1):
            yield (first, *rest)


def multinomial_error(n: int, probabilities: tuple[float, ...], lower: dict[int, float]) -> float:
    """Exact probability that the class with most votes gets a bound above its true probability."""
    error = 0.0
    for counts in counts_of(n, len(probabilities)):
        top = max(counts)
        weight = math.factorial(n)
        for k in counts:
            weight //= math.factorial(k)
        chance = weight * math.prod(p**k for p, k in zip(probabilities, counts, strict=True))
        if any(k == top and lower[k] > p for p, k in zip(probabilities, counts, strict=True)):
            error += chance
    return error


NULLS = [(q, 1 - q) for q in np.linspace(0.5, 0.98, 25)] + [
    (q, (1 - q) * s, (1 - q) * (1 - s))
    for q in (0.34, 0.45, 0.5, 0.52, 0.6, 0.75, 0.9)
    for s in (0.5, 0.8, 1.0)
]


def worst_error(lower: dict[int, float], extra: tuple[float, ...] = ()) -> float:
    """The largest error over the nulls, and over two classes just below every bound, where errors peak."""
    edges = [(b - 1e-12, 1 - b + 1e-12) for b in (*lower.values(), *extra) if b > 0.5]
    return max(multinomial_error(30, p, lower) for p in [*NULLS, *edges])


def test_no_split_is_sound_by_enumeration() -> None:
    """All 2- and 3-class multinomials of 30 votes: the no-split bound errs at most α, and uses most of it."""
    lower = {k: fixed.no_split_lower(k, 30, 0.05) for k in range(31)}
    assert 0.03 < worst_error(lower) <= 0.05


def test_reusing_the_votes_at_full_alpha_is_unsound() -> None:
    """Choosing the class with the votes that then bound it breaks α: the enumeration sees it."""
    lower = {k: float(clopper_pearson.lower(k, 30, 0.05)) for k in range(31)}
    lower = {k: p if p > 0.5 else 0.0 for k, p in lower.items()}
    assert worst_error(lower) > 0.055


def test_the_symmetric_bound_is_unsound() -> None:
    """f_k(p)+f_k(1−p) in place of f_k(p)+f_kmin(1−p) errs 0.0519 at α=0.05: the enumeration sees it."""
    least = fixed.no_split_k_min(30, 0.05)

    def trap(k: int) -> float:
        if k < least:
            return 0.0
        grid = np.linspace(0.5, 1.0, 200_001)[:-1]
        from scipy.special import betainc

        total = betainc(k, 31 - k, grid) + betainc(k, 31 - k, 1 - grid)
        return float(grid[np.argmax(total > 0.05)])

    assert worst_error({k: trap(k) for k in range(31)}) == pytest.approx(0.0519, abs=2e-4)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(20, 3000), data=st.data(), alpha=st.floats(1e-4, 0.05))
def test_no_split_is_monotone_and_below_the_split_bound(n: int, data: st.DataObject, alpha: float) -> None:
    """More votes or a larger α raise the bound; it never exceeds Clopper-Pearson's on the same votes."""
    k = data.draw(st.integers(fixed.no_split_k_min(n, alpha), n))
    here = fixed.no_split_lower(k, n, alpha)
    assert here <= float(clopper_pearson.lower(k, n, alpha)) * (1 + 1e-9)
    assert fixed.no_split_lower(k - 1, n, alpha) < here
    assert fixed.no_split_lower(k, n, alpha * 1.5) >= here


@pytest.mark.parametrize("rule", ["fixed", "paper", "runner-up"])
def test_a_fixed_run_claims_nothing_early(rule: str) -> None:
    """Before all n answers are counted a fixed-n rule has no radius, however clear the votes."""
    made = make(rule)
    made.add(["a"] * 39)
    assert made.need() > 0
    assert made.result().label is None
    assert made.result().stopped is None


def test_the_votes_that_choose_are_not_counted() -> None:
    """The paper's protocol bounds p with the n other votes only, and names n0."""
    made = certifier(n=100, n0=10, sigma=1.0, alpha=0.001, method="clopper-pearson")
    made.add(["a"] * 10 + ["a"] * 95 + ["b"] * 5)
    bound = made.result()
    assert (bound.n, bound.n0, bound.votes, bound.runner_up) == (100, 10, 95, "b")
    assert bound.radius == pytest.approx(1.0136817992, abs=1e-9)


def test_runner_up_counts_what_is_no_class() -> None:
    """Answers without a label, and failed ones, stand against the class like one more class."""
    golden = certifier(n=1000, n0=1, sigma=1.0, alpha=0.001, method="runner-up")
    golden.add(["a"] + ["a"] * 600 + ["b"] * 100 + [f"c{i // 90}" for i in range(300)])
    assert golden.result().radius == pytest.approx(0.60455, abs=6e-6)
    unlabelled = certifier(n=1000, n0=1, sigma=1.0, alpha=0.001, method="runner-up")
    unlabelled.add(["a"] + ["a"] * 600 + ["b"] * 100 + [None] * 300)
    assert unlabelled.result().radius < 0.4


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_a_fixed_run_does_not_matter(seed: int) -> None:
    """A complete no-split run depends on the counts only."""
    votes = ["a"] * 35 + ["b"] * 4 + [None]
    shuffled = random.Random(seed).sample(votes, len(votes))
    one, two = make("fixed"), make("fixed")
    one.add(votes)
    two.add(shuffled)
    assert one.result() == two.result()


@pytest.mark.parametrize("shares", [(0.4913, 0.4913, 0.0174), (0.4913, 0.5087), (0.2,) * 5, (0.01,) * 100])
def test_what_an_abstention_claims_of_the_leader_allows_for_its_choice(shares: tuple[float, ...]) -> None:
    """Exact: over all classes the bound is broken with probability at most α; Clopper-Pearson's more often."""

    def error(lower: Callable[[int], float]) -> float:
        bounds = [lower(k) for k in range(101)]
        least = [next((k for k in range(101) if bounds[k] > p), 101) for p in shares]
        return sum(fixed.tail(k, 100, p) for k, p in zip(least, shares, strict=True))

    assert error(lambda k: fixed.leader_lower(k, 100, ALPHA)) <= ALPHA
    assert error(lambda k: float(clopper_pearson.lower(k, 100, ALPHA))) > ALPHA


def feed(made: Certifier, answers: Sequence[Any]) -> None:
    """Give it what it needs of the answers, in order."""
    rest = iter(answers)
    while need := made.need():
        made.add([next(rest) for _ in range(need)])


def test_an_abstention_keeps_its_bound() -> None:
    """65 of 100 prove 0.4808 of a class these votes chose, 0.4914 of one that others chose; nothing after failures."""
    answers = ["a"] * 65 + ["b"] * 35
    made = certifier(n=100, sigma=0.25, alpha=ALPHA, method="fixed")
    feed(made, answers)
    assert made.result().label is None
    assert made.result().p_lower == pytest.approx(0.48078193, abs=1e-8)
    split = certifier(n=100, n0=10, sigma=0.25, alpha=ALPHA, method="clopper-pearson")
    feed(split, ["a"] * 10 + answers)
    assert (split.result().label, split.result().votes) == (None, 65)
    assert split.result().p_lower == pytest.approx(0.4913756, abs=1e-7)
    void = certifier(n=100, sigma=0.25, alpha=ALPHA, method="fixed")
    feed(void, ["a"] * 60 + [FAILED] * 40)
    assert (void.result().stopped, void.result().p_lower) == ("failed", 0.0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 1), (1, 100), (2, 2), (50, 100), (100, 100)])
def test_the_leaders_bound_stays_below_one_half(k: int, n: int) -> None:
    """It is a bound, never more than the share, and no certificate."""
    assert 0.0 <= fixed.leader_lower(k, n, ALPHA) <= min(0.5, k / n)
