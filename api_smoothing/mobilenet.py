"""MobileNetV1 (Howard et al. 2017) with its normalisations folded in: a surrogate for training, a sandbox's eyes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class MobileNetV1(nn.Module):
    """x (N,3,H,W) in [0,1] → logits (N, classes). An even side is padded as TensorFlow's "SAME" does: more at the end.

    `weights` are the kernels (out,in/groups,k,k) and biases in order, the classifier's last; `strides` one each.
    """

    def __init__(self, weights: list[tuple[Tensor, Tensor]], strides: list[int], side: int) -> None:
        super().__init__()
        self.strides, self.side = strides, side
        layers = []
        for (kernel, bias), stride in zip(weights, strides, strict=True):
            outside, inside, size, _ = kernel.shape
            groups = outside if inside == 1 else 1
            layer = nn.Conv2d(inside * groups, outside, size, stride, groups=groups)
            layer.weight.data, layer.bias.data = kernel, bias  # type: ignore[union-attr]
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.kernels = [kernel.shape[-1] for kernel, _ in weights]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.side:
            size = (self.side, self.side)
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        x = 2 * x - 1
        for layer, stride, k in zip(self.layers[:-1], self.strides, self.kernels, strict=False):
            missing = max((-(-x.shape[-1] // stride) - 1) * stride + k - x.shape[-1], 0)
            x = F.relu6(layer(F.pad(x, (missing // 2, missing - missing // 2) * 2)))
        logits: Tensor = self.layers[-1](x.mean((2, 3), keepdim=True)).flatten(1)
        return logits
