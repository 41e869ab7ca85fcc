"""The reverse process: many small steps from a noisy image to a clean one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from gaussian_pixels import (
    MU,
    SCHEDULES,
    TAU,
    Exact,
    blur,
    draw,
    gaussian,
    gaussian_one_shot,
    noise_predictor,
)
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse, noise_levels, row_noise
from api_smoothing.errors import ConfigurationError


def expected(ladder: list[float], eta: float) -> tuple[float, float]:
    """(gain, variance) of the sampler on the Gaussian law: the end is μ + gain·(x−μ) plus noise of that variance."""
    gain, variance = 1.0, 0.0
    for here, there in pairwise(ladder):
        spread = eta * there * math.sqrt(1 - (there / here) ** 2)
        keep = math.sqrt(there**2 - spread**2) / here
        slope = keep + (1 - keep) * TAU**2 / (TAU**2 + here**2)
        gain, variance = gain * slope, variance * slope**2 + spread**2
    last = TAU**2 / (TAU**2 + ladder[-1] ** 2)
    return gain * last, variance * last**2


@pytest.mark.parametrize("base", ["wrapped", "one-shot"])
@pytest.mark.parametrize("steps", [4, 200])
def test_paths_sample_the_gaussian_posterior(base: str, steps: int) -> None:
    """DDPM's ends have the posterior's mean at any number of steps, and its variance when the steps are many."""
    denoiser = gaussian() if base == "wrapped" else gaussian_one_shot("cosine", "epsilon")
    sigma = float(SCHEDULES["cosine"].snap(torch.tensor(0.25)))
    x = torch.full((1, 3, 16, 16), MU + 0.2)
    ends = Paths(reverse=Reverse(denoiser=denoiser, steps=steps), paths_per_query=40).paths(x, sigma).double()
    ladder = [float(level) for level in noise_levels(denoiser, torch.tensor([sigma]), steps)]
    gain, variance = expected(ladder, 1.0)
    exact = TAU**2 / (TAU**2 + sigma**2)
    assert gain == pytest.approx(exact, rel=1e-6)
    if steps == 200:
        assert variance == pytest.approx(exact * sigma**2, rel=0.1)
    else:
        assert variance < 0.75 * exact * sigma**2
    n = ends.numel()
    assert float(ends.mean()) == pytest.approx(MU + gain * 0.2, abs=5 * math.sqrt(variance / n))
    assert float(ends.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / n))


def test_ddim_draws_nothing_and_follows_the_flow() -> None:
    """η = 0 does not depend on the seed, and many steps give μ + τ/√(τ²+σ²)(x−μ), the probability flow's end."""
    x, sigma = MU + 0.3 * draw(2, 3, 8, 8), 0.5
    ends = [Reverse(denoiser=gaussian(0.002), steps=300, eta=0.0, seed=s)(x, sigma) for s in (0, 1)]
    assert torch.equal(*ends)
    flow = MU + TAU / math.sqrt(TAU**2 + sigma**2) * (x - MU)
    torch.testing.assert_close(ends[0], flow, rtol=0, atol=2e-3)


def test_levels_fall_from_sigma_to_the_least() -> None:
    """Every row starts at its own σ, goes down and ends at the least noise served; a schedule's levels are its own."""
    sigma = torch.tensor([0.005, 0.1, 0.5, 1.0])
    ladder = torch.stack(noise_levels(gaussian(), sigma, 7))
    assert torch.equal(ladder[0], sigma)
    assert bool((ladder[:, 1:].diff(dim=0) < 0).all())
    torch.testing.assert_close(ladder[-1], torch.full((4,), 0.005))
    assert len(noise_levels(gaussian(), sigma, 1)) == 1
    table = SCHEDULES["linear"]
    snapped = torch.stack(noise_levels(gaussian_one_shot("linear", "v"), sigma[1:], 7))
    torch.testing.assert_close(table.snap(snapped[1:]), snapped[1:], rtol=1e-6, atol=0)


