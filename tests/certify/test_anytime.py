"""A bound that holds at every number of answers, and what all answers about one stream err together.

The latter exactly, where every question after the first is chosen by who sees the votes: dynamic programming over the
counts of two classes, p and 1 − p, maximised over what is asked when. A claim is wrong when its bound is above the
probability of the class it names.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import pytest
from certifiers import ALPHA, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from api_smoothing.certify import Spec, anytime, certifier, certifier_of
from api_smoothing.certify.anytime import _GRID, AnytimeCertifier, log_e
from api_smoothing.certify.fixed import no_split_lower
from api_smoothing.certify.plan import target_boundary


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([0.6, 0.9]), stop=st.integers(1, 39))
def test_the_anytime_bound_resumes_and_only_grows(seed: int, p: float, stop: int) -> None:
    """Fed the same answers in any portions it ends the same, and a longer run never takes back a radius."""
    answers = [a for a, _ in zip(stream(seed, p), range(400), strict=False)]
    short = certifier(n=200, sigma=0.25, alpha=ALPHA, method="sequential")
    long = certifier(n=400, sigma=0.25, alpha=ALPHA, method="sequential")
    for made in (short, long):
        start = 0
        while need := made.need():
            made.add(answers[start : start + min(stop, need)])
            start += min(stop, need)
    assert long.result().radius >= short.result().radius


P0 = float(ndtr(1.0))


@pytest.mark.parametrize("p0", [0.5, P0])
def test_anytime_e_value_is_a_supermartingale(p0: float) -> None:
    """The Beta mixture with its share on unanimity starts at 1 and does not grow on average at p = p0."""
    assert anytime.log_e(0, 0, p0) == pytest.approx(0.0, abs=1e-12)
    for n, k in ((0, 0), (1, 1), (9, 9), (9, 8), (60, 50), (300, 200)):
        after = p0 * math.exp(anytime.log_e(k + 1, n + 1, p0)) + (1 - p0) * math.exp(
            anytime.log_e(k, n + 1, p0)
        )
        assert after <= math.exp(anytime.log_e(k, n, p0)) * (1 + 1e-9)


Wrong = Callable[
    [int], NDArray[np.bool_]
]  # by the votes for the first class, 0…n, whether what is said at n is wrong


def worst(p: float, horizon: int, wrong: Wrong) -> float:
    """P(some wrong answer) under the policy that makes it largest.

    The value of a state is the larger of asking there and of passing on; either way the next vote comes.
    """
    value = np.zeros(horizon + 2)
    for n in range(horizon, -1, -1):
        on = p * value[1 : n + 2] + (1 - p) * value[: n + 1]
        value = np.maximum(np.where(wrong(n), 1.0, on), on)
    return float(value[0])


def of_both(claims: Callable[[int, float], NDArray[np.bool_]], n: int, p: float) -> NDArray[np.bool_]:
    """Whether either class is claimed to be likelier than it is; `claims` is by the class's own votes."""
    return claims(n, p) | claims(n, 1.0 - p)[::-1]


@cache
def no_split(n: int, alpha: float) -> tuple[float, ...]:
    return tuple(no_split_lower(k, n, alpha) for k in range(n + 1))


def by_its_own_rule(alpha: float, p: float, asked: frozenset[int]) -> Wrong:
    """Each n in `asked` is answered as a fixed n at α."""

    def claims(n: int, p: float) -> NDArray[np.bool_]:
        return np.array([bound > p for bound in no_split(n, alpha)])

    return lambda n: of_both(claims, n, p) if n in asked else np.zeros(n + 1, bool)


def by_the_sequence(alpha: float, p: float) -> Wrong:
    """The confidence sequence is asked at every n; whoever is wronged has met the grid's next point above p."""

    def claims(n: int, p: float) -> NDArray[np.bool_]:
        point = float(_GRID[np.searchsorted(_GRID, p)])
        least = -np.log(alpha * point)
        found = np.zeros(n + 1, bool)
        low, high = n // 2, n + 1
        while high - low > 1:  # e-values grow with the votes
            middle = (low + high) // 2
            low, high = (low, middle) if log_e(middle, n, point) >= least else (middle, high)
        found[high:] = True
        return found

    return lambda n: of_both(claims, n, p)


def by_a_capped_target(alpha: float, p: float, p0: float, cap: int) -> Wrong:
    """The exact boundary for p0 within `cap`: wrong for a class that has no more than p0."""
    counts = target_boundary(p0, alpha=alpha, cap=cap).counts(cap)

    def claims(n: int, p: float) -> NDArray[np.bool_]:
        if not 0 < n <= cap or p > p0:
            return np.zeros(n + 1, bool)
        return np.arange(n + 1) >= counts[n - 1]

    return lambda n: of_both(claims, n, p)


def either(*rules: Wrong) -> Wrong:
    def wrong(n: int) -> NDArray[np.bool_]:
        found = [rule(n) for rule in rules]
        return np.logical_or.reduce(found)

    return wrong


