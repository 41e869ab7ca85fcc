"""Diffusion denoisers: schedules, one-shot, the reverse process, voting paths, guidance, and foreign models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from gaussian_pixels import (
    MU,
    SCHEDULES,
    TAU,
    Exact,
    draw,
    gaussian,
    gaussian_one_shot,
    noise_predictor,
    posterior,
)
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers.diffusion import Prediction, one_shot
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.errors import ConfigurationError

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v", "sample")


# The analytic law


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_one_shot_keeps_the_gaussian_law(name: str, prediction: Prediction) -> None:
    """For pixels N(μ, τ²) an ε-, v- or x0-network on [−1,1] gives μ + τ²/(τ²+σ²)(x−μ), each row at its own σ."""
    denoiser = gaussian_one_shot(name, prediction)
    sigma = SCHEDULES[name].snap(torch.tensor([0.03, 0.12, 0.25, 0.5, 1.0]))
    x = MU + TAU * draw(5, 3, 8, 8) + sigma[:, None, None, None] * draw(5, 3, 8, 8, seed=1)
    torch.testing.assert_close(denoiser(x, sigma), posterior(x, sigma), rtol=0, atol=2e-5)
    between = sigma * 0.99  # not in the table: the network believes a little more noise than there is
    believed = SCHEDULES[name].snap(between)
    torch.testing.assert_close(denoiser(x, between), posterior(x, believed), rtol=0, atol=2e-5)
    torch.testing.assert_close(denoiser(x, between), posterior(x, between), rtol=0, atol=0.02)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_forgotten_factor_two_breaks_the_gaussian_law(prediction: Prediction) -> None:
    """With the step looked up for σ in place of 2σ the law fails by far more than its tolerance."""

    class Forgotten(Schedule):
        def step(self, sigma: Tensor) -> Tensor:
            return super().step(sigma / 2)

    good = gaussian_one_shot("linear", prediction)
    table = Forgotten(alpha_bar=SCHEDULES["linear"].alpha_bar)
    bad = replace(good, schedule=table)
    sigma = float(SCHEDULES["linear"].snap(torch.tensor(0.25)))
    x = MU + TAU * draw(2, 3, 8, 8) + sigma * draw(2, 3, 8, 8, seed=1)
    assert float((bad(x, sigma) - posterior(x, sigma)).abs().max()) > 0.02


@pytest.mark.parametrize(
    "sampler",
    [
        lambda d: d,
        lambda d: Reverse(denoiser=d, steps=1),
        lambda d: Guided(denoiser=d, steps=1, scale=5.0),
        lambda d: Paths(reverse=Reverse(denoiser=d, steps=1), paths_per_query=1),
    ],
    ids=["plain", "reverse", "guided", "paths"],
)
@pytest.mark.parametrize("base", ["wrapped", "one-shot"])
def test_one_step_of_any_sampler_keeps_the_gaussian_law(base: str, sampler: Any) -> None:
    """One step of every sampler is its denoiser: the analytic law holds through all of them."""
    denoiser = sampler(gaussian() if base == "wrapped" else gaussian_one_shot("linear", "v"))
    sigma = float(SCHEDULES["linear"].snap(torch.tensor(0.5)))
    x = MU + TAU * draw(3, 3, 8, 8) + sigma * draw(3, 3, 8, 8, seed=1)
    torch.testing.assert_close(denoiser(x, sigma), posterior(x, sigma), rtol=0, atol=2e-5)


def test_one_shot_reads_the_first_three_channels_and_clips() -> None:
    """A learned variance changes nothing; an estimate leaves the image range by nothing; other shapes are refused."""
    plain = gaussian_one_shot("linear", "epsilon")
    x = draw(2, 3, 8, 8)
    doubled = replace(
        plain, network=lambda x_t, t: torch.cat((plain.network(x_t, t), 9 * torch.ones_like(x_t)), 1)
    )
    assert torch.equal(doubled(x, 0.25), plain(x, 0.25))
    wild = replace(plain, network=lambda x_t, t: -50 * x_t)
    assert wild(x, 0.25).aminmax() == (0, 1)
    with pytest.raises(ConfigurationError, match="channels"):
        replace(plain, network=lambda x_t, t: x_t[:, :2])(x, 0.25)
    with pytest.raises(ConfigurationError, match="epsilon, v, sample"):
        replace(plain, prediction="score")  # type: ignore[arg-type]


def test_what_is_read_differently_is_named_differently() -> None:
    """The sha256 names network, schedule and prediction, and every setting of a sampler."""
    net = nn.Conv2d(3, 3, 1)
    cards = [
        one_shot(Timed(net), schedule=SCHEDULES[name], prediction=prediction, id="n").card
        for name in SCHEDULES
        for prediction in PREDICTIONS
    ]
    base = gaussian()
    cards += [
        Reverse(denoiser=base, steps=n, eta=e, seed=s).card
        for n, e, s in [(4, 1, 0), (5, 1, 0), (4, 0, 0), (4, 1, 1)]
    ]
    cards += [
        Guided(denoiser=base, steps=4, scale=s, distance=d).card
        for s, d in [(0, "mse"), (1, "mse"), (1, "ssim")]
    ]
    cards += [Paths(reverse=Reverse(denoiser=base), paths_per_query=k).card for k in (2, 3)]
    assert len({card.sha256 for card in cards}) == len(cards)


class Timed(nn.Module):
    """A module of x alone, called with (x_t, t)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.net(x_t)
        return out


# Every kind keeps the laws of denoisers, around a blur that is cheap and exact


class TestOneShotSuite(Exact):
    """One-shot denoising with a noise predictor."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return noise_predictor()
