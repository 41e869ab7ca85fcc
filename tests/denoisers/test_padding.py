"""Images of any size: what is put around them, and what of it is left afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.diffusion import one_shot
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.noise_blind import BlindDenoiser
from api_smoothing.denoisers.padding import mirror, padded
from api_smoothing.denoisers.schedule import linear
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.denoisers.unet import UNet, UNetDenoiser, denoise
from api_smoothing.errors import ConfigurationError

CARD = DenoiserCard(id="steps", sha256="0" * 64, sigma_range=(0.1, 1.0), multiple=8)


class Picky(nn.Module):
    """Halves an image three times and doubles it again: sides that are no multiples of 8 come back changed."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, 8), scale_factor=8.0)


def small_unet() -> UNet:
    """A U-Net for multiples of 4 that does something."""
    torch.manual_seed(0)
    net = UNet((8, 8), (1, 1), width=8)
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    return net


def small_dncnn() -> DnCNN:
    """A chain of three convolutions that does something."""
    torch.manual_seed(0)
    net = DnCNN(8, 3, norm=False)
    nn.init.normal_(net.convs[-1].weight, std=0.1)  # type: ignore[arg-type]
    return net


def kinds() -> dict[str, denoisers.Denoiser]:
    """One denoiser for each class that has a network of its own, made for steps of 4 or 8."""
    card = dataclasses.replace(CARD, multiple=4)
    return {
        "told": UNetDenoiser(small_unet(), card),
        "blind": BlindDenoiser(small_dncnn(), CARD),
        "wrapped": denoisers.wrap(Picky(), id="picky", sigma_range=(0.1, 1.0), multiple=8),
        "diffusion": one_shot(
            lambda x, t: Picky()(x, t.float()),
            schedule=linear(),
            id="picky",
            sigma_range=(0.1, 1.0),
            multiple=8,
        ),
    }


class TestPadded(DenoiserSuite):
    """The photographs' network keeps every law, at sides that do not fit as well."""

    tolerance = 1e-4
    side = 48

    @pytest.fixture(scope="class")
    def denoiser(self) -> denoisers.Denoiser:
        """In float32, where rows agree to rounding."""
        return denoisers.load("unet-natural", dtype="fp32")


@pytest.mark.parametrize("side", [2, 3, 5, 17, 30])
def test_the_border_is_the_image_mirrored(side: int) -> None:
    """It is what numpy's "reflect" adds below and right, however small the image."""
    x = torch.rand(2, 3, side, side + 1)
    grown = mirror(x, 16)
    down, right = (-side) % 16, (-side - 1) % 16
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, down), (0, right)), mode="reflect")
    assert np.array_equal(grown.numpy(), expected)


def test_a_single_pixel_is_repeated() -> None:
    """Of one row or column there is nothing else to mirror."""
    assert torch.equal(mirror(torch.full((1, 3, 1, 1), 0.3), 4), torch.full((1, 3, 4, 4), 0.3))


def test_what_fits_is_left_alone() -> None:
    """The network is given the very tensor, and its answer goes back uncropped; so too where a card names its sizes."""
    x, seen = torch.rand(2, 3, 16, 24), list[Tensor]()

    def keep(whole: Tensor) -> Tensor:
        seen.append(whole)
        return whole

    assert padded(CARD, keep, x) is x
    odd = torch.rand(2, 3, 15, 24)
    assert padded(dataclasses.replace(CARD, sizes=(15, 24)), keep, odd) is odd
    assert [whole is of for whole, of in zip(seen, (x, odd), strict=True)] == [True, True]


def test_sides_that_fit_give_the_bits_they_gave() -> None:
    """A padding network does on fitting sides exactly what it does on its own."""
    net, x = small_unet().eval(), torch.rand(3, 3, 12, 20)
    levels = torch.full((3,), 0.3)
    with torch.no_grad():
        alone = denoise(net, x.contiguous(memory_format=torch.channels_last), levels)
    assert torch.equal(kinds()["told"](x, 0.3), alone)


@pytest.mark.parametrize("kind", ["told", "blind", "wrapped", "diffusion"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (33, 9)])
def test_every_network_takes_any_side(kind: str, shape: tuple[int, int]) -> None:
    """D(x, σ) is the crop of D(pad x, σ), for each class of networks."""
    denoiser = kinds()[kind]
    x = torch.rand(2, 3, *shape)
    whole = denoiser(mirror(x, denoiser.card.multiple), 0.3)
    found = denoiser(x, 0.3)
    assert found.shape == x.shape
    assert torch.equal(found, whole[..., : shape[0], : shape[1]])


def test_a_network_of_fixed_sides_is_not_padded() -> None:
    """Where the card names sizes, a side that does not fit is still one line."""
    fixed = denoisers.wrap(Picky(), id="p", sigma_range=(0.1, 1.0), sizes=(32,), multiple=8)
    with pytest.raises(ConfigurationError, match="multiples of 8, not 33×32"):
        fixed(torch.rand(1, 3, 33, 32), 0.3)
