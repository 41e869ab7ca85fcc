"""Square on classifiers of which the nearest image is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from half_space import HalfSpace

from api_smoothing.attacks.ball import Ball, Pixels, distance
from api_smoothing.attacks.search import Reply
from api_smoothing.attacks.square import Square, _bumps
from api_smoothing.errors import ConfigurationError


def test_it_turns_a_half_space_beyond_its_distance_and_never_within() -> None:
    """Just within the exact ℓ∞ distance nothing is found, 1.4 times as far it is; all that is asked is in the ball."""
    net = HalfSpace()
    clean = net.at(0.3)
    for radius, turns in ((0.98 * net.eps(clean), False), (1.4 * net.eps(clean), True)):
        ball, asked = Ball(norm="linf", radius=radius), list[Pixels]()

        def ask(images: Sequence[Pixels], asked: list[Pixels] = asked) -> list[Reply]:
            asked += images
            return net.ask(images)

        found = Square(radius=radius, queries=2000)(clean, "up", ask)
        assert (found.image is not None) == turns
        assert found.queries == len(asked)
        assert found.spent != turns
        assert all(ball.holds(clean, image) for image in asked)
        if found.image is not None:
            assert net.ask([found.image])[0].label == "down"
            assert found.distance == ball.limit / 255


def test_in_l2_it_turns_a_half_space_beyond_its_distance_and_never_within() -> None:
    """The same in ℓ2; each image that is asked about uses its ball."""
    net = HalfSpace()
    clean = net.at(0.3)
    for radius, turns in ((0.99 * net.distance(clean), False), (1.8 * net.distance(clean), True)):
        ball, asked = Ball(norm="l2", radius=radius), list[Pixels]()

        def ask(images: Sequence[Pixels], asked: list[Pixels] = asked) -> list[Reply]:
            asked += images
            return net.ask(images)

        found = Square(norm="l2", radius=radius, queries=1500 if turns else 300)(clean, "up", ask)
        assert (found.image is not None) == turns
        assert found.spent != turns
        assert all(ball.holds(clean, image) for image in asked)
        assert min(distance(clean, image, "l2") for image in asked) > 0.9 * radius
        if found.distance is not None:
            assert net.distance(clean) < found.distance <= radius


def test_in_l2_a_change_moves_from_one_square_to_another() -> None:
    """From one best image to the next only two squares change shape; the bumps are of length 1, one of either sign."""
    draw = np.random.default_rng(0)
    for side in (1, 2, 3, 7):
        bumps = _bumps(draw, side)
        assert bumps.shape == (side, side)
        assert np.linalg.norm(bumps) == pytest.approx(1)
        if side > 1:
            assert bumps.min() < 0 < bumps.max()
    attack, ball = Square(norm="l2", radius=1.0), Ball(norm="l2", radius=1.0)
    before = attack._first(draw, (20, 20, 3), ball)
    assert (before != 0).all(), "tiles cover it"
    before *= 200 / np.linalg.norm(before)
    after = attack._next(draw, before.copy(), 1, ball)
    assert (np.abs(after - before).max(2) > 0).sum() <= 2 * attack._side(1, 20, 20) ** 2
    assert 200 < np.linalg.norm(after) <= 255 + 1e-6, "what was left over is used"


def test_it_keeps_what_lowers_the_margin() -> None:
    """The best margin it has seen falls, and every image asked about differs from the best so far in one square."""
    net = HalfSpace()
    clean, seen = net.at(0.5), list[tuple[float, Pixels]]()

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        replies = net.ask(images)
        margins = [reply.scores["up"] - reply.scores["down"] for reply in replies]
        seen.extend(zip(margins, images, strict=True))
        return replies

    Square(radius=0.02, queries=300)(clean, "up", ask)
    best, x = seen[0]
    changes = 0
    for score, image in seen[1:]:
        rows, columns = np.nonzero((image != x).any(2))
        if len(rows):
            assert rows.max() - rows.min() < 6
            patch = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int)
            assert (
                np.ptp(
                    patch - clean[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], (0, 1)
                ).max()
                == 0
            )
        if score < best:
            best, x, changes = score, image, changes + 1
    assert changes > 5


def test_it_needs_scores() -> None:
    """Answers without any are refused with the attack that needs none; images that fail are passed over."""
    clean = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ConfigurationError, match="hopskipjump"):
        Square(radius=0.1)(clean, "a", lambda images: [Reply(label="a")] * len(images))
    found = Square(radius=0.1, queries=5)(
        clean, "a", lambda images: [Reply(label=None, failed=True)] * len(images)
    )
    assert (found.image, found.queries) == (None, 5)


def test_a_seed_repeats_itself_and_grey_images_stay_grey() -> None:
    """The draws are the image's and the seed's; (H,W) stays (H,W)."""

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        return [
            Reply(
                label="a" if image.mean() < 90 else "b",
                scores={"a": 1 - image.mean() / 180, "b": image.mean() / 180},
            )
            for image in images
        ]

    clean = np.full((8, 8), 80, np.uint8)
    one, two, other = (Square(radius=0.05, seed=s)(clean, "a", ask) for s in (0, 0, 1))
    assert one.image is not None
    assert one.image.shape == (8, 8)
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)
