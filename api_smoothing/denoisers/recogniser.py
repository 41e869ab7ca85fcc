"""A denoiser that reads before it paints: a U-Net told what a classifier sees in a first estimate.

D(x, σ) = U(x, σ, p) with p = softmax R(F(x, σ)): F is a denoiser trained for closeness, R a classifier trained on
what F leaves of noisy images, U a U-Net trained so that other classifiers recognise its output. At high noise the
best estimate in mean square is a blur that no classifier reads; R, which knows such blurs, can, and p lets U paint
what R is sure of. Where R errs, U may paint the error: the certificate is of the answers to what U painted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.convnet import CLASSES, Cifar10Net
from api_smoothing.denoisers import unet
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.blind import fill
from api_smoothing.denoisers.unet import UNet, UNetDenoiser
from api_smoothing.errors import WeightsError


class Recogniser(nn.Module):
    """F, R and U. `first` is F, not trained and not in the state; `reader` R, folded; `unet` U, told R's ten shares."""

    def __init__(self, first: Denoiser, reader: Cifar10Net, net: UNet) -> None:
        super().__init__()
        self.first, self.reader, self.unet = first, reader, net

    @property
    def multiple(self) -> int:
        """What the sides of the image must be multiples of."""
        return self.unet.multiple

    @torch.no_grad()
    def shares(self, x: Tensor, sigma: Tensor) -> Tensor:
        """P (N,10) float32, the reader's softmax; no gradient, the reader is trained on its own."""
        with torch.autocast(x.device.type, enabled=False):
            seen = self.first(x, sigma).clamp(0, 1)
            logits: Tensor = self.reader(seen)
        return logits.float().softmax(1)


def denoise(net: Recogniser, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, σ) in float32: x (N,3,32,32) float32, σ (N,). `net` may run in a shorter type under autocast."""
    return unet.denoise(net.unet, x, sigma, net.shares(x, sigma))


def make_net(architecture: Mapping[str, Any], *, device: str = "cpu", compute: str = "auto") -> Recogniser:
    """An untrained network from `first` (a bundled denoiser), `widths`, and the U-Net's `channels`, `blocks`, `width`.

    Raises KeyError for what is missing.
    """
    from api_smoothing.denoisers.registry import load

    body = UNet(
        tuple(architecture["channels"]),
        tuple(architecture["blocks"]),
        width=architecture["width"],
        classes=len(CLASSES),
    )
    first = load(architecture["first"], device=device, dtype=compute)
    return Recogniser(first, Cifar10Net(tuple(architecture["widths"]), folded=True), body)


class RecogniserDenoiser(UNetDenoiser):
    """A trained `Recogniser` as a denoiser, with the checks and types of `UNetDenoiser`."""

    def _estimate(self, x: Tensor, levels: Tensor) -> Tensor:
        assert isinstance(self._net, Recogniser)
        return denoise(self._net, x, levels)


def build(
    card: DenoiserCard, architecture: dict[str, Any], weights: dict[str, Tensor], *, device: str, compute: str
) -> RecogniserDenoiser:
    """The denoiser of a weights file. Raises WeightsError where they do not fit, or F is not the one of training."""
    net = make_net(architecture, device=device, compute=compute)
    if net.first.card.sha256 != architecture["first_sha256"]:
        raise WeightsError(
            f"{card.id} was trained behind another {architecture['first']}; reinstall api-smooth"
        )
    fill(net, card, weights)
    return RecogniserDenoiser(net, card, device=device, compute=compute)
