"""Guided distribution transfer: what s, λ and the distances do, and that no black box is asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian_pixels import Exact, blur
from torch import Tensor, nn

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.denoisers.distances import dissimilarity, divergence, psnr, ssim
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse, noise_levels, step
from api_smoothing.denoisers.wrapped import WrappedDenoiser
from api_smoothing.errors import ConfigurationError

MU, TAU = 0.45, 0.1


def gaussian(low: float = 0.005, high: float = 2.0) -> WrappedDenoiser:
    """The best denoiser of pixels N(μ, τ²)."""
    return denoisers.wrap(
        lambda x, s: MU + TAU**2 / (TAU**2 + s[:, None, None, None] ** 2) * (x - MU),
        id="gauss@1",
        sigma_range=(low, high),
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Guidance


def test_without_weights_guidance_is_the_reverse_process() -> None:
    """s = λ = 0 gives the unguided path bit for bit, and asks no surrogate."""

    def surrogate(z: Tensor) -> Tensor:
        raise AssertionError("asked")

    x = MU + 0.3 * draw(3, 3, 8, 8)
    guided = Guided(denoiser=gaussian(), surrogate=surrogate, steps=6)
    assert torch.equal(guided(x, 0.4), Reverse(denoiser=gaussian(), steps=6)(x, 0.4))


def test_guidance_shifts_the_mean_by_its_gradient() -> None:
    """One guided step moves the mean of DDPM's to that of N(μ, Σ)·exp(−s‖y − x_i‖²), exactly for the squared error."""
    denoiser, sigma, scale = gaussian(0.1), 0.5, 7.0
    x, reference = MU + 0.3 * draw(2, 3, 8, 8), MU + TAU * draw(2, 3, 8, 8, seed=1)
    plain, guided = (
        Guided(denoiser=denoiser, scale=s, steps=2).steer(x, sigma, reference) for s in (0.0, scale)
    )
    here, there = noise_levels(denoiser, torch.full((2,), sigma), 2)
    mean, spread = step(x, denoiser(x, sigma).clamp(0, 1), here, there, 1.0)
    variance = float(spread.flatten()[0]) ** 2
    target = reference + float(there[0]) / sigma * (x - reference)
    wanted = (mean + 2 * scale * variance * target) / (1 + 2 * scale * variance) - mean
    slope = TAU**2 / (TAU**2 + 0.1**2)  # of the last use of the denoiser
    torch.testing.assert_close((guided - plain) / slope, wanted, rtol=0, atol=1e-5)


def test_a_greater_scale_comes_nearer_to_the_input() -> None:
    """The distance to the reference falls steadily in s, and no s overshoots."""
    reference = MU + 0.25 * draw(4, 3, 8, 8)
    x = reference + 0.4 * draw(4, 3, 8, 8, seed=1)
    away = [
        float(
            (Guided(denoiser=gaussian(), scale=s, steps=6).steer(x, 0.4, reference) - reference)
            .square()
            .mean()
        )
        for s in (0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1e4)
    ]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.5 * away[0]


def test_guidance_by_structure_raises_the_similarity() -> None:
    """With distance "ssim" a greater s gives an image more similar to the input."""
    wave = torch.linspace(0, 6, 24).sin()
    reference = (0.5 + 0.2 * (wave[:, None] * wave)).expand(2, 3, 24, 24).contiguous()
    x = reference + 0.25 * draw(2, 3, 24, 24)
    similar = [
        float(
            ssim(
                Guided(denoiser=gaussian(0.05), scale=s, distance="ssim").steer(x, 0.25, reference), reference
            ).mean()
        )
        for s in (0.0, 0.3, 1.0, 3.0)
    ]
    assert similar == sorted(similar)
    with pytest.raises(ConfigurationError, match="11 pixels"):
        Guided(denoiser=gaussian(), scale=1.0, distance="ssim")(draw(1, 3, 8, 8), 0.25)


