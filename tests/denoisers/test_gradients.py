"""Gradients through denoisers: none as they are used, true ones for an attack, the identity's where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from api_smoothing import denoisers
from api_smoothing.denoisers.base import Denoiser
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.gradients import differentiable, gradients, traced
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse


def smoother() -> Denoiser:
    """Means of 3×3 pixels: linear, so that its gradient is known."""

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    return denoisers.wrap(mean, id="mean@1", sigma_range=(0.02, 1.0))


@pytest.mark.parametrize("name", ["unet-cifar10", "diffusion-cifar10"])
def test_the_gradient_is_the_slope(name: str) -> None:
    """Of a bundled network, along a random direction: as two answers a small way apart have it."""
    denoiser = denoisers.load(name)
    draw = torch.Generator().manual_seed(0)
    x = 0.3 + 0.4 * torch.rand((1, 3, 32, 32), generator=draw)
    way, weight = torch.randn(x.shape, generator=draw), torch.randn(x.shape, generator=draw)
    way /= way.norm()
    x.requires_grad_()
    value = (differentiable(denoiser, x, 0.25) * weight).sum()
    (slope,) = torch.autograd.grad(value, x)
    small = 0.02
    with torch.no_grad():
        ends = [(denoiser(x + side * small * way, 0.25) * weight).sum() for side in (-1, 1)]
    measured = float(ends[1] - ends[0]) / (2 * small)
    assert float((slope * way).sum()) == pytest.approx(measured, rel=0.05, abs=0.05)
    assert not torch.equal(slope, weight), "the identity's would be wrong"


def test_there_is_none_unless_it_is_asked_for() -> None:
    """A denoiser builds no graph for a caller who has gradients on; nor after an attack."""
    denoiser, x = smoother(), torch.rand((1, 3, 8, 8), requires_grad=True)
    assert not denoiser(x, 0.2).requires_grad
    with gradients():
        assert denoiser(x, 0.2).requires_grad
    assert not denoiser(x, 0.2).requires_grad
    with pytest.raises(RuntimeError, match="broken"), gradients():
        raise RuntimeError("broken")
    assert not denoiser(x, 0.2).requires_grad


@pytest.mark.parametrize(
    "around",
    [
        lambda d: d,
        lambda d: Ensemble(denoiser=d),
        lambda d: Reverse(denoiser=d, steps=2),
        lambda d: Paths(reverse=Reverse(denoiser=d, steps=2), paths_per_query=3),
        lambda d: Guided(denoiser=d, steps=2, scale=5.0),
    ],
)
def test_samplers_pass_it_on(around: object) -> None:
    """Ensembles, reverse paths and guided ones have the gradient of what they are made of, and the value without it."""
    assert callable(around)
    denoiser: Denoiser = around(smoother())
    x = (0.4 + 0.1 * torch.rand((1, 3, 8, 8))).requires_grad_()
    out = differentiable(denoiser, x, 0.2)
    torch.testing.assert_close(out.detach(), denoiser(x.detach(), 0.2), rtol=0, atol=1e-6)
    (slope,) = torch.autograd.grad(out[0, 0, 4, 4], x)
    assert int((slope != 0).sum()) >= 9, "neighbours count, which the identity would leave out"


def wave(x: Tensor) -> Tensor:
    """A surrogate of two classes that is smooth, and not linear."""
    value = (3 * x).sin().mean((1, 2, 3))
    return torch.stack((value, -2 * value), 1)


@pytest.mark.parametrize("distance", ["mse", "ssim"])
@pytest.mark.parametrize(("scale", "weight"), [(0.0, 0.0), (5.0, 0.0), (0.0, 3.0), (5.0, 3.0)])
def test_the_gradient_through_guidance_is_the_slope(distance: str, scale: float, weight: float) -> None:
    """Of the whole guided path, its two pulls too, in a random direction: as two answers on the same path have it."""

    def soft(x: Tensor, sigma: Tensor) -> Tensor:
        near = F.avg_pool2d(x, 3, 1, 1)
        return 0.5 + 0.4 * torch.tanh(2 * (near - 0.5))

    guided = Guided(
        denoiser=denoisers.wrap(soft, id="soft@1", sigma_range=(0.02, 1.0)), steps=3, scale=scale,
        weight=weight, surrogate=wave, surrogate_name="wave", distance=distance,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    x = 0.4 + 0.2 * torch.rand((2, 3, 12, 12), generator=draw)
    way, kept = torch.randn(x.shape, generator=draw), torch.randn(x.shape, generator=draw)
    way /= way.norm()
    x.requires_grad_()

    def value(at: Tensor) -> Tensor:
        out, true = traced(guided, at, 0.2, fixed_path=True)
        assert true
        return (out * kept).sum()

    (slope,) = torch.autograd.grad(value(x), x)
    ends = [value((x + side * 0.01 * way).detach()).item() for side in (-1, 1)]
    assert float((slope * way).sum()) == pytest.approx((ends[1] - ends[0]) / 0.02, rel=0.02, abs=2e-3)
    assert bool(slope.isfinite().all())


def test_a_path_is_the_images_own_unless_it_is_fixed_for_an_attack() -> None:
    """As certified, another image has other chance; fixed, all rows and images have the same, and only in that time."""
    reverse = Reverse(denoiser=smoother(), steps=4)
    x = torch.full((2, 3, 8, 8), 0.5)
    x[1] += 1e-4

    def apart(fixed: bool) -> float:
        one, other = traced(reverse, x, 0.2, fixed_path=fixed)[0]
        return float((one - other).abs().max())

    assert apart(True) < 1e-3 < 0.01 < apart(False)
    before = reverse(x, 0.2)
    with gradients(fixed_path=True):
        assert not torch.equal(reverse(x, 0.2), before)
    assert torch.equal(reverse(x, 0.2), before)


def test_what_has_none_passes_it_straight_through() -> None:
    """The value is the denoiser's, the gradient the identity's."""

    class Blind:
        card = smoother().card
        compute = "fp32"
        paths_per_query = 1

        def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
            return (x.detach() * 2).round() / 2

    x = torch.rand((1, 3, 4, 4), requires_grad=True)
    out = differentiable(Blind(), x, 0.2)
    torch.testing.assert_close(out.detach(), Blind()(x, 0.2))
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(slope, torch.ones_like(x))
