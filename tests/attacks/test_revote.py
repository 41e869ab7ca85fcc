"""Fresh votes end once they say something, and say "turned" of what is not as rarely as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from api_smoothing.attacks.outcome import Votes
from api_smoothing.attacks.revote import Revote, decide
from api_smoothing.attacks.search import Spent

IMAGE = np.zeros((1, 1, 3), np.uint8)


def drawn(share: float, seed: int, asked: list[int] | None = None) -> Revote:
    """Votes of which each is for the label with probability `share`: the first n are the same however many follow."""
    votes = np.random.default_rng(seed).random(4_000) < share

    def revote(image: object, n: int) -> Votes:
        if asked is not None:
            asked.append(n)
        k = int(votes[:n].sum())
        return Votes(k=k, other=n - k, n=n)

    return revote


@pytest.mark.parametrize(
    ("share", "turned", "most"), [(0.98, False, 62), (0.05, True, 62), (0.35, True, 250)]
)
def test_clear_votes_end_early(share: float, turned: bool, most: int) -> None:
    """Of at most 1,000 a few are enough for what is far from one half, on either side."""
    asked: list[int] = []
    votes, said = decide(drawn(share, 0, asked), IMAGE, 1_000, error=1e-4)
    assert (said, votes.n) == (turned, asked[-1])
    assert votes.n <= most


def test_close_votes_use_all_and_few_are_looked_at_once() -> None:
    """A share of 0.47 takes every vote; of fewer than a look has there is one."""
    asked: list[int] = []
    _, said = decide(drawn(0.47, 1, asked), IMAGE, 1_000, error=1e-4)
    assert (asked, said) == ([62, 250, 1_000], False)
    assert decide(drawn(0.0, 1), IMAGE, 40, error=1e-4) == (Votes(k=0, other=40, n=40), True)


def test_what_is_on_the_edge_is_called_turned_no_more_often_than_the_error() -> None:
    """At a share of exactly ½ and an error of 0.05: over 2,000 images, within what chance allows."""
    said = sum(decide(drawn(0.5, seed), IMAGE, 400, error=0.05)[1] for seed in range(2_000))
    assert said <= 100 + 3 * (2_000 * 0.05 * 0.95) ** 0.5
    assert said > 10, "the error is spent"


def test_what_is_turned_is_seldom_missed() -> None:
    """Looking early for what is kept costs hardly any power: of 500 with a share of 0.4 nearly all are found."""
    assert sum(not decide(drawn(0.4, seed), IMAGE, 1_000, error=1e-4)[1] for seed in range(500)) <= 10


def test_a_spent_budget_ends_it() -> None:
    """Fewer votes than were asked for are all there will be: that says nothing of the image."""
    asked: list[int] = []

    def revote(image: object, n: int) -> Votes:
        asked.append(n)
        return Votes(k=20, other=20, n=40)

    with pytest.raises(Spent):
        decide(revote, IMAGE, 1_000, error=1e-4)
    assert asked == [62]


def test_against_the_runner_up() -> None:
    """Turned is what has another class before it, kept what leads; a minority of all votes may lead."""

    def revote(image: object, n: int) -> Votes:
        return Votes(k=n // 3, other=n // 8, n=n)

    votes, said = decide(revote, IMAGE, 1_000, error=1e-4, runner_up=True)
    assert not said
    assert votes.n < 1_000
    assert decide(
        lambda image, n: Votes(k=n // 8, other=n // 3, n=n), IMAGE, 1_000, error=1e-4, runner_up=True
    )[1]
