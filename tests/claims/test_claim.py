"""The claim's error, exactly: every population, every order and every false certificate of small sets."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest

from api_smoothing.claims.claim import Claim, least_right
from api_smoothing.errors import ConfigurationError


def told(claim: Claim, certified: tuple[bool, ...]) -> list[tuple[float, float, str]]:
    """Bounds and state after each image."""
    seen = []
    for one in certified:
        claim.add(one)
        seen.append((claim.lower, claim.upper, claim.state))
    return seen


@pytest.mark.parametrize(("population", "confidence"), [(5, 0.8), (7, 0.6), (8, 0.9)])
@pytest.mark.parametrize("alpha", [Fraction(0), Fraction(1, 100), Fraction(1, 5)])
def test_no_population_makes_either_bound_err_too_often(
    population: int, confidence: float, alpha: Fraction
) -> None:
    """All sets, all orders, all false certificates: P(a bound is ever wrong) ≤ 1 − confidence, in rational arithmetic.

    An order of a set with M right, and false certificates among the others, is a sequence of certificates that has
    K = M + false ones; given K all sequences are equally likely.
    """
    bounds = {
        seen: told(Claim(0.5, confidence=confidence, population=population, alpha=float(alpha)), seen)
        for seen in itertools.product([False, True], repeat=population)
    }
    allowed = 1 - Fraction(repr(confidence))
    for right in range(population + 1):
        wrong = Fraction(0)
        for seen, states in bounds.items():
            false = sum(seen) - right
            if false >= 0 and max(low for low, _, _ in states) > right / population + 1e-12:
                others = population - right
                chance = alpha**false * (1 - alpha) ** (others - false) * math.comb(others, false)
                wrong += chance / math.comb(population, sum(seen))
        assert wrong <= allowed
    for count in range(population + 1):
        wrong = sum(
            min(high for _, high, _ in states) < count / population - 1e-12
            for seen, states in bounds.items()
            if sum(seen) == count
        )
        assert Fraction(wrong, math.comb(population, count)) <= allowed


@pytest.mark.parametrize(
    "errors",
    [
        (0.2, 0.2, 0.0, 0.1, 0.2),  # of the images that are not right
        (0.2, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_images_that_err_differently_and_are_missed(errors: tuple[float, ...]) -> None:
    """Every order of seven images of which two are right, one is mostly missed and the others err as they like."""
    chances = (1.0, 0.3, *errors)
    claim = {
        seen: told(Claim(0.5, confidence=0.8, population=7, alpha=0.2), seen)[-1][0]
        for seen in itertools.product([False, True], repeat=7)
    }
    wrong = 0.0
    for order in itertools.permutations(chances):
        for seen, low in claim.items():
            if low > 2 / 7 + 1e-12:
                wrong += math.prod(p if one else 1 - p for p, one in zip(order, seen, strict=True))
    assert 0.0 < wrong / math.factorial(7) <= 0.2


def test_an_error_that_is_not_paid_for_is_one() -> None:
    """The same enumeration finds more than 10 % where the claim pays for no false certificates and there are some."""
    population, right, alpha = 8, 2, 0.4
    wrong = 0.0
    for seen in itertools.product([False, True], repeat=population):
        false = sum(seen) - right
        if (
            false >= 0
            and told(Claim(0.5, confidence=0.9, population=population, alpha=0.0), seen)[-1][0] > 0.25
        ):
            chance = alpha**false * (1 - alpha) ** (6 - false) * math.comb(6, false)
            wrong += chance / math.comb(population, sum(seen))
    assert wrong > 0.1


@pytest.mark.parametrize("population", [None, 8])
def test_the_state_follows_the_bounds(population: int | None) -> None:
    """Proved exactly where the lower bound has reached X, refuted where the upper one is below; what is said stays."""
    for seen in itertools.product([False, True], repeat=8):
        first = "open"
        for lower, upper, state in told(Claim(0.5, confidence=0.8, population=population, alpha=0.01), seen):
            if first == "open":
                first = "proved" if lower >= 0.5 else "refuted" if upper < 0.5 else "open"
                if population is None and upper == 0.5 and state == "refuted":
                    first = "refuted"  # strictly below, on a grid that has X itself
            assert state == first


@pytest.mark.parametrize("population", [None, 40, 1000])
@pytest.mark.parametrize(("certified", "looked"), [(0, 0), (9, 12), (12, 30), (2, 25), (30, 30)])
def test_need_is_the_shortest_way_to_a_decision(population: int | None, certified: int, looked: int) -> None:
    """If all further images are certified, or none is, the state changes after `need` and not before."""

    def begun() -> Claim:
        claim = Claim(0.6, population=population)
        for i in range(looked):
            claim.add((i + 1) * certified // looked > i * certified // looked)
        return claim

    claim = begun()
    if claim.state != "open":
        assert claim.need == 0
        return
    lengths = []
    for outcome in (True, False):
        trial = begun()
        while trial.state == "open" and not trial.exhausted:
            trial.add(outcome)
        lengths += [trial.looked - looked] if trial.state != "open" else []
    assert claim.need == min(lengths)


def test_the_whole_set_certified_is_counted() -> None:
    """With no errors to pay for, all images make both bounds the count; with some, the lower one is a little less."""
    for alpha, low in ((0.0, 0.6), (0.001, 0.5)):
        claim = Claim(0.55, population=200, alpha=alpha)
        for i in range(200):
            claim.add(i % 5 < 3)
        assert claim.exhausted
        assert claim.upper == pytest.approx(0.6)
        assert low <= claim.lower <= 0.6
        assert claim.state == "proved"
        with pytest.raises(ConfigurationError, match="all 200 images"):
            claim.add(True)


def test_large_sets_are_looked_at_on_a_grid_that_has_the_claim() -> None:
    """50,000 images: 0.4001 is on the grid, and the evidence comes as soon as from a set of 5,000, nearly."""
    taken = {}
    for population in (5_000, 50_000, None):
        claim = Claim(0.4001, population=population)
        while claim.state == "open":
            claim.add(claim.looked % 2 == 0)
        taken[population] = claim.looked
        assert claim.state == "proved"
        assert claim.lower >= 0.4001
    assert max(taken.values()) < 1.35 * min(taken.values())


def test_a_certificate_that_errs_more_than_is_paid_for_counts_as_none() -> None:
    """It is one look too many, and the image is taken as not certified."""
    claim = Claim(0.5, population=10, alpha=0.001)
    claim.add(True, alpha_total=0.002)
    claim.add(True, alpha_total=0.001)
    assert (claim.certified, claim.looked) == (1, 2)


def test_shares_are_the_decimals_that_are_written() -> None:
    """0.07 of 100 is 7 images, though 0.07 · 100 is more than 7 in binary."""
    assert least_right(0.07, 100) == 7
    assert least_right(0.4, 500) == 200
    assert least_right(0.401, 500) == 201
    assert least_right(1.0, 3) == 3


def test_a_single_failure_refutes_all() -> None:
    """ "All are" is refuted by one that is not, for certain: a finite set and one without end."""
    for population in (5, None):
        claim = Claim(1.0, population=population)
        claim.add(True)
        assert claim.state == "open"
        assert claim.add(False) == "refuted"


def test_what_is_known_is_told_in_a_sentence() -> None:
    """Each state names bound, count and confidence."""
    claim = Claim(0.5, population=40)
    assert claim.statement.startswith(
        "open: at least 0 of the 40 images are right and robust; 0.5 is not shown"
    )
    for _ in range(20):
        claim.add(True)
    assert claim.statement.startswith("proved: at least 0.")
    assert claim.statement.endswith("(20 of 20 looked at are certified; confidence 0.95)")
    other = Claim(0.5)
    for _ in range(20):
        other.add(False)
    assert other.statement.startswith("refuted: certifying all would count at most 0.")


@pytest.mark.parametrize(
    ("at_least", "settings"),
    [
        (0.0, {}),
        (1.1, {}),
        (0.5, {"confidence": 1.0}),
        (0.5, {"population": 0}),
        (0.5, {"alpha": 0.5}),
        (math.nan, {}),
    ],
)
def test_settings_out_of_range_are_refused(at_least: float, settings: dict[str, float]) -> None:
    """By one line."""
    with pytest.raises(ConfigurationError):
        Claim(at_least, **settings)  # type: ignore[arg-type]
