"""Diffusion denoisers: schedules, one-shot, the reverse process, voting paths, guidance, and foreign models."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers import schedule
from api_smoothing.denoisers.diffusion import OneShot, Prediction, one_shot
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths, majority, middle
from api_smoothing.denoisers.reverse import Reverse, noise_levels, row_noise
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.denoisers.wrapped import WrappedDenoiser
from api_smoothing.errors import ConfigurationError

MU, TAU = 0.45, 0.1  # the pixels of the analytic law: N(μ, τ²), within [0,1] for all that matters
SCHEDULES = {"linear": schedule.linear(), "cosine": schedule.cosine()}
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v", "sample")


def posterior(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The mean of a pixel N(μ, τ²) given x = pixel + N(0, σ²)."""
    s = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
    return MU + TAU**2 / (TAU**2 + s**2) * (x - MU)


def gaussian_network(table: Schedule, prediction: Prediction) -> Any:
    """The best network there is for such pixels on [−1,1], as a function of (x_t, t)."""

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        share = table.alpha_bar[t][:, None, None, None]
        keep, noise, x = share.sqrt(), (1 - share).sqrt(), x_t.double()
        mean, variance = 2 * MU - 1, (2 * TAU) ** 2
        clean = mean + keep * variance / (share * variance + 1 - share) * (x - keep * mean)
        epsilon = (x - keep * clean) / noise
        return {"epsilon": epsilon, "v": keep * epsilon - noise * clean, "sample": clean}[prediction].float()

    return network


def gaussian_one_shot(name: str, prediction: Prediction) -> OneShot:
    table = SCHEDULES[name]
    return one_shot(
        gaussian_network(table, prediction), schedule=table, prediction=prediction, id=f"gauss-{name}@1"
    )


def gaussian(low: float = 0.005, high: float = 2.0) -> WrappedDenoiser:
    """The same law as a D(x, σ) for any σ: exact and elementwise."""
    return denoisers.wrap(
        lambda x, s: posterior(x.double(), s.double()).float(), id="gauss@1", sigma_range=(low, high)
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Schedules


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


# The reverse process


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


# Paths that vote


def test_paths_are_numbered() -> None:
    """Path j is the same whatever K, all K differ, and the single image is one of them."""
    paths = Paths(reverse=Reverse(denoiser=gaussian(), steps=3), paths_per_query=4)
    x = MU + 0.3 * draw(2, 3, 8, 8)
    ends = paths.paths(x, 0.25)
    assert ends.shape == (4, 2, 3, 8, 8)
    assert torch.equal(paths.paths(x, 0.25, 2), ends[:2])
    assert len({end.numpy().tobytes() for end in ends}) == 4
    chosen = paths(x, 0.25)
    assert all(any(torch.equal(chosen[row], end[row]) for end in ends) for row in range(2))
    for reverse in (Reverse(denoiser=gaussian(), eta=0.0), Reverse(denoiser=gaussian(), steps=1)):
        with pytest.raises(ConfigurationError, match="chance"):
            Paths(reverse=reverse)


def test_the_middle_path_is_the_nearest_to_the_mean() -> None:
    """Of paths along a line the one nearest their mean is taken, row by row."""
    ends = torch.tensor([[0.0, 5.0], [1.0, 0.0], [5.0, 1.0]])[:, :, None, None, None].expand(3, 2, 3, 2, 2)
    assert middle(ends)[:, 0, 0, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        (["a", "b", "b"], "b"),
        (["b", "a", "a", "b"], "b"),
        ([None, None, "a"], None),
        (["a"], "a"),
        ([], None),
    ],
)
def test_the_majority_is_a_function_of_the_labels_in_order(
    labels: list[str | None], winner: str | None
) -> None:
    """The label most paths got wins; of equals the first; "no label" may win, and then there is none."""
    assert majority(labels) == winner


# Every kind keeps the laws of denoisers, around a blur that is cheap and exact


def blur() -> WrappedDenoiser:
    smooth = nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    return denoisers.wrap(lambda x, s: smooth(x), id="blur@1", sigma_range=(0.1, 0.6), sizes=(32,))


def noise_predictor() -> OneShot:
    """The blur turned into a noise predictor on [−1,1]."""
    base, table = blur(), SCHEDULES["linear"]

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        sigma = table.sigmas[t].float()
        x = x_t / table.alpha_bar[t].float().sqrt()[:, None, None, None]
        clean = 2 * base((x + 1) / 2, (sigma / 2).clamp(0.1, 0.6)) - 1
        return (x - clean) / sigma[:, None, None, None]

    return one_shot(network, schedule=table, id="blur-epsilon@1", sigma_range=(0.1, 0.6), sizes=(32,))


class Exact(DenoiserSuite):
    """Rows agree to rounding; a sampler's steps do not add to that."""

    tolerance = 1e-4


class TestOneShotSuite(Exact):
    """One-shot denoising with a noise predictor."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return noise_predictor()


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


class TestPathsSuite(Exact):
    """The middle one of three paths."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Paths(reverse=Reverse(denoiser=blur(), steps=3), paths_per_query=3)


class TestGuidedSuite(Exact):
    """Guidance by both terms, with a linear classifier for a surrogate."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        torch.manual_seed(0)
        surrogate = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        return Guided(denoiser=blur(), surrogate=surrogate, scale=2.0, weight=1.0, distance="ssim", steps=4)


class TestBundledReverseSuite(Exact):
    """The reverse process with the bundled network."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Reverse(denoiser=denoisers.load("unet-cifar10-mse", dtype="fp32"), steps=2)

    def _clean(self, denoiser: denoisers.Denoiser, count: int = 3) -> Tensor:
        return super()._clean(denoiser, min(count, 3))