def test_the_surrogates_answer_is_held_or_fled() -> None:
    """λ > 0 brings the surrogate's probabilities nearer to its answer about the reference, λ < 0 takes them away."""
    torch.manual_seed(0)
    surrogate = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    reference = MU + 0.2 * draw(6, 3, 8, 8)
    x = reference + 0.5 * draw(6, 3, 8, 8, seed=1)
    apart = []
    for weight in (-10.0, 0.0, 10.0, 40.0):
        guided = Guided(denoiser=gaussian(), surrogate=surrogate, weight=weight, steps=6)
        end = guided.steer(x, 0.5, reference)
        apart.append(float(divergence(surrogate(end.clamp(0, 1)), surrogate(reference)).mean().detach()))
    assert apart == sorted(apart, reverse=True)
    assert all(p.grad is None for p in surrogate.parameters())


def test_guidance_needs_sound_settings() -> None:
    """A negative s, a λ without a surrogate and an unknown distance are one-line errors."""
    for bad in (
        {"scale": -1.0},
        {"weight": 1.0},
        {"distance": "lpips"},
        {"weight": float("nan")},
        {"steps": 0},
    ):
        with pytest.raises(ConfigurationError) as caught:
            Guided(denoiser=gaussian(), **bad)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["guided", "reverse", "vote"])
def test_the_black_box_is_asked_for_votes_only(kind: str) -> None:
    """As SmoothedAPI(denoiser=…) a sampler asks its surrogate, and the provider for votes alone, one a path."""
    asked: list[int] = []
    gradients: list[int] = []

    def provider(images: Tensor) -> list[str]:
        asked.append(len(images))
        return ["cat"] * len(images)

    def surrogate(z: Tensor) -> Tensor:
        gradients.append(int(z.requires_grad))
        return z.flatten(2).mean(2)

    reverse = Reverse(denoiser=gaussian(), steps=3)
    denoiser = {
        "guided": Guided(denoiser=gaussian(), surrogate=surrogate, scale=5.0, weight=1.0, steps=3),
        "reverse": reverse,
        "vote": Paths(reverse=reverse, paths_per_query=3),
    }[kind]
    image = np.full((16, 16, 3), 120, dtype=np.uint8)
    with SmoothedAPI(provider, denoiser=denoiser, sigma=0.25, seed=1, cache=False, device="cpu") as api:
        assert api.predict(image, n=30).label == "cat"
    assert sum(asked) == (90 if kind == "vote" else 30)
    assert bool(gradients) == (kind == "guided")
    assert any(gradients) == (kind == "guided")


# Distances


def test_ssim_is_the_published_index() -> None:
    """SSIM agrees with scikit-image's Gaussian-weighted one, and is 1 for equal images alone."""
    metrics = pytest.importorskip("skimage.metrics")
    a = torch.rand(3, 3, 40, 32, generator=torch.Generator().manual_seed(0)).double()
    b = (a + 0.1 * draw(3, 3, 40, 32).double()).clamp(0, 1)
    for k, found in enumerate(ssim(a, b).tolist()):
        theirs = metrics.structural_similarity(
            a[k].permute(1, 2, 0).numpy(),
            b[k].permute(1, 2, 0).numpy(),
            channel_axis=2,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert found == pytest.approx(theirs, abs=1e-6)
    torch.testing.assert_close(ssim(a, a), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(dissimilarity(a, b), 3 * 40 * 32 * (1 - ssim(a, b)))


def test_divergence_and_psnr_have_their_zero_points() -> None:
    """KL is 0 for equal distributions alone and positive else; PSNR is 20 dB at an error of 0.1 everywhere."""
    logits = draw(5, 4)
    torch.testing.assert_close(divergence(logits + 3, logits), torch.zeros(5), rtol=0, atol=1e-6)
    assert float(divergence(logits.flip(1), logits).min()) > 0
    assert psnr(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)) == pytest.approx(20.0)
    assert psnr(logits, logits) == math.inf


class TestGuidedSuite(Exact):
    """Guidance by both terms, with a linear classifier for a surrogate."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        torch.manual_seed(0)
        surrogate = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        return Guided(denoiser=blur(), surrogate=surrogate, scale=2.0, weight=1.0, distance="ssim", steps=4)
