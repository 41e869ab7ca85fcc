"""Small classifiers of 32×32 images of other kinds than the bundled one: surrogates, and targets to be held out.

What a denoiser learnt before one kind of network need not hold before another; these differ in how they mix pixels.
Each takes x (N,3,H,W) in [0,1] and gives logits (N,classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.convnet import Cifar10Net
from api_smoothing.errors import ConfigurationError


class _Residual(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inside(x)
        return out


class _Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 4 * x - 2


class _Flat(nn.Module):
    """(N,C,H,W) → its mean over the pixels (N,C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def mixer(classes: int, *, width: int, depth: int, kernel: int, patch: int) -> nn.Module:
    """ConvMixer (Trockman & Kolter 2022): patches, then depthwise and pointwise convolutions in turn."""
    blocks = [
        nn.Sequential(
            _Residual(
                nn.Sequential(
                    nn.Conv2d(width, width, kernel, padding="same", groups=width),
                    nn.GELU(),
                    nn.BatchNorm2d(width),
                )
            ),
            nn.Conv2d(width, width, 1),
            nn.GELU(),
            nn.BatchNorm2d(width),
        )
        for _ in range(depth)
    ]
    stem = (nn.Conv2d(3, width, patch, patch), nn.GELU(), nn.BatchNorm2d(width))
    return nn.Sequential(_Centred(), *stem, *blocks, _Flat(), nn.Linear(width, classes))


class _Joined(nn.Module):
    """x, and what is made of it, side by side."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.inside(x)), 1)


def dense(classes: int, *, growth: int, blocks: list[int]) -> nn.Module:
    """DenseNet (Huang et al. 2017): every layer sees all before it; channels and sides are halved between `blocks`."""
    width = 2 * growth
    layers: list[nn.Module] = [_Centred(), nn.Conv2d(3, width, 3, 1, 1, bias=False)]
    for number, depth in enumerate(blocks):
        if number:
            norm = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2))
            layers += [norm, nn.Conv2d(width, width // 2, 1, bias=False)]
            width //= 2
        for _ in range(depth):
            body = (nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, growth, 3, 1, 1, bias=False))
            layers.append(_Joined(nn.Sequential(*body)))
            width += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), _Flat(), nn.Linear(width, classes))


class Transformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) with averaged tokens in place of the class token.

    It is made for images of `side` pixels.
    """

    def __init__(
        self, classes: int, *, width: int, depth: int, heads: int, patch: int, side: int = 32
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(4 * x - 2).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits


_MAKERS: Mapping[str, Callable[..., nn.Module]] = {
    "mixer": mixer,
    "dense": dense,
    "transformer": Transformer,
}


def make_classifier(plan: Mapping[str, Any], classes: int) -> nn.Module:
    """The classifier that a recipe or a card describes: of `widths` a `Cifar10Net`, else by its `architecture`.

    Raises ConfigurationError.
    """
    sizes = dict(plan.get("architecture", {}))
    kind = sizes.pop("kind", None) if sizes else "convolutions"
    if kind != "convolutions" and kind not in list(_MAKERS):
        raise ConfigurationError(f"architecture kind {kind!r} is unknown; name {', '.join(_MAKERS)}")
    try:
        if kind == "convolutions":
            return Cifar10Net(tuple(plan["widths"]), classes=classes)
        return _MAKERS[kind](classes, **sizes)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        why = " ".join(str(error).split())
        raise ConfigurationError(
            f"{plan.get('widths', sizes)} make no network ({why}); correct it"
        ) from error
