"""What attacks came to: votes that prove a change, and the count against α, with exact probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from api_smoothing.attacks.outcome import ERROR, Attacked, Attempt, Votes, verdict
from api_smoothing.claims.intervals import at_least


def binomial(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) ≥ k), summed."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize(("k", "n", "p"), [(0, 5, 0.1), (1, 300, 0.001), (4, 300, 0.001), (7, 20, 0.1)])
def test_the_probability_of_so_many(k: int, n: int, p: float) -> None:
    """As the sum of its terms has it."""
    assert at_least(k, n, p) == pytest.approx(binomial(k, n, p), rel=1e-9)


def test_votes_turn_an_image_with_the_probability_they_may() -> None:
    """Of a share of exactly ½ votes prove less than that with at most `error`, and it is nearly spent."""
    n, error = 400, 0.01
    wrong = (
        sum(math.comb(n, k) for k in range(n + 1) if Votes(k=k, other=0, n=n).is_turned(error=error)) / 2**n
    )
    assert 0.3 * error < wrong <= error
    assert not Votes(k=0, other=0, n=0).is_turned(error=error)


def test_against_the_runner_up_another_class_must_lead() -> None:
    """A share below ½ alone does not break a certificate that only says which class is the most probable."""
    split = Votes(k=300, other=200, n=1000)
    assert split.is_turned(error=1e-4)
    assert not split.is_turned(error=1e-4, runner_up=True)
    assert Votes(k=200, other=300, n=1000).is_turned(error=1e-4, runner_up=True)
    assert not Votes(k=240, other=250, n=1000).is_turned(error=1e-4, runner_up=True)


def attempt(factor: float, turned: bool, **more: Any) -> Attempt:
    votes = Votes(k=0 if turned else 100, other=0, n=100)
    given = {"radius": 0.2 * factor, "distance": 0.2 * factor, "votes": votes, **more}
    return Attempt(factor=factor, turned=turned, **given)


def image(*attempts: Attempt, alpha: float = 0.001, certified: float | None = 0.2) -> Attacked:
    return Attacked(
        id="a",
        path=None,
        label="cat",
        right=None,
        norm="l2",
        certified=certified,
        alpha=alpha,
        attempts=attempts,
    )


def test_what_turns_inside_is_counted_against_alpha() -> None:
    """One of ten may be chance at α = 0.1, not at 0.001; beyond the radius it counts as power."""
    held, broken = (image(attempt(1, turned), attempt(4, True)) for turned in (False, True))
    found = verdict([held] * 9 + [broken])
    assert (found.images, found.turned, found.power, found.outside) == (10, 1, 10, 10)
    assert found.p_value == pytest.approx(binomial(1, 10, 0.001 + ERROR))
    assert found.holds
    assert not verdict([held] * 8 + [broken] * 2).holds
    easy = [image(attempt(1, turned), alpha=0.1) for turned in [True] * 2 + [False] * 8]
    assert verdict(easy).holds
    assert not verdict(easy[:2] * 4).holds
    assert verdict([]).p_value == 1


def test_what_was_not_attacked_inside_is_not_counted() -> None:
    """No certificate, no attempt within the radius, or nothing to change there."""
    none = image(certified=None)
    beyond = image(attempt(4, True))
    still = image(attempt(1, False, votes=None, distance=0.0))
    assert verdict([none, beyond, still]).images == 0
    assert beyond.outside is not None
    assert beyond.outside.turned


def test_the_strictest_claim_is_taken() -> None:
    """Certificates of several α are held to the largest, and one that is turned within any radius is broken."""
    mixed = [image(attempt(1, False), alpha=0.1), image(attempt(0.5, True), attempt(1, False))]
    found = verdict(mixed)
    assert found.level == pytest.approx(0.1 + ERROR)
    assert found.turned == 1


def test_it_goes_to_json_without_pictures() -> None:
    """Plain values, and the reason only where there is one."""
    values = image(attempt(1, False)).to_dict()
    assert values["attempts"][0]["votes"] == {"k": 100, "other": 0, "n": 100}
    assert "image" not in values
    assert "reason" not in values
    assert verdict([image(attempt(1, False))]).to_dict()["holds"] is True
