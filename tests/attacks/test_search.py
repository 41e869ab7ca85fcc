"""What attacks by answers ask: on the ledger, no more than they may, and the nearest success is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from half_space import HalfSpace

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.attacks.ball import Pixels
from api_smoothing.attacks.search import Reply, Search, Spent, draws, on_levels, through
from api_smoothing.errors import ConfigurationError


def levels(value: int) -> Pixels:
    return np.full((2, 2, 3), value, np.uint8)


def by_brightness(images: Sequence[Pixels]) -> list[Reply]:
    return [Reply(label="dark" if image.mean() < 100 else "bright") for image in images]


def test_the_nearest_success_is_kept() -> None:
    """Of all that was asked, in whatever order; nothing that was not asked."""
    search = Search(by_brightness, levels(90), "dark", most=10, norm="l2")
    assert search.wrong([levels(150), levels(95), levels(110), levels(120)]).tolist() == [
        True,
        False,
        True,
        True,
    ]
    found = search.found(spent=False)
    assert np.array_equal(found.image, levels(110))
    assert found.distance == pytest.approx(20 * 12**0.5 / 255)
    assert found.queries == 4


def test_it_asks_no_more_than_it_may() -> None:
    """What was answered before the end is counted and kept; then it is spent, for good."""
    asked = list[int]()

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        asked.append(len(images))
        return by_brightness(images)

    search = Search(ask, levels(90), "dark", most=3, norm="linf")
    with pytest.raises(Spent):
        search.replies([levels(91), levels(200), levels(130), levels(101)])
    with pytest.raises(Spent):
        search.replies([levels(101)])
    assert asked == [3]
    assert search.found(spent=True).distance == 40 / 255
    with pytest.raises(ConfigurationError, match="whole number"):
        Search(ask, levels(0), "dark", most=0, norm="l2")


def test_no_answer_is_no_success() -> None:
    """A query that failed proves nothing; "no label" is another answer."""
    search = Search(by_brightness, levels(90), "dark", most=3, norm="l2")
    assert not search.is_wrong(Reply(label=None, failed=True))
    assert search.is_wrong(Reply(label=None))
    assert not search.is_wrong(Reply(label="dark"))


def test_levels_and_draws() -> None:
    """Values are clipped before they are rounded, and the draws are the image's and the seed's own."""
    assert on_levels(np.array([-3.0, 254.6, 300.0, 7.4])).tolist() == [0, 255, 255, 7]
    first = draws("square", levels(1), 0).integers(0, 1000, 5).tolist()
    assert first == draws("square", levels(1), 0).integers(0, 1000, 5).tolist()
    for other in (draws("square", levels(2), 0), draws("square", levels(1), 1), draws("hop", levels(1), 0)):
        assert first != other.integers(0, 1000, 5).tolist()


def opened(budget: Budget | None = None, **options: Any) -> SmoothedAPI:
    net = HalfSpace()
    return SmoothedAPI(
        net, class_names=["up", "down"], denoiser=None, store="memory", seed=0, budget=budget, **options
    )


def test_it_is_paid_on_the_apis_budget() -> None:
    """As many answers as the budget has, and then fewer than were asked for; scores come along."""
    net = HalfSpace()
    images = [net.at(d) for d in (0.3, -0.3, 0.1, -0.1)]
    with opened(Budget(queries=3, run="attack")) as api:
        found = through(api)(images)
        assert [reply.label for reply in found] == ["up", "down", "up"]
        assert found[0].scores["up"] > 0.99
        assert sum(found[2].scores.values()) == pytest.approx(1)
        assert through(api)([net.at(0.5)]) == []


def test_the_scores_of_a_class_are_those_of_its_best_label(tmp_path: Any) -> None:
    """Where a label map reads several labels as one class."""
    path = tmp_path / "pets.toml"
    path.write_text(
        'name = "pets"\n[classes.cat]\nlabels = ["tabby", "siamese"]\n[classes.dog]\nlabels = ["poodle"]\n'
    )

    class Four:
        def __call__(self, x: Any) -> Any:
            return [[0.1, 0.3, 0.4, 0.2]] * len(x)

    with SmoothedAPI(
        Four(), class_names=["tabby", "poodle", "siamese", "car"], outputs="probabilities", top=4,
        labels=path, denoiser=None, store="memory", seed=0,
    ) as api:  # fmt: skip
        (found,) = api.unsmoothed([levels(3)])
        assert (found.label, dict(found.scores)) == ("cat", {"cat": 0.4, "dog": 0.3})
