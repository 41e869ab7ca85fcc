"""HopSkipJump on classifiers of which the nearest image is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from half_space import HalfSpace
from torch import Tensor

from api_smoothing.attacks.ball import Pixels, distance
from api_smoothing.attacks.hopskipjump import HopSkipJump
from api_smoothing.attacks.search import Reply


@pytest.mark.parametrize("far", [0.15, 0.4])
def test_it_finds_nearly_the_exact_distance_of_a_half_space(far: float) -> None:
    """Within 5 %, and never less: what it found was answered otherwise."""
    net = HalfSpace()
    clean = net.at(far)
    found = HopSkipJump(queries=5000)(clean, "up", net.ask)
    exact = net.distance(clean)
    assert found.image is not None
    assert found.distance is not None
    assert exact <= found.distance < 1.05 * exact
    assert net.ask([found.image])[0].label == "down"
    assert found.distance == distance(clean, found.image, "l2")
    assert found.queries <= 5000


def test_more_queries_find_nearer_images() -> None:
    """And the first is found with few."""
    net = HalfSpace()
    clean = net.at(0.3)
    found = [HopSkipJump(queries=k)(clean, "up", net.ask) for k in (30, 300, 3000)]
    far = [one.distance for one in found if one.distance is not None]
    assert len(far) == 3
    assert far[0] > 1.5 * far[1] > 1.5 * far[2]
    assert [one.queries for one in found] == [30, 300, 3000]
    assert all(one.spent for one in found)


def test_it_sees_the_class_alone_and_repeats_itself() -> None:
    """Without scores it asks the same; another seed asks other images."""
    net = HalfSpace()
    clean = net.at(0.2)

    def bare(images: Sequence[Pixels]) -> list[Reply]:
        return [Reply(label=reply.label) for reply in net.ask(images)]

    one, two = (HopSkipJump(queries=400)(clean, "up", ask) for ask in (net.ask, bare))
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, HopSkipJump(queries=400, seed=1)(clean, "up", net.ask).image)


def test_a_ball_is_found_from_inside() -> None:
    """The boundary need not be a plane: of a sphere about the image the radius is found within 5 %."""
    clean = np.full((5, 5, 3), 128, np.uint8)

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        return [Reply(label="in" if distance(clean, image, "l2") < 0.5 else "out") for image in images]

    found = HopSkipJump(queries=800)(clean, "in", ask)
    assert found.distance is not None
    assert 0.5 <= found.distance < 0.525


def test_where_all_is_one_class_nothing_is_found() -> None:
    """It gives up after 50 random images, and says so."""
    found = HopSkipJump()(np.zeros((3, 3, 3), np.uint8), "a", lambda images: [Reply(label="a")] * len(images))
    assert (found.image, found.distance, found.queries, found.spent) == (None, None, 50, False)


def test_a_budget_that_ends_leaves_the_best_so_far() -> None:
    """The ledger answers fewer than were asked for, and that is the end."""
    net, left = HalfSpace(), [200]

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        taken = net.ask(images)[: left[0]]
        left[0] -= len(taken)
        return taken

    found = HopSkipJump(queries=5000)(net.at(0.2), "up", ask)
    assert (found.queries, found.spent) == (200, True)
    assert found.distance is not None


def test_a_grey_image_is_changed_as_it_is() -> None:
    """(H,W) stays (H,W)."""

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        return [Reply(label="dark" if image.mean() < 100 else "bright") for image in images]

    found = HopSkipJump(queries=2000)(np.full((6, 6), 80, np.uint8), "dark", ask)
    assert found.image is not None
    assert found.image.shape == (6, 6)
    assert found.distance == pytest.approx(6 * 20 / 255, rel=0.08)


def test_foolbox_comes_no_nearer() -> None:
    """On half-spaces, whose nearest image is known, and with more queries: within 5 % of ours at best."""
    foolbox = pytest.importorskip(
        "foolbox", reason="foolbox is not installed: pip install 'api-smooth[attacks]'"
    )
    far: list[list[float]] = []
    for seed in range(3):
        net = HalfSpace(6, seed=seed)
        clean = net.at(0.3)
        found = HopSkipJump(queries=1_500)(clean, "up", net.ask)
        assert found.distance is not None
        asked = [0]

        class Counted(torch.nn.Module):
            def forward(self, x: Tensor, net: HalfSpace = net, asked: list[int] = asked) -> Tensor:
                asked[0] += len(x)
                return net(x)

        x = torch.from_numpy(clean).permute(2, 0, 1)[None].float() / 255
        attack = foolbox.attacks.HopSkipJumpAttack(steps=10)
        model = foolbox.PyTorchModel(Counted().eval(), bounds=(0, 1))
        torch.manual_seed(seed)
        _, attacked, _ = attack(model, x, torch.tensor([0]), epsilons=None)
        assert asked[0] > 1_500
        far.append([found.distance / net.distance(clean), float((attacked - x).norm()) / net.distance(clean)])
    ours, theirs = (sum(column) / len(far) for column in zip(*far, strict=True))
    assert 1 <= ours <= 1.05 * theirs
