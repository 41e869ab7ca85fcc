"""A denoiser that reads before it paints: what a classifier recognises in a first estimate is painted into it.

D(x, σ) = y + P(y, σ, p) with y = F(x, σ) and p = softmax R(y): F is a denoiser trained for closeness, R a classifier
trained on what F leaves of noisy images, P a U-Net trained so that other classifiers see in D(x, σ) what R saw in y.
At high noise the best estimate in mean square is a blur that ordinary classifiers misread; R, which knows such blurs,
does not. Where R errs, P may paint the error: the certificate is of the answers to what was painted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.convnet import CLASSES, Cifar10Net
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.gradients import inference
from api_smoothing.denoisers.noise_blind import fill
from api_smoothing.denoisers.unet import SIGMA_DATA, UNet, UNetDenoiser
from api_smoothing.errors import WeightsError


class Recogniser(nn.Module):
    """F, R and P. `first` is F, not trained and not in the state; `reader` R, folded; `painter` P, told R's shares."""

    def __init__(self, first: Denoiser, reader: Cifar10Net, painter: UNet) -> None:
        super().__init__()
        self.first, self.reader, self.painter = first, reader, painter

    @property
    def multiple(self) -> int:
        """What the sides of the image must be multiples of."""
        return self.painter.multiple

    @inference
    def read(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The estimate y (N,3,32,32), clipped, and p (N,classes); no gradient: F and R are trained on their own."""
        with torch.autocast(x.device.type, enabled=False):
            seen = self.first(x, sigma).clamp(0, 1)
            logits: Tensor = self.reader(seen)
        return seen, logits.float().softmax(1)


def denoise(net: Recogniser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """D(x, σ) and p (N,classes), float32: x (N,3,32,32) float32, σ (N,). P may run in a shorter type by autocast."""
    seen, shares = net.read(x, sigma)
    painted: Tensor = net.painter((seen - 0.5) / SIGMA_DATA, sigma.log(), shares).float()
    return seen + SIGMA_DATA * painted, shares


def make_net(architecture: Mapping[str, Any], first: Denoiser) -> Recogniser:
    """An untrained one behind `first`, with a reader of `widths` and a painter of `channels`, `blocks` and `width`.

    It knows `classes`, by default CIFAR-10's. Raises KeyError for what is missing.
    """
    classes = len(architecture.get("classes", CLASSES))
    painter = UNet(
        tuple(architecture["channels"]),
        tuple(architecture["blocks"]),
        width=architecture["width"],
        classes=classes,
    )
    return Recogniser(first, Cifar10Net(tuple(architecture["widths"]), folded=True, classes=classes), painter)


class RecogniserDenoiser(UNetDenoiser):
    """A trained `Recogniser` as a denoiser, with the checks and types of `UNetDenoiser`."""

    def _estimate(self, x: Tensor, levels: Tensor) -> Tensor:
        assert isinstance(self._net, Recogniser)
        return denoise(self._net, x, levels)[0]


def build(
    card: DenoiserCard,
    architecture: dict[str, Any],
    weights: dict[str, Tensor],
    *,
    device: str,
    compute: str,
    load: Callable[[str], Denoiser],
) -> RecogniserDenoiser:
    """The denoiser of a weights file; `load` finds F by its name, `first` of the architecture.

    Raises WeightsError where the weights do not fit, or F is not the one of training.
    """
    net = make_net(architecture, load(architecture["first"]))
    if net.first.card.sha256 != architecture["first_sha256"]:
        raise WeightsError(
            f"{card.id} was trained behind another {architecture['first']}; reinstall api-smooth"
        )
    fill(net, card, weights)
    return RecogniserDenoiser(net, card, device=device, compute=compute)
