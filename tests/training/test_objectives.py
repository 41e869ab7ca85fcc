"""The noise that is added, and the error that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from api_smoothing.denoisers.unet import SIGMA_DATA, UNet, denoise
from api_smoothing.training.loop import generator
from api_smoothing.training.objectives import SigmaRange, add_noise, jitter, on_grid, weighted_mse


def test_noise_is_on_the_grid_and_not_clipped() -> None:
    """x + ε lies on multiples of 1/255, leaves [0,1], and has the standard deviation asked for."""
    x = torch.full((4, 3, 32, 32), 128 / 255)
    sigma = torch.tensor([0.05, 0.25, 0.5, 1.0])
    noisy = add_noise(x, sigma, generator(0))
    assert torch.allclose(noisy * 255, (noisy * 255).round(), atol=1e-3)
    assert (noisy - x).flatten(1).std(1) == pytest.approx(sigma.tolist(), rel=0.05)
    assert float(noisy.max()) > 1.5


def test_sigmas_stay_in_range_and_gather_at_the_focus() -> None:
    """Every σ is within [low, high], and the focused share lies about the focus."""
    drawn = SigmaRange(low=0.05, high=1.0, focus=0.25, share=0.8, spread=0.05).draw(4000, generator(1))
    assert float(drawn.min()) >= 0.05
    assert float(drawn.max()) <= 1.0
    near = float(((drawn / 0.25).log().abs() < 0.15).float().mean())
    assert near == pytest.approx(0.8 * 0.997 + 0.2 * 0.3 / 3.0, abs=0.03)


def test_the_loss_is_the_error_of_the_network_itself() -> None:
    """weighted_mse equals the plain error of F against its effective target (Karras et al. 2022, equation 8)."""
    net = UNet((16, 16), (1, 1))
    nn.init.normal_(net.out.weight, std=0.1)
    clean, sigma = torch.rand(3, 3, 32, 32), torch.tensor([0.1, 0.3, 0.9])
    noisy = add_noise(clean, sigma, generator(2))
    s = sigma[:, None, None, None]
    total = s**2 + SIGMA_DATA**2
    target = (clean - 0.5 - SIGMA_DATA**2 / total * (noisy - 0.5)) / (s * SIGMA_DATA / total.sqrt())
    plain = (net((noisy - 0.5) / total.sqrt(), sigma.log()) - target).square().mean()
    torch.testing.assert_close(
        weighted_mse(denoise(net, noisy, sigma), clean, sigma), plain, rtol=1e-4, atol=1e-5
    )


def test_rounding_passes_gradients_inside_the_range() -> None:
    """on_grid rounds to 8 bits and clips; its gradient is 1 inside [0,1] and 0 outside."""
    x = torch.tensor([-0.3, 0.1234, 0.9, 1.7], requires_grad=True)
    y = on_grid(x)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert (y.detach() * 255).tolist() == pytest.approx([0, 31, 230, 255], abs=1e-3)
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_jitter_moves_the_batch_as_one() -> None:
    """Every image of the batch is moved by the same few pixels."""
    x = torch.rand(1, 3, 32, 32).expand(5, -1, -1, -1)
    y = jitter(x, 2, generator(3))
    assert y.shape == x.shape
    assert torch.equal(y[0], y[4])
    assert any(
        torch.equal(y[0, :, 4:-4, 4:-4], x[0, :, 4 + i : 28 + i, 4 + j : 28 + j])
        for i in range(-2, 3)
        for j in range(-2, 3)
    )
