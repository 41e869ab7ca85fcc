"""Our own diffusion network."""

from __future__ import annotations

import pytest
import torch
from diffusion_nets import TINY
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers import schedule
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.diffusion_net import build, make_net
from api_smoothing.errors import ConfigurationError, WeightsError

SCHEDULES = {"linear": schedule.linear()}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_our_network_is_told_the_noise_of_its_step() -> None:
    """The network gets ln σ_t in [0,1] units, so that it may serve any schedule."""
    net, seen = make_net(TINY), []
    net.net.embed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(torch.zeros(2, 3, 16, 16), torch.tensor([145, 396]))
    angle = (SCHEDULES["linear"].sigmas[[145, 396]] / 2).log().float()[:, None] * net.net.frequencies
    torch.testing.assert_close(seen[0][:, : angle.shape[1]], angle.cos())


def test_weights_of_our_network_load_or_are_refused() -> None:
    """`build` gives back the network's own function; weights of another are a WeightsError."""
    torch.manual_seed(0)
    net = make_net(TINY)
    nn.init.normal_(net.net.out.weight, std=0.05)
    card = DenoiserCard(id="tiny", sha256="0" * 64, sigma_range=(0.02, 1.0))
    denoiser = build(card, TINY, net.state_dict(), device="cpu", compute="fp32")
    assert denoiser.card == card
    x, t = 0.5 + 0.4 * draw(2, 3, 16, 16), SCHEDULES["linear"].step(torch.tensor(0.25))
    share = SCHEDULES["linear"].alpha_bar[t].float()
    x_t = share.sqrt() * (2 * x - 1)
    clean = (x_t - (1 - share).sqrt() * net(x_t, t.expand(2))) / share.sqrt()
    torch.testing.assert_close(denoiser(x, 0.25), ((clean + 1) / 2).clamp(0, 1), rtol=0, atol=1e-5)
    with pytest.raises(WeightsError, match="do not fit"):
        build(card, TINY | {"channels": [8, 16]}, net.state_dict(), device="cpu", compute="fp32")
    with pytest.raises(ConfigurationError, match="linear or cosine"):
        make_net(TINY | {"schedule": {"kind": "sigmoid", "steps": 10}})


@pytest.mark.parametrize("shape", [(33, 32), (32, 36)])
def test_a_side_that_does_not_fit_is_told(shape: tuple[int, int]) -> None:
    """As for the U-Net: one line, and no error of the network's."""
    with pytest.raises(ConfigurationError, match=r"multiples of 8, not \d+×\d+"):
        denoisers.load("diffusion-cifar10")(torch.rand(1, 3, *shape), 0.25)
