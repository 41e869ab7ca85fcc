"""PGD: in the ball, on the grid, as strong as another's, and the worst of its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from half_space import HalfSpace
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.attacks.ball import Ball, Norm
from api_smoothing.attacks.pgd import PGD
from api_smoothing.errors import ConfigurationError


class Toy(nn.Module):
    """Tells by the mean of the upper half less that of the lower one, and by nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        upper, lower = x.chunk(2, 2)
        apart = 20 * (upper - lower).mean((1, 2, 3))
        return torch.stack((apart, -apart), 1)


def pictures(count: int = 6) -> tuple[Tensor, Tensor]:
    """Images (count,3,16,16) in [0,1], in turns a little brighter above (label 0) and below (label 1); some 0 or 1."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (count, 3, 16, 16), generator=draw) // 4 + 104
    labels = torch.arange(count) % 2
    for k, label in enumerate(labels.tolist()):
        images[k, :, 8 * label : 8 * label + 8] += 8
        images[k, :, [0, 15], :2], images[k, :, [0, 15], 2:4] = 0, 255
    return images.float() / 255, labels


def whole(x: Tensor) -> np.ndarray:
    return np.rint(x.double().numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize(("norm", "radius"), [("linf", 8 / 255), ("l2", 0.4), ("linf", 0.4), ("l2", 5.0)])
@pytest.mark.parametrize("steps", [1, 10])
def test_it_stays_in_the_ball_and_on_the_grid(norm: Norm, radius: float, steps: int) -> None:
    """Every image has 8 bits and lies in its ball, in whole numbers, and uses the ball."""
    clean, labels = pictures()
    attacked = PGD(norm=norm, radius=radius, steps=steps)(clean, labels, Toy())
    assert torch.allclose(attacked * 255, (attacked * 255).round(), atol=1e-3)
    assert not attacked.requires_grad
    ball = Ball(norm=norm, radius=radius)
    for before, after in zip(whole(clean), whole(attacked), strict=True):
        assert ball.holds(before, after)
        assert not replace(ball, radius=0.3 * min(radius, 1)).holds(before, after)


@pytest.mark.parametrize(("norm", "radius"), [("linf", 8 / 255), ("l2", 0.4), ("linf", 0.4), ("l2", 5.0)])
def test_without_rounding_it_stays_in_the_ball_too(norm: Norm, radius: float) -> None:
    """The last iterate is within the radius, to rounding, and within [0,1]."""
    clean, labels = pictures()
    attack = PGD(norm=norm, radius=radius, steps=10, losses=("cross-entropy",), rounded=False)
    attacked = attack(clean, labels, Toy())
    apart = (attacked - clean).flatten(1)
    lengths = apart.abs().amax(1) if norm == "linf" else apart.norm(dim=1)
    assert float(lengths.max()) <= radius * (1 + 1e-5)
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1


@pytest.mark.parametrize(("norm", "radius"), [("linf", 8 / 255), ("l2", 0.9)])
def test_it_fools_what_gradients_lead_to(norm: Norm, radius: float) -> None:
    """A linear classifier is fooled on every image, and the ball's edge is reached: nothing in it would do better."""
    clean, labels = pictures()
    toy = Toy()
    attacked = PGD(norm=norm, radius=radius)(clean, labels, toy)
    assert (toy(clean).argmax(1) == labels).all()
    assert (toy(attacked).argmax(1) != labels).all()
    inside = (clean > radius) & (clean < 1 - radius)
    if norm == "linf":
        assert ((attacked - clean).abs()[inside] > 0.999 * radius).all()
    else:
        assert ((attacked - clean).flatten(1).norm(dim=1) > 0.95 * radius).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_turns_a_half_space_just_beyond_its_distance_and_never_within(norm: Norm) -> None:
    """At 0.97 of the exact distance nothing turns it, at 1.05 of it every image is turned, 8 bits and all."""
    net = HalfSpace(10)
    for distance in (0.2, 0.35, 0.5):
        image = net.at(distance)
        exact = net.distance(image) if norm == "l2" else net.eps(image) + 0.5 / 255  # ℓ∞ has whole steps
        x, label = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, torch.tensor([0])
        near = PGD(norm=norm, radius=0.97 * exact - (1 / 255 if norm == "linf" else 0), steps=10, restarts=3)
        far = PGD(norm=norm, radius=1.05 * exact + (1 / 255 if norm == "linf" else 0), steps=10)
        assert int(net(near(x, label, net)).argmax()) == 0
        assert int(net(far(x, label, net)).argmax()) == 1


def test_the_start_is_the_images_own() -> None:
    """An image's start is the same in any batch and another for another seed; where nothing slopes it stays there."""
    clean, labels = pictures()
    norms: tuple[Norm, ...] = ("linf", "l2")
    for norm in norms:
        attack = PGD(norm=norm, radius=0.3, steps=3, losses=("cross-entropy",), rounded=False)

        def flat(x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :2]

        found = attack(clean, labels, flat)
        assert torch.equal(attack(clean[2:4], labels[2:4], flat), found[2:4])
        assert not torch.equal(replace(attack, seed=1)(clean, labels, flat), found)
        away = (found - clean).flatten(1).norm(dim=1)
        assert float(away.min()) > 0
        assert norm == "linf" or float(away.min()) < 0.9 * 0.3


