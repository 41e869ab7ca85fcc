"""The geometric self-ensemble: what its views are, and what their mean must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.errors import ConfigurationError

CARD = DenoiserCard(id="lopsided", sha256="0" * 64, sigma_range=(0.05, 1.0))


class Recorder:
    """Keeps what it is shown, and gives it back plus a fixed pattern: a network that is no function of symmetry."""

    card, compute = CARD, "fp32"

    def __init__(self, pattern: Tensor) -> None:
        self.pattern, self.seen = pattern, list[Tensor]()

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        self.seen.append(x.clone())
        return x + self.pattern.to(x.dtype)


def orbit(x: Tensor) -> list[Tensor]:
    """The eight symmetries of the square, by turning and mirroring."""
    turned = [x.rot90(k, (2, 3)) for k in range(4)]
    return [view for t in turned for view in (t, t.flip(3))]


def test_auto_keeps_the_method_it_is_named_with() -> None:
    """A certificate by 'auto?method=…' names the bundled denoiser and the method."""
    words = "auto?method=ensemble&views=2"
    with SmoothedAPI(
        lambda images: [0] * len(images), denoiser=words, sigma=0.25, size=32, seed=1, cache=False
    ) as api:
        found = api.certify(np.full((32, 32, 3), 128, np.uint8), n=20)
    assert str(found.denoiser).startswith("unet-cifar10+ensemble2@")


def test_the_views_are_the_symmetries_of_the_square() -> None:
    """Eight different views, each undone exactly: the image comes back, and the pattern as its mean over the square."""
    x, pattern = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    inner = Recorder(pattern)
    out = Ensemble(denoiser=inner, views=8)(x, 0.25)
    wanted = {view.numpy().tobytes() for view in (v.contiguous() for v in orbit(x))}
    assert {view.numpy().tobytes() for view in inner.seen} == wanted
    assert len(wanted) == 8
    torch.testing.assert_close(out, x + torch.stack(orbit(pattern)).mean(0))


@pytest.mark.parametrize("views", range(1, 9))
def test_what_treats_all_views_alike_is_unchanged(views: int) -> None:
    """With the analytic estimate of N(μ, τ²) pixels nothing is gained or lost, each row at its own σ."""
    denoiser = denoisers.wrap(
        lambda x, sigma: 0.5 + (x - 0.5) / (1 + sigma[:, None, None, None] ** 2),
        id="analytic",
        sigma_range=(0.05, 1.0),
    )
    x, sigma = torch.rand(3, 3, 8, 4), torch.tensor([0.1, 0.3, 0.9])
    torch.testing.assert_close(Ensemble(denoiser=denoiser, views=views)(x, sigma), denoiser(x, sigma))


def test_it_is_closer_than_its_denoiser() -> None:
    """Of the bundled U-Net the mean is nearer the clean image than one estimate: smooth waves at σ = 0.25."""
    plain = denoisers.load("unet-cifar10-mse", dtype="fp32")
    t = torch.linspace(0, 3.0, 32)
    phase = 6.3 * torch.rand((2, 16, 3, 1), generator=torch.Generator().manual_seed(1))
    clean = 0.5 + 0.2 * (torch.sin(t + phase[0])[..., None, :] + torch.cos(t + phase[1])[..., :, None])
    noisy = clean + 0.25 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    errors = [
        float((Ensemble(denoiser=plain, views=v)(noisy, 0.25) - clean).square().mean()) for v in (1, 2, 8)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("views", [0, 9, 2.0, True])
def test_other_numbers_of_views_are_refused(views: object) -> None:
    """Views are one to eight."""
    with pytest.raises(ConfigurationError, match="from 1 to 8"):
        Ensemble(denoiser=Recorder(torch.zeros(1)), views=views)  # type: ignore[arg-type]


def test_its_card_is_its_own() -> None:
    """Answers behind another number of views are never taken for these."""
    inner = Recorder(torch.zeros(1))
    cards = [Ensemble(denoiser=inner, views=v).card for v in (1, 2)] + [inner.card]
    assert len({card.sha256 for card in cards}) == 3
    assert cards[1].id == "lopsided+ensemble2"


class TestLaws(DenoiserSuite):
    """The laws of every denoiser."""

    @pytest.fixture
    def denoiser(self) -> Denoiser:
        """The bundled one of small images, with every view."""
        return denoisers.load("unet-cifar10?method=ensemble&views=8", dtype="fp32")
