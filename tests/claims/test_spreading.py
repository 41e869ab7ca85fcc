"""Spreading a budget: the index is what it is defined to be, and spending by it certifies more, never falsely more."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from api_smoothing.certify.plan import expected_queries, target_boundary
from api_smoothing.claims import intervals
from api_smoothing.claims.spreading import Spreading, way

P0 = 0.69
SHARES = np.array([0.4, 0.6, 0.72, 0.9, 0.999])
WEIGHTS = np.array([0.2, 0.2, 0.2, 0.2, 0.2])


@pytest.fixture(scope="module")
def spreading() -> Spreading:
    return Spreading(SHARES, WEIGHTS, p0=P0, alpha=0.05)


@pytest.mark.parametrize(("votes", "n"), [(0, 0), (4, 4), (5, 6), (9, 13), (12, 16)])
def test_the_index_is_the_price_at_which_going_on_breaks_even(
    spreading: Spreading, votes: int, n: int
) -> None:
    """By recursion over states, from the definition: a little below the index it pays, a little above it does not."""
    boundary = target_boundary(P0, alpha=0.05)
    tops = boundary.counts(spreading.horizon).tolist()

    def pays(price: float) -> bool:
        @cache
        def value(k: int, m: int) -> float:
            if m and k >= tops[m - 1]:
                return 1.0
            return max(0.0, going(k, m)) if m < spreading.horizon else 0.0

        def going(k: int, m: int) -> float:
            weight = WEIGHTS * SHARES**k * (1.0 - SHARES) ** (m - k)
            hit = float(weight @ SHARES / weight.sum())
            return hit * value(k + 1, m + 1) + (1.0 - hit) * value(k, m + 1) - price

        for m in range(spreading.horizon, n, -1):  # from behind, so that no recursion is deep
            for k in range(votes, votes + m - n + 1):
                value(k, m)
        return going(votes, n) > 0.0

    index = spreading.index(votes, n)
    assert index > 0.0
    ratio = float(spreading._prices[0] / spreading._prices[1])
    assert pays(index / 1.001)
    assert not pays(index * ratio * 1.001)


def test_votes_raise_the_index_and_misses_lower_it(spreading: Spreading) -> None:
    """So an image that disappoints falls behind one not begun, and may come back."""
    fresh = spreading.index(0, 0)
    assert spreading.index(4, 4) > fresh > spreading.index(2, 4) > spreading.index(1, 6)
    for n in (5, 20, 100):
        along = [spreading.index(k, n) for k in range(n + 1) if not spreading.certified(k, n)]
        assert along == sorted(along)
    assert spreading.index(int(0.8 * spreading.horizon), spreading.horizon) > 0.0
    assert 0.0 < spreading.index(int(0.6 * spreading.horizon), spreading.horizon) < 1e-5


def test_the_answers_go_to_the_most_promising(spreading: Spreading) -> None:
    """In order of index, an image that is done left out, all answers given out and none beyond a certificate."""
    states = [(2, 6), None, (8, 8), (0, 0), (7, 8)]
    taken = spreading.take(states, 10)
    index = [spreading.index(*states[place]) for place, _ in taken]  # type: ignore[misc]
    assert index == sorted(index, reverse=True)
    assert [place for place, _ in taken][:2] == [2, 3]
    assert sum(answers for _, answers in taken) == 10
    assert all(states[place] is not None for place, _ in taken)
    near = (9, 10)
    assert spreading.take([near], 1000)[0][1] <= (spreading._boundary.reach(*near) or 0)
    assert spreading.take([(3, 5), (1, 1)], 0) == []


def run(spreading: Spreading, p: np.ndarray, budget: int, rng: np.random.Generator) -> list[int]:  # type: ignore[type-arg]
    """The places of the certified images."""
    votes, asked, done = np.zeros(p.size, int), np.zeros(p.size, int), np.zeros(p.size, bool)
    spent = 0
    while spent < budget and not done.all():
        states = [None if d else (int(k), int(n)) for k, n, d in zip(votes, asked, done, strict=True)]
        for place, answers in spreading.take(states, min(32, budget - spent)):
            for _ in range(answers):
                spent += 1
                asked[place] += 1
                votes[place] += rng.random() < p[place]
                if spreading.certified(int(votes[place]), int(asked[place])):
                    done[place] = True
                    break
    assert spent <= budget
    return np.nonzero(done)[0].tolist()


def test_no_spending_certifies_falsely_more_often(spreading: Spreading) -> None:
    """40 sets of 30 images at p0 itself, with 100 answers for each on average: false ones are 5 % of them at most."""
    rng = np.random.default_rng(0)
    false = sum(len(run(spreading, np.full(30, P0), 3_000, rng)) for _ in range(40))
    low, _ = intervals.exact(false, 40 * 30)
    assert low <= 0.05
    assert false > 0


def test_it_certifies_more_than_an_equal_split() -> None:
    """100 images, 30 answers each on average: against exact α-spending within 30 answers of each."""
    spreading = Spreading(SHARES, WEIGHTS, p0=P0)
    p = np.repeat(SHARES, 20)
    rng = np.random.default_rng(3)
    found = np.mean([len(run(spreading, rng.permutation(p), 3_000, rng)) for _ in range(3)])
    equal = 20 * sum(expected_queries(float(share), P0, alpha=0.001, cap=30).power for share in SHARES)
    assert found > equal + 5


def test_a_small_budget_has_a_cap_and_a_larger_one_is_spread() -> None:
    """Where few of the images can be taken up, the capped rule is the cheaper one."""
    settings = {"p0": P0, "images": 200, "alpha": 0.001, "right": 0.9, "caps": (19, 40, 200, 600)}
    small = way(SHARES, WEIGHTS, budget=800, **settings)  # type: ignore[arg-type]
    assert small.cap is not None
    assert small.cap < 60
    large = way(SHARES, WEIGHTS, budget=12_000, **settings)  # type: ignore[arg-type]
    assert large.cap is None
    assert 0.9 * 0.9 * 0.6 * 200 < large.certified < 0.9 * 0.6 * 200
