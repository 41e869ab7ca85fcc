"""The steps of a diffusion model, and the noise at each."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian_pixels import SCHEDULES

from api_smoothing.denoisers import schedule
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "steps"), [("linear", [70, 145, 259, 396]), ("cosine", [573, 1158, 1984, 2809])]
)
def test_the_step_of_the_usual_sigmas(name: str, steps: list[int]) -> None:
    """t* of σ = 0.12, 0.25, 0.5 and 1 is the first step with √(1−ᾱ)/√ᾱ ≥ 2σ of the published schedules."""
    assert SCHEDULES[name].step(torch.tensor([0.12, 0.25, 0.5, 1.0])).tolist() == steps


@pytest.mark.parametrize("table", SCHEDULES.values(), ids=SCHEDULES)
def test_the_step_is_the_first_with_enough_noise(table: Schedule) -> None:
    """Step t* has at least 2σ, the step before it less; a σ of the table finds its own step, in either precision."""
    sigma = torch.rand(200, generator=torch.Generator().manual_seed(0)).double() * 2 + 0.01
    t = table.step(sigma)
    assert bool((table.sigmas[t] >= 2 * sigma * (1 - 1e-6)).all())
    assert bool((table.sigmas[t - 1] < 2 * sigma).all())
    every = torch.arange(len(table.sigmas))
    assert torch.equal(table.step(table.sigmas / 2), every)
    assert torch.equal(table.step((table.sigmas / 2).float()), every)
    assert torch.equal(table.snap(sigma), table.sigmas[t] / 2)


def test_the_network_hardly_believes_more_noise_than_there_is() -> None:
    """From σ = 0.12 to 1 the linear schedule's step t* has at most 1.5 % more noise than the image."""
    sigma = torch.linspace(0.12, 1, 2000, dtype=torch.float64)
    assert 0 <= float((SCHEDULES["linear"].snap(sigma) / sigma - 1).max()) < 0.015


def test_schedules_are_falling_shares() -> None:
    """A list that rises, leaves [0, 1) or is empty is refused; an ᾱ of 0 at the end is no noise level to serve."""
    for bad in ([], [0.5, 0.6], [1.0, 0.5], [0.5, -0.1], [0.5, 0.5]):
        with pytest.raises(ConfigurationError, match="falling"):
            schedule.from_alpha_bar(bad)
    table = schedule.from_alpha_bar([0.9, 0.5, 0.0])
    assert table.sigma_range == pytest.approx((math.sqrt(0.1 / 0.9) / 2, 0.5))