SHARES = [0.5, 0.6, 0.8, float(ndtr(1.0)), 0.95]
HORIZON = 400


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("p", SHARES)
def test_the_worst_policy_stays_within_the_total_it_is_told(alpha: float, p: float) -> None:
    """A first question at α under any rule, then anything from the sequence at α: 2α, and α where it was first too."""
    later = by_the_sequence(alpha, p)
    assert worst(p, HORIZON, later) <= alpha
    for first in (
        *(by_its_own_rule(alpha, p, frozenset([n])) for n in (30, 100, 400)),
        by_a_capped_target(alpha, p, max(p, 1 - p), 100),
        by_a_capped_target(alpha, p, max(p, 1 - p), 400),
    ):
        assert worst(p, HORIZON, first) <= alpha
        assert worst(p, HORIZON, either(first, later)) <= 2 * alpha


@pytest.mark.parametrize("schedule", [range(100, 801, 100), (100, 200, 400, 800), range(20, 401, 20)])
def test_the_programme_sees_what_topping_up_does(schedule: tuple[int, ...]) -> None:
    """Answered each by its own rule at α, the same schedules err more than twice as often as α: this finds it."""
    rule = by_its_own_rule(0.05, 0.8, frozenset(schedule))
    assert worst(0.8, max(schedule), rule) > 2 * 0.05


def test_every_answer_of_the_certifiers_themselves() -> None:
    """Over all strings of ten votes: the worst first question, and every later one as the certifiers answer it.

    The later ones alone, all of them, are wrong with probability α.
    """
    alpha, votes = 0.1, 10
    asked = [{"n": n} for n in range(5, 11)]
    asked += [{"n": n, "radius": radius} for n in (7, 10) for radius in (0.05, 0.1)]
    asked += [{"n": n, "method": "clopper-pearson", "n0": 2} for n in (5, 8)]

    def said(path: tuple[str, ...], later: bool, question: dict[str, object]) -> tuple[str | None, float]:
        made = certifier_of(Spec(sigma=0.25, alpha=alpha, later=later, **question))  # type: ignore[arg-type]
        left = list(path)
        while left and (need := made.need()):
            made.add(left[:need])
            del left[:need]
        bound = made.result()
        return bound.label, bound.p_lower

    paths = list(product("ab", repeat=votes))
    later = [[said(path, True, question) for question in asked] for path in paths]
    for question in asked:
        first = [said(path, False, question) for path in paths]
        for p in (0.5, 0.55, 0.62, 0.7, 0.8):
            share = {"a": p, "b": 1 - p}
            total = after = 0.0
            for path, one, others in zip(paths, first, later, strict=True):
                wrong = [label is not None and bound > share[label] for label, bound in (one, *others)]
                chance = p ** path.count("a") * (1 - p) ** path.count("b")
                total += chance * any(wrong)
                after += chance * any(wrong[1:])
            assert total <= 2 * alpha
            assert after <= alpha


@pytest.mark.parametrize("limit", [None, 400])
def test_a_later_target_is_reached_where_the_sequence_is(limit: int | None) -> None:
    """A radius is certified at the first n at which the bound of the best radius reaches it, whatever the limit."""
    rng = np.random.default_rng(2)
    votes = ["a" if draw < 0.95 else "b" for draw in rng.random(400)]
    best = AnytimeCertifier(limit=400, limit_name="n", alpha=0.01, sigma=0.25)
    aimed = AnytimeCertifier(limit=limit, limit_name="n", alpha=0.01, sigma=0.25, target=0.25)
    for vote in votes:
        best.add([vote])
        if best.result().radius >= 0.25:
            break
    taken = 0
    while need := aimed.need():
        aimed.add(votes[taken : taken + need])
        taken += need
    assert (aimed.result().stopped, aimed.result().radius, taken) == ("target", 0.25, best.result().n)


def test_what_a_later_question_cannot_reach_is_abstained_from_at_once() -> None:
    """Too few answers even if all agree: nothing is asked, and the least number is told."""
    made = certifier_of(Spec(sigma=0.25, radius=0.25, n=30, later=True))
    assert made.need() == 0
    assert (made.result().stopped, made.result().reached) == ("futile", False)
    assert "takes 46 or more" in made.result().reason
    assert certifier_of(Spec(sigma=0.25, radius=0.25, n=46, later=True)).need() > 0


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3, 0.49])
def test_an_abstentions_bound_holds_wherever_it_stops(p: float) -> None:
    """Exact over 300 answers: a class of share p is ever claimed to have more with probability at most α·p."""
    paths, wronged = np.ones(1), 0.0
    for n in range(1, 301):
        paths = np.append(paths * (1 - p), 0.0) + np.append(0.0, paths * p)
        least = bisect_right(range(n + 1), p, key=lambda k, n=n: anytime.leader_lower(k, n, ALPHA))
        wronged += paths[least:].sum()
        paths[least:] = 0.0
    assert 0.0 < wronged <= ALPHA * p


def test_a_run_to_a_target_keeps_what_it_proved_of_the_leader() -> None:
    """Given up as futile: the leader's bound is told, below its share."""
    for spec in (
        Spec(radius=0.25, sigma=0.25, alpha=ALPHA),
        Spec(n=400, sigma=0.25, alpha=ALPHA, later=True),
    ):
        made = certifier_of(spec)
        answers = iter("ab" * 400)
        while need := made.need():
            made.add([next(answers) for _ in range(need)])
        found = made.result()
        assert (found.label, found.stopped) == (None, "futile")
        assert found.p_lower == anytime.leader_lower(found.votes, found.n, ALPHA)
        assert found.p_lower < found.votes / found.n
