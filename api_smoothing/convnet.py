"""A small convolutional classifier of 32×32 images, for the bundled target and for denoisers that read.

In the style of Jordan 2024 ("94% on CIFAR-10 in 3.29 seconds"): a frozen whitening layer over 2×2 patches, then three
blocks of two convolutions. The shipped form has the batch normalisation folded into the convolutions, so it is
nothing but convolutions, GELUs and pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_LEAST_SIDE = 9  # 2×2 patches, then halved three times
_LOGIT_SCALE = 1 / 9  # keeps the first logits of training small; part of the function, so of the weights


def _norm(channels: int, folded: bool) -> nn.Module:
    if folded:
        return nn.Identity()
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)  # scale stays 1: the convolution before it already has one
    return norm


class _Block(nn.Module):
    """3×3 convolution, 2×2 maximum, 3×3 convolution; each normalised and followed by a GELU."""

    def __init__(self, inside: int, outside: int, folded: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=folded)
        self.norm1 = _norm(outside, folded)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=folded)
        self.norm2 = _norm(outside, folded)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Cifar10Net(nn.Module):
    """x (N,3,H,W) in [0,1], made for 32×32, → logits (N,classes).

    An image with a side below 9 is enlarged by a whole factor, every pixel repeated. `folded` builds the shipped form,
    without batch normalisation. `whiten` is the number of whitening filters (24 = each of the 12 principal directions
    of a 2×2 patch, with both signs); `widths` are the channels of the three blocks.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (64, 256, 256),
        *,
        folded: bool = False,
        classes: int = len(CLASSES),
    ) -> None:
        super().__init__()
        self.widths, self.folded = widths, folded
        self.whiten = nn.Conv2d(3, 24, 2)
        self.blocks = nn.ModuleList(
            _Block(i, o, folded) for i, o in zip((24, *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        factor = -(-_LEAST_SIDE // min(x.shape[2:]))
        if factor > 1:
            x = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        x = (4 * x - 2).to(self.whiten.weight.dtype)  # centred, so that bfloat16 keeps the 8-bit grid apart
        x = F.gelu(self.whiten(x))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.amax((2, 3)).to(self.head.weight.dtype)) * _LOGIT_SCALE
        return logits


@torch.no_grad()
def fold(net: Cifar10Net) -> Cifar10Net:
    """The same function with each batch normalisation folded into the convolution before it.

    Exact in real numbers: the scale is positive, so it commutes with the maximum in between.
    """
    out = Cifar10Net(net.widths, folded=True, classes=net.head.out_features).eval()
    out.whiten.load_state_dict(net.whiten.state_dict())
    out.head.load_state_dict(net.head.state_dict())
    for source, target in zip(net.blocks, out.blocks, strict=True):
        for k in "12":
            conv, norm = getattr(source, f"conv{k}"), getattr(source, f"norm{k}")
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            getattr(target, f"conv{k}").weight.copy_(conv.weight * scale[:, None, None, None])
            getattr(target, f"conv{k}").bias.copy_(norm.bias - norm.running_mean * scale)
    return out
