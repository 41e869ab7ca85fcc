"""The pipeline that is differentiated is the one that is certified: size, noise, denoiser, 8 bits, classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from half_space import HalfSpace
from torch import Tensor
from torch.nn import functional as F

from api_smoothing import SmoothedAPI, denoisers, images
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.attacks.twins import resized
from api_smoothing.attacks.victim import Victim, on_8_bits, victim_of
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.errors import ConfigurationError
from api_smoothing.noise import to_float


def opened(model: Any, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(model, **{"denoiser": None, "store": "memory", "seed": 0, "sigma": 0.1, **options})


def test_the_size_is_brought_about_as_images_are_loaded() -> None:
    """The same map, to the grid's rounding, for photographs that are larger, smaller and not square."""
    draw = np.random.default_rng(0)
    for shape in ((9, 14), (20, 16), (8, 8)):
        pixels = draw.integers(0, 256, (*shape, 3), dtype=np.uint8)
        loaded = images.load(pixels, size=(8, 10))
        x = (torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255).requires_grad_()
        found = resized(x, (8, 10))
        want = torch.from_numpy(to_float(loaded.grid, loaded.sub)).permute(2, 0, 1)[None]
        assert float((found.detach() - want).abs().max()) <= 0.51 / (255 * loaded.sub) + 1e-6
        (slope,) = torch.autograd.grad(found.sum(), x)
        assert float(slope.min()) >= 0


def test_8_bits_are_those_that_are_sent_and_pass_the_gradient() -> None:
    """Values are clipped and rounded half up, as `noise.to_uint8` does; beyond [0,1] there is no slope."""
    x = torch.tensor([-0.2, 0.4999 / 255, 0.5 / 255, 0.3, 1.7], requires_grad=True)
    out = on_8_bits(x)
    assert (out.detach() * 255).round().tolist() == [0, 0, 1, 77, 255]
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.tolist() == [0, 1, 1, 1, 0]


def test_noise_is_drawn_anew_for_every_row_and_call() -> None:
    """Of standard deviation σ; the same for the same seed."""
    seen: list[Tensor] = []

    def scores(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)[:, :2]

    x = torch.full((2, 3, 40, 40), 0.5)
    for victim in [Victim(classifier=scores, columns=("a", "b"), sigma=0.1, seed=s) for s in (0, 0, 1)]:
        victim(x)
        victim(x)
    first, second, again = seen[0], seen[1], seen[2]
    assert float((first - 0.5).std()) == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert not torch.equal(first, seen[4])


def test_the_denoiser_is_there_with_its_gradient() -> None:
    """What an attack sees behind the denoiser moves as the denoiser's own slope says."""

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    denoiser = denoisers.wrap(mean, id="mean@1", sigma_range=(0.02, 1.0))
    victim = Victim(classifier=lambda x: x[:, 0, 4, 4:6], columns=("a", "b"), denoiser=denoiser, sigma=0.05)
    x = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(victim(x)[0, 0], x)
    want = torch.zeros(3, 8, 8)
    want[0, 3:6, 3:6] = 1 / 9
    torch.testing.assert_close(slope[0], want)


def test_which_gradients_were_followed_is_said() -> None:
    """Whose, true or straight through, and which chance a path had; a fixed path is one for all draws."""

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    def blind(x: Tensor, sigma: Tensor) -> Tensor:
        return mean(x.detach(), sigma)

    plain, dead = (denoisers.wrap(f, id=f"{f.__name__}@1", sigma_range=(0.02, 1.0)) for f in (mean, blind))
    x = torch.full((2, 3, 12, 12), 0.5, requires_grad=True)
    told = []
    for denoiser, path in [
        (plain, "resampled"),
        (dead, "resampled"),
        (Reverse(denoiser=plain, steps=3), "fixed"),
        (Reverse(denoiser=plain, steps=3, eta=0.0), "fixed"),
        (Guided(denoiser=plain, steps=3, scale=4.0), "resampled"),
    ]:
        victim = Victim(classifier=lambda x: x.sum((2, 3))[:, :2], denoiser=denoiser, sigma=0.2, path=path)
        victim(x)
        told.append(victim.said)
    assert told == [
        "its own gradients, true ones of the denoiser",
        "its own gradients, straight through the denoiser",
        "its own gradients, true ones of the denoiser, fixed path",
        "its own gradients, true ones of the denoiser",
        "its own gradients, true ones of the denoiser, resampled path",
    ]
    with pytest.raises(ConfigurationError, match="resampled"):
        Victim(classifier=lambda x: x, path="random")  # type: ignore[arg-type]


def test_a_grey_image_is_copied_three_times() -> None:
    """And its value has the slope of all three."""
    victim = Victim(classifier=lambda x: x.sum((2, 3))[:, :2], columns=("a", "b"))
    x = torch.full((1, 1, 2, 2), 0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(victim(x).sum(), x)
    assert torch.equal(slope, torch.full_like(x, 2.0))


def test_classes_are_those_that_answers_are_read_as(tmp_path: Any) -> None:
    """With a label map several columns are one class, of which the best counts, and some are none."""
    path = tmp_path / "pets.toml"
    path.write_text(
        'name = "pets"\n[classes.cat]\nlabels = ["tabby", "siamese"]\n[classes.dog]\nlabels = ["poodle"]\n'
    )

    def scores(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 2.0, 3.0, 4.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :1]

    names = ["tabby", "poodle", "siamese", "car"]
    with opened(scores, class_names=names, labels=LabelMap.load(path)) as api:
        victim = victim_of(api, smoothed=False)
        assert victim.columns == ("cat", "dog", "cat", None)
        assert victim(torch.zeros(1, 3, 4, 4)).tolist() == [[3.0, 2.0, 4.0]]
        assert victim.index("dog") == 1
        with pytest.raises(ConfigurationError, match="no class 'car'"):
            victim.index("car")


def test_what_is_certified_is_what_is_attacked() -> None:
    """σ, size and denoiser are the facade's; without `smoothed` there is neither noise nor denoiser."""
    with opened(HalfSpace(), class_names=["up", "down"], size=6) as api:
        smoothed, bare = (victim_of(api, smoothed=s) for s in (True, False))
        assert (smoothed.sigma, smoothed.size, smoothed.columns) == (0.1, (6, 6), ("up", "down"))
        assert (bare.sigma, bare.denoiser) == (None, None)
    with opened(HalfSpace()) as api:
        victim = victim_of(api, smoothed=False)
        assert (victim.index("1"), victim.columns) == (1, None), "classes without names have their numbers"


def test_probabilities_become_scores_and_labels_have_no_gradient() -> None:
    """Of probabilities the logarithm is followed; labels, other noise and services are refused in one line."""
    net = HalfSpace()

    def shares(x: Tensor) -> Tensor:
        return net(x).softmax(1)

    x = torch.rand((2, 3, 6, 6))
    with opened(shares, outputs="probabilities", class_names=["up", "down"]) as api:
        torch.testing.assert_close(victim_of(api, smoothed=False)(x), net(on_8_bits(x)).log_softmax(1))
    with (
        opened(lambda x: ["up"] * len(x), class_names=["up", "down"]) as api,
        pytest.raises(ConfigurationError, match="hopskipjump"),
    ):
        victim_of(api, smoothed=False)(x)
    with opened(net, noise="laplace") as api, pytest.raises(ConfigurationError, match="Gaussian"):
        victim_of(api, smoothed=True)
    with opened("http", sandbox=True) as api, pytest.raises(ConfigurationError, match="gives no gradients"):
        victim_of(api, smoothed=False)