def test_of_several_runs_the_worst_counts() -> None:
    """Restarts and the second loss never weaken the attack, image by image, and on a bumpy classifier they help."""
    clean, labels = pictures()

    def bumpy(x: Tensor) -> Tensor:
        value = (300 * x).sin().mean((1, 2, 3)) * 50 - 4
        return torch.stack((-value, value), 1)

    zero = torch.zeros_like(labels)
    one = PGD(norm="linf", radius=0.1, steps=2, losses=("margin",))
    many = replace(one, restarts=6, eot=2)  # with draws no image is left out
    lead = [bumpy(attack(clean, zero, bumpy))[:, 1] for attack in (replace(one, eot=2), many)]
    assert (lead[1] >= lead[0]).all()
    assert (lead[1] > lead[0]).any()


def test_the_margin_finds_what_the_cross_entropy_cannot() -> None:
    """Where the probabilities are 0 and 1 in float32, cross-entropy stays at its start; both together do not."""
    net = HalfSpace(8, slope=3000)
    image = net.at(0.3)
    x, label = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, torch.tensor([0])
    attack = PGD(norm="l2", radius=0.4, steps=5, losses=("cross-entropy",))
    assert int(net(attack(x, label, net)).argmax()) == 0
    assert int(net(replace(attack, losses=("cross-entropy", "margin"))(x, label, net)).argmax()) == 1


def test_an_attack_leaves_the_classifier_alone() -> None:
    """No gradient stays with the model's parameters, and gradients may be switched off around the attack."""
    clean, labels = pictures()
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2))
    with torch.no_grad():
        PGD(norm="l2", radius=0.3, steps=2)(clean, labels, net)
    assert all(p.grad is None for p in net.parameters())


def test_what_has_no_gradient_is_refused() -> None:
    """In one line that names the attacks that need none."""
    clean, labels = pictures()
    with pytest.raises(ConfigurationError, match="hopskipjump"):
        PGD(norm="l2", radius=0.3)(clean, labels, lambda x: Toy()(x).detach())


def test_gradients_that_are_no_numbers_are_refused() -> None:
    """An attack that follows them finds nothing, which would look like a model that holds."""
    clean, labels = pictures()
    with pytest.raises(ConfigurationError, match="finite"):
        PGD(norm="l2", radius=0.3)(clean, labels, lambda x: Toy()(x) * torch.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"losses": ("hinge",)}, "margin"),
        ({"losses": ()}, "a loss"),
        ({"eot": 1.5}, "eot"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    """Before anything is computed."""
    with pytest.raises(ConfigurationError, match=words):
        replace(PGD(norm="l2", radius=0.3), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 255, "divide 8-bit ones by 255"),
        (lambda x: (x * 255).to(torch.uint8), "floating-point images"),
        (lambda x: x * torch.nan, "from 0 to 1"),
        (lambda x: (x + 0.001).clamp(0, 1), "rounded=False"),
        (lambda x: x[0], "floating-point images"),
    ],
)
def test_images_that_would_be_misread_are_refused(change: Callable[[Tensor], Tensor], words: str) -> None:
    """In place of an attack on other images than those that are meant."""
    clean, labels = pictures()
    with pytest.raises(ConfigurationError, match=words):
        PGD(norm="l2", radius=0.3)(change(clean), labels, Toy())


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.04), ("l2", 0.7)])
def test_foolbox_fools_as_many(norm: Norm, radius: float) -> None:
    """On 200 images of a small network, accuracy under our PGD and under foolbox's differ by at most a point."""
    foolbox = pytest.importorskip(
        "foolbox", reason="foolbox is not installed: pip install 'api-smooth[attacks]'"
    )
    net, images, labels = trained()
    ours = PGD(norm=norm, radius=radius, steps=40, losses=("cross-entropy",))(images, labels, net)
    kinds: dict[Norm, Callable[..., object]] = {
        "linf": foolbox.attacks.LinfPGD,
        "l2": foolbox.attacks.L2PGD,
    }
    theirs: object = kinds[norm](rel_stepsize=2.5 / 40, steps=40)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    torch.manual_seed(0)  # its random starts come from there
    _, attacked, _ = theirs(model, images, labels, epsilons=radius)  # type: ignore[operator]
    with torch.no_grad():
        clean, mine, other = ((net(x).argmax(1) == labels).float().mean() for x in (images, ours, attacked))
    assert clean > 0.9
    assert 0.1 < other < 0.8, "an attack that all or none survive would compare nothing"
    assert abs(mine - other) <= 0.01 + 1e-6


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small convolutional network that tells four kinds of waves apart, and 200 such images."""
    draw = torch.Generator().manual_seed(3)

    def some(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, 4, (count,), generator=draw)
        place = torch.linspace(0, 2 * torch.pi, 12)
        waves = torch.stack([(k * place[:, None] + (3 - k) * place[None]).sin() for k in range(4)])
        strength = 0.08 * torch.rand((count, 1, 1, 1), generator=draw) + 0.04
        noise = 0.05 * torch.randn((count, 3, 12, 12), generator=draw)
        x = (0.5 + strength * waves[labels][:, None] + noise).clamp(0, 1)
        return (x * 255).round() / 255, labels

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 8, 5, padding=2), nn.Softplus(),
            nn.Conv2d(8, 8, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(8 * 25, 4),
        )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = some(2000)
    for _ in range(120):
        rows = torch.randint(0, len(x), (128,), generator=draw)
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    images, labels = some(200)
    return net.eval().requires_grad_(False), images, labels