def test_a_row_gets_the_same_path_in_any_company() -> None:
    """Bit for bit: order, number and values of the other rows change nothing, nor does each row having its own σ."""
    x, sigma = MU + 0.4 * draw(17, 3, 7, 9), torch.linspace(0.05, 1.0, 17)
    surrogate = lambda z: z.flatten(2).mean(2)  # noqa: E731
    samplers = [
        Reverse(denoiser=gaussian(), steps=5),
        Paths(reverse=Reverse(denoiser=gaussian(), steps=3), paths_per_query=3),
        Guided(denoiser=gaussian(), surrogate=surrogate, scale=3.0, weight=0.5, steps=4),
    ]
    for sampler in samplers:
        whole = sampler(x, sigma)
        assert torch.equal(sampler(x.flip(0), sigma.flip(0)), whole.flip(0))
        for k in (0, 8, 16):
            assert torch.equal(sampler(x[k : k + 1], float(sigma[k])), whole[k : k + 1])
        other = x.clone()
        other[:8] = 0.1
        assert torch.equal(sampler(other, sigma)[8:], whole[8:])


def test_the_bundled_network_gives_a_row_the_same_path_at_its_batch() -> None:
    """At one batch shape, as the engine uses it, a row's path does not depend on its place or on the others."""
    sampler = Reverse(denoiser=denoisers.load("unet-cifar10-mse"), steps=2)
    x, other = 0.5 + 0.3 * draw(8, 3, 32, 32), 0.5 + 0.3 * draw(8, 3, 32, 32, seed=1)
    whole = sampler(x, 0.25)
    for place in (0, 7):
        mixed = other.clone()
        mixed[place] = x[5]
        assert torch.equal(sampler(mixed, 0.25)[place], whole[5])


def test_a_path_is_a_function_of_row_sigma_seed_and_number() -> None:
    """The same four give the same noise; a change of any, be it one level of one pixel, gives unrelated noise."""
    x = draw(1, 3, 16, 16)
    near = x.clone()
    near[0, 2, 3, 4] += 1 / 255

    def noise(row: Tensor, sigma: float = 0.25, seed: int = 0, path: int = 0) -> Tensor:
        stream = row_noise(row, torch.tensor([sigma]), seed=seed, path=path)
        return torch.cat([next(stream).flatten() for _ in range(3)])

    first = noise(x)
    assert torch.equal(first, noise(x.double()))
    assert torch.equal(noise(torch.zeros(1, 3, 8, 8)), noise(-torch.zeros(1, 3, 8, 8)))
    assert float(first.mean()) == pytest.approx(0, abs=0.1)
    assert float(first.std()) == pytest.approx(1, abs=0.1)
    for other in (noise(near), noise(x, sigma=0.26), noise(x, seed=1), noise(x, path=1)):
        assert abs(float(torch.corrcoef(torch.stack((first, other)))[0, 1])) < 0.1
    steps = first.view(3, -1)
    assert abs(float(torch.corrcoef(steps)[0, 1])) < 0.2


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"steps": 2.0}, {"steps": True}, {"eta": 1.5}, {"eta": float("nan")}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    """Steps are whole numbers from 1, η lies in [0, 1]; else a one-line ConfigurationError."""
    with pytest.raises(ConfigurationError) as caught:
        Reverse(denoiser=gaussian(), **bad)
    assert "\n" not in str(caught.value)


class TestReverseSuite(Exact):
    """The reverse process, DDPM."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Reverse(denoiser=blur(), steps=4)


class TestVariancePreservingReverseSuite(Exact):
    """The reverse process of a noise predictor, between DDPM and DDIM."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Reverse(denoiser=noise_predictor(), steps=4, eta=0.5)


@pytest.mark.slow
class TestBundledReverseSuite(Exact):
    """The reverse process with the bundled network."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Reverse(denoiser=denoisers.load("unet-cifar10-mse", dtype="fp32"), steps=2)

    def _clean(self, denoiser: denoisers.Denoiser, count: int = 3) -> Tensor:
        return super()._clean(denoiser, min(count, 3))
