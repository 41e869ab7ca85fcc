"""The runner-up radius: separate votes choose the class, the others bound it and the second."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial

import pytest
from scipy.special import ndtri

from api_smoothing.certify import certifier, plan
from api_smoothing.certify.fixed import no_split_lower

N = 24
ALPHA = 0.05
NAMES = ("a", "b", "c")


@lru_cache
def certified(counts: tuple[int, int, int], *, chosen: str = "a") -> float:
    """The radius in units of σ for these counts of the N votes, a class chosen by votes before."""
    made = certifier(n=N, n0=1, sigma=1.0, alpha=ALPHA, method="runner-up")
    made.add([chosen])
    made.add([name for name, k in zip(NAMES, counts, strict=True) for _ in range(k)])
    return made.result().radius


def true_radius(shares: tuple[Fraction, ...], place: int) -> float:
    """The radius the shares themselves give a class; below 0 where another class has more."""
    others = max(share for i, share in enumerate(shares) if i != place)
    return float(ndtri(float(shares[place])) - ndtri(float(others))) / 2.0


def error(shares: tuple[Fraction, ...], *, same_votes: bool) -> Fraction:
    """Exact P(the radius exceeds the true one): for class a, or for the class with most of the same votes."""
    wrong = Fraction(0)
    for i in range(N + 1):
        for j in range(N + 1 - i):
            counts = (i, j, N - i - j)
            place = max(range(3), key=counts.__getitem__) if same_votes else 0
            if certified(counts, chosen=NAMES[place]) > max(0.0, true_radius(shares, place)):
                ways = factorial(N) // (factorial(i) * factorial(j) * factorial(N - i - j))
                wrong += ways * shares[0] ** i * shares[1] ** j * shares[2] ** (N - i - j)
    return wrong


SHARES = [
    tuple(Fraction(k, 100) for k in hundredths)
    for hundredths in (
        (60, 30, 10),
        (45, 45, 10),
        (34, 33, 33),
        (70, 15, 15),
        (90, 9, 1),
        (20, 40, 40),
        (50, 49, 1),
    )
]


@pytest.mark.parametrize("shares", SHARES)
def test_the_runner_up_radius_errs_within_alpha(shares: tuple[Fraction, ...]) -> None:
    """All counts of three classes, in rational arithmetic: whichever is second, the error is at most α."""
    assert error(shares, same_votes=False) <= Fraction(1, 20)


def test_the_same_votes_may_not_choose() -> None:
    """With the class taken from the votes that bound it, nearly equal classes err above α."""
    assert error(SHARES[-1], same_votes=True) > Fraction(1, 20)


@pytest.mark.parametrize(
    ("first", "second", "alone", "against"), [(600, 100, 0.301, 0.656), (810, 30, 1.114, 1.323)]
)
def test_what_the_runner_up_gains(first: int, second: int, alone: float, against: float) -> None:
    """Of 1,000 votes: the published radii of the no-split rule, and of 100 that choose beside 900 that bound."""
    assert ndtri(no_split_lower(10 * first // 9, 1000, 0.001)) == pytest.approx(alone, abs=6e-4)
    made = certifier(n=900, n0=100, sigma=1.0, alpha=0.001, method="runner-up")
    rest = [f"c{i // second}" for i in range(900 - first - second)]
    made.add(["a"] * 100 + ["a"] * first + ["b"] * second + rest)
    assert made.result().radius == pytest.approx(against, abs=6e-4)


def test_the_largest_radius_of_a_plan_is_what_a_run_reports() -> None:
    """Unanimous votes reach the plan's radius."""
    made = certifier(n=N, n0=2, sigma=0.25, alpha=ALPHA, method="runner-up")
    made.add(["a"] * (N + 2))
    planned = plan.max_radius(n=N, alpha=ALPHA, sigma=0.25, method="runner-up")
    assert made.result().radius == pytest.approx(planned, rel=1e-12)
