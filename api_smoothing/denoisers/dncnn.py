"""DnCNN: a chain of 3×3 convolutions that estimates the noise (Zhang et al. 2017, section III).

conv–ReLU, then conv–normalisation–ReLU, then conv; x̂0 = x − N(x), equation (1). Salman et al. 2020 put it in
front of classifiers with 17 convolutions of 64 channels, or 128 ("wide"); the blind colour network of the first
paper has 20. Once trained, a normalisation is a scale and a shift, and is folded into the convolution before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.noise_blind import BlindDenoiser, fill

_LEAF = re.compile(r"^((?:.*\.)?)(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)$")
_EPS = 1e-4  # of the normalisations; the authors' value


class DnCNN(nn.Module):
    """x (N,3,H,W) → x̂0 (N,3,H,W), float32, any sides; a pixel sees the (2·depth + 1)² about it.

    With `norm` it is as it is trained: biases in the first convolution alone, normalisations in between.
    Without, each convolution has a bias. With `residual` the chain's output is the noise, otherwise the image.
    """

    def __init__(
        self, channels: int = 64, depth: int = 17, *, norm: bool = True, residual: bool = True
    ) -> None:
        super().__init__()
        self.channels, self.depth, self.residual = channels, depth, residual
        widths = (3, *[channels] * (depth - 1), 3)
        convs = [
            nn.Conv2d(into, out, 3, padding=1, bias=not norm or k == 0)
            for k, (into, out) in enumerate(pairwise(widths))
        ]
        for conv in convs:
            nn.init.orthogonal_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        nn.init.zeros_(convs[-1].weight)  # the identity at first
        self.convs = nn.ModuleList(convs)
        # What passes is mostly noise, whose statistics hardly differ between batches: the latest may count most.
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channels, eps=_EPS, momentum=0.95) for _ in range(depth - 2 if norm else 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.convs[0](x.to(next(self.parameters()).dtype)).relu_()
        for k, conv in enumerate(self.convs[1:-1]):
            h = conv(h)
            h = (self.norms[k](h) if self.norms else h).relu_()
        last: Tensor = self.convs[-1](h).float()
        return x - last if self.residual else last

    def folded(self) -> DnCNN:
        """The same function without normalisations, as in eval mode."""
        state, layers = self.state_dict(), []
        for k in range(self.depth):
            head = f"norms.{k - 1}."
            norm = {name.removeprefix(head): value for name, value in state.items() if name.startswith(head)}
            layers.append(fold(state[f"convs.{k}.weight"], state.get(f"convs.{k}.bias"), norm, _EPS))
        return _of(layers, residual=self.residual)


def fold(
    weight: Tensor, bias: Tensor | None, norm: Mapping[str, Tensor], eps: float
) -> tuple[Tensor, Tensor]:
    """(weight, bias) float32 of the convolution that does what this one and `norm`, if any, do in eval mode."""
    w = weight.double()
    b = torch.zeros(len(w), dtype=w.dtype) if bias is None else bias.double()
    if norm:
        scale = norm["weight"].double() / (norm["running_var"].double() + eps).sqrt()
        w, b = (
            w * scale[:, None, None, None],
            (b - norm["running_mean"].double()) * scale + norm["bias"].double(),
        )
    return w.float(), b.float()


def build(
    card: DenoiserCard,
    architecture: dict[str, Any],
    weights: Mapping[str, Tensor],
    *,
    device: str,
    compute: str,
) -> BlindDenoiser:
    """The denoiser of a weights file. Raises WeightsError where the weights do not fit the architecture."""
    net = DnCNN(architecture["channels"], architecture["depth"], norm=False)
    return BlindDenoiser(fill(net, card, weights), card, device=device, compute=compute)


def stem(names: Iterable[str]) -> str:
    """What the names of a published DnCNN's layers begin with: the beginning most `….<number>.<leaf>` share."""
    counts = Counter(found[1] for found in map(_LEAF.match, names) if found)
    return counts.most_common(1)[0][0] if counts else ""


def published(state: Mapping[str, Tensor], head: str, *, residual: bool = True) -> DnCNN:
    """The folded DnCNN of a published state dict whose names begin with `head`.

    Layers are numbered as in an `nn.Sequential`, ReLUs counted. Normalisations are there, or were folded into
    biases before. Their ε is not in the file: with a bias in the first convolution the file is of the family of
    the authors' code (1e-4), without of that of the framework's default (1e-5). Raises ValueError, naming the
    first key that does not fit.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        found = _LEAF.match(name)
        if found is None or found[1] != head:
            raise ValueError(f"{name} is no key of a DnCNN")
        layers.setdefault(int(found[2]), {})[found[3]] = value
    channels = state[f"{head}0.weight"].shape[:1].numel() if f"{head}0.weight" in state else 1
    eps = _EPS if f"{head}0.bias" in state else 1e-5
    place, end, norm = 0, max(layers, default=0), dict[str, Tensor]()
    pairs, seen = list[tuple[Tensor, Tensor]](), set[int]()
    while place <= end:
        into, out = (3 if place == 0 else channels), (3 if place == end else channels)
        conv, norm = layers.get(place, {}), layers.get(place + 1, {}) if place else {}
        _check(conv, f"{head}{place}.", {"weight": (out, into, 3, 3)}, {"bias": (out,)})
        if norm:
            wanted = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (out,))
            _check(norm, f"{head}{place + 1}.", wanted, {"num_batches_tracked": ()})
        pairs.append(fold(conv["weight"], conv.get("bias"), norm, eps))
        seen |= {place, place + 1} if norm else {place}
        place += 3 if norm else 2
    if stray := sorted(set(layers) - seen):
        raise ValueError(f"{head}{stray[0]}.{next(iter(layers[stray[0]]))} is no key of a DnCNN")
    if len(pairs) < 3 or norm:  # a normalisation is never the last
        raise ValueError(f"{head}{place}.weight is missing")
    return _of(pairs, residual=residual)


def _check(
    found: Mapping[str, Tensor],
    head: str,
    wanted: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
) -> None:
    for leaf in (*wanted, *(leaf for leaf in found if leaf not in wanted)):
        shape = wanted.get(leaf, optional.get(leaf))
        if leaf not in found:
            raise ValueError(f"{head}{leaf} is missing")
        if shape is None:
            raise ValueError(f"{head}{leaf} is no key of a DnCNN")
        if tuple(found[leaf].shape) != shape:
            raise ValueError(f"{head}{leaf} has shape {tuple(found[leaf].shape)}, not {shape}")


def _of(layers: list[tuple[Tensor, Tensor]], *, residual: bool) -> DnCNN:
    with torch.device("meta"):
        net = DnCNN(len(layers[0][0]), len(layers), norm=False, residual=residual)
    weights = {
        f"convs.{k}.{leaf}": t
        for k, pair in enumerate(layers)
        for leaf, t in zip(("weight", "bias"), pair, strict=True)
    }
    net.load_state_dict(weights, assign=True)
    return net
