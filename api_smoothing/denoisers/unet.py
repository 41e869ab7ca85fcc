"""A small noise-conditional U-Net for 32×32 images, and its preconditioning.

D(x, σ) = ½ + c_skip(σ)(x − ½) + c_out(σ) F(c_in(σ)(x − ½), ln σ) with the coefficients of Karras et al. 2022
(Table 1, column "Ours"), which let one network serve every σ. F works on 2×2 pixels at a time (the image is
unshuffled to 12 channels at half the side, as in FFDNet, Zhang et al. 2018), because certification runs it
ten thousand times an image.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.gradients import inference
from api_smoothing.denoisers.noise_blind import fill, ready
from api_smoothing.denoisers.padding import padded
from api_smoothing.precision import arithmetic

#: Standard deviation of a pixel of natural images in [0,1] units.
SIGMA_DATA = 0.25

_FREQUENCIES = 8


class _Film(nn.Module):
    """x·scale + shift, one pair a channel, from features of ln σ; the identity at first."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.project.weight)
        with torch.no_grad():
            self.project.bias.copy_(torch.tensor([1.0, 0.0]).repeat_interleave(channels))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        pairs = self.project(features).to(x.dtype)[:, :, None, None]
        scale, shift = (p.contiguous(memory_format=torch.channels_last) for p in pairs.chunk(2, 1))
        return torch.addcmul(shift, x, scale)


class _Block(nn.Module):
    """x + conv(relu(film(conv(x)))), the residual starting at zero."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = _Film(width, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.film(self.conv1(x), features).relu_())
        return y.add_(x).relu_()


class _Stage(nn.ModuleList):
    """Residual blocks one after the other."""

    def __init__(self, channels: int, blocks: int, width: int) -> None:
        super().__init__(_Block(channels, width) for _ in range(blocks))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        for block in self:
            x = block(x, features)
        return x


class UNet(nn.Module):
    """F of the preconditioning: x (N,3,H,W) of unit scale and ln σ (N,) → (N,3,H,W).

    `channels` are the widths at 1/2, 1/4, … of the side; `blocks` the residual blocks at each of them on the
    way down and (but for the last) on the way up. H and W must be multiples of `multiple`. With `classes` it can be
    told a distribution over them too.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 128, 256),
        blocks: tuple[int, ...] = (1, 1, 1),
        *,
        width: int = 64,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.blocks, self.width = tuple(channels), tuple(blocks), width
        self.register_buffer(
            "frequencies", torch.arange(1, _FREQUENCIES + 1) * (math.pi / 4), persistent=False
        )
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.classes = nn.Linear(classes, width, bias=False) if classes else None
        self.stem = nn.Conv2d(12, channels[0], 3, padding=1)
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList(nn.Conv2d(i, o, 2, stride=2) for i, o in pairs)
        self.up = nn.ModuleList(nn.Conv2d(o, i, 1) for i, o in pairs)
        self.encode = nn.ModuleList(_Stage(c, n, width) for c, n in zip(channels, blocks, strict=True))
        self.decode = nn.ModuleList(_Stage(c, n, width) for c, n in zip(channels[:-1], blocks, strict=False))
        self.out = nn.Conv2d(channels[0], 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """What the sides of the image must be multiples of."""
        return int(2 ** len(self.channels))

    def forward(self, x: Tensor, log_sigma: Tensor, shares: Tensor | None = None) -> Tensor:
        angles = log_sigma[:, None] * self.frequencies
        features = self.embed(torch.cat((angles.cos(), angles.sin()), 1))
        if self.classes is not None and shares is not None:
            features = features + self.classes(shares)
        h = self.stem(F.pixel_unshuffle(x, 2).to(self.stem.weight.dtype)).relu_()
        skips = []
        for k, stage in enumerate(self.encode):
            h = stage(h, features)
            if k < len(self.down):
                skips.append(h)
                h = self.down[k](h).relu_()
        for k in reversed(range(len(self.up))):
            h = F.interpolate(self.up[k](h), scale_factor=2, mode="nearest").add_(skips[k]).relu_()
            h = self.decode[k](h, features)
        return F.pixel_shuffle(self.out(h), 2)


def coefficients(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(c_skip, c_out, c_in) at σ (N,), each (N,1,1,1) float32."""
    s = sigma.float()[:, None, None, None]
    total = s.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, s * SIGMA_DATA * total.rsqrt(), total.rsqrt()


def denoise(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, σ) in float32: x (N,3,H,W) float32, σ (N,) float32. `net` may run in a shorter type under autocast."""
    skip, out, into = coefficients(sigma)
    centred = x - 0.5
    estimate: Tensor = 0.5 + skip * centred + out * net(into * centred, sigma.log()).float()
    return estimate


class UNetDenoiser:
    """A trained U-Net as a denoiser: `card`, and D(x, σ).

    `compute` names the type the convolutions run in ("fp32", "bf16" or "fp16") and, other than the CPU, the kind of
    device; results differ in the last bits between them, so it is part of every cache key.
    """

    paths_per_query: ClassVar[int] = 1

    def __init__(
        self, net: nn.Module, card: DenoiserCard, *, device: str = "cpu", compute: str = "fp32"
    ) -> None:
        self.card, self.compute = card, arithmetic(compute, device)
        self._device = torch.device(device)
        self._net = ready(net, self._device, compute)

    @inference
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) for x = x0 + σ·noise, σ a number or (N,), same dtype and device as x; not clipped.

        Raises ConfigurationError for a σ or side the card does not have.
        """
        if not len(x):
            return x.clone()
        levels = row_levels(self.card, x, sigma).to(self._device)
        noisy = x.to(self._device, torch.float32)
        return padded(
            self.card,
            lambda whole: self._estimate(whole.contiguous(memory_format=torch.channels_last), levels),
            noisy,
        ).to(x.device, x.dtype)

    def _estimate(self, x: Tensor, levels: Tensor) -> Tensor:
        return denoise(self._net, x, levels)


def build(
    card: DenoiserCard, architecture: dict[str, Any], weights: dict[str, Tensor], *, device: str, compute: str
) -> UNetDenoiser:
    """The denoiser of a weights file. Raises WeightsError where the weights do not fit the architecture."""
    net = UNet(tuple(architecture["channels"]), tuple(architecture["blocks"]), width=architecture["width"])
    return UNetDenoiser(fill(net, card, weights), card, device=device, compute=compute)
