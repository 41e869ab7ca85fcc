"""Attacks on answers as they are: each kind on a half-space, on the budget, and only where something can turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from half_space import HalfSpace

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.attacks import PGD, HopSkipJump, Square, attack_answers
from api_smoothing.attacks.ball import Ball
from api_smoothing.datasets import map_truths, open_dataset
from api_smoothing.errors import ConfigurationError


def attacked(attack: Any, given: Any, **options: Any) -> list[Any]:
    settings = {"denoiser": None, "store": "memory", "seed": 0, "class_names": ["up", "down"], **options}
    with SmoothedAPI(HalfSpace(8), **settings) as api:
        data = open_dataset(given)
        truths = map_truths(data, None, api.card.labels)
        return list(attack_answers(api, data, truths, attack))


@pytest.mark.parametrize(
    "attack",
    [
        PGD(norm="l2", radius=0.25, steps=10),
        PGD(norm="linf", radius=0.03, steps=10),
        Square(radius=0.035),
        HopSkipJump(),
    ],
)
def test_each_finds_an_image_that_is_answered_otherwise(attack: Any) -> None:
    """No nearer than the exact distance, in the ball, and truly answered otherwise."""
    net = HalfSpace(8)
    clean = net.at(0.2)
    (found,) = attacked(attack, [(clean, "up")])
    assert (found.label, found.right, found.certified) == ("up", True, None)
    exact = net.distance(clean) if found.norm == "l2" else net.eps(clean)
    assert found.distance >= exact
    assert net.ask([found.image])[0].label == "down"
    assert found.queries >= 2
    if not isinstance(attack, HopSkipJump):
        assert Ball(norm=attack.norm, radius=attack.radius).holds(clean, found.image)


def test_a_ball_that_is_too_small_finds_nothing() -> None:
    """What PGD makes is asked about, and the answer counts."""
    (found,) = attacked(PGD(norm="l2", radius=0.19, steps=10), [HalfSpace(8).at(0.2)])
    assert (found.distance, found.image, found.queries, found.right) == (None, None, 2, None)


def test_what_is_wrong_as_it_is_needs_no_attack() -> None:
    """One query, and the reason; an image that is none costs nothing."""
    net = HalfSpace(8)
    given = [(net.at(0.2), "down"), (b"no image", "up"), (net.at(-0.2), "down")]
    wrong, broken, right = attacked(HopSkipJump(queries=100), given)
    assert (wrong.right, wrong.queries, wrong.reason) == (False, 1, "wrong as it is: down")
    assert broken.queries == 0
    assert "not an image" in broken.reason
    assert (right.right, right.reason) == (True, "")
    assert right.queries == 101


def test_the_budget_ends_it() -> None:
    """On the ledger: what is left for the second image is all it gets, and there is no third."""
    net = HalfSpace(8)
    given = [net.at(d) for d in (0.2, 0.3, 0.4)]
    done = attacked(HopSkipJump(queries=100), given, budget=Budget(queries=150, run="r"))
    assert [one.queries for one in done] == [101, 49]


@pytest.mark.parametrize(
    ("attack", "queries"),
    [(PGD(norm="l2", radius=0.19, steps=10), 3), (Square(radius=0.005, queries=60), 30)],
)
def test_of_an_attack_that_the_budget_cut_off_nothing_is_said(attack: Any, queries: int) -> None:
    """It did not fail: an image that it had no answers for does not count as one that holds."""
    net = HalfSpace(8)
    given = [net.at(d) for d in (0.2, 0.3)]
    whole = attacked(attack, given[:1], budget=Budget(queries=5000, run="r"))
    assert [one.distance for one in whole] == [None]
    done = attacked(attack, given, budget=Budget(queries=whole[0].queries + queries - 2, run="r"))
    assert [one.id for one in done] == [whole[0].id]


@pytest.mark.parametrize("make", [lambda k: Square(radius=0.1, queries=k), lambda k: HopSkipJump(queries=k)])
def test_a_number_of_queries_is_checked_before_the_first(make: Any) -> None:
    """Not after the answer to the image as it is has been paid for."""
    for queries in (0, 1.5, True):
        with pytest.raises(ConfigurationError, match="whole number"):
            make(queries)


def test_what_is_no_attack_is_refused() -> None:
    """In a line, before anything is asked."""
    with pytest.raises(ConfigurationError, match="PGD, Square or HopSkipJump"):
        attacked("pgd", [HalfSpace(8).at(0.2)])


def test_the_same_again_asks_nobody() -> None:
    """Answers are kept: the second time the budget is not touched."""
    net = HalfSpace(8)
    calls = []

    class Counted:
        class_names = ("up", "down")

        def __call__(self, x: Any) -> Any:
            calls.append(len(x))
            return net(x)

    with SmoothedAPI(
        Counted(), fingerprint="v1", class_names=["up", "down"], denoiser=None, store="memory"
    ) as api:
        data = open_dataset([net.at(0.2)])
        truths = map_truths(data, None, api.card.labels)
        first, again = (next(attack_answers(api, data, truths, HopSkipJump(queries=60))) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert sum(calls) == 61
