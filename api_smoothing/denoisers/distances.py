"""How far two images are apart, as guidance needs it: one number a row, with a gradient.

Both distances grow with the number of values d of an image, so that a guidance scale means the same at every
size: d·MSE, the squared ℓ2 distance, and d·(1 − SSIM).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from api_smoothing.errors import ConfigurationError

Distance = Callable[[Tensor, Tensor], Tensor]

_WINDOW, _SPREAD = 11, 1.5  # pixels (Wang et al. 2004, section III-C)
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0,1]


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² (N,) of images (N,3,H,W): d times their mean squared error."""
    return (a - b).square().flatten(1).sum(1)


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """d·(1 − SSIM(a, b)) (N,) of images (N,3,H,W) with values of range 1."""
    return a[0].numel() * (1 - ssim(a, b))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (N,) of images (N,C,H,W), sides from 11 on (Wang et al. 2004, equation 13).

    Gaussian window of 11 pixels and standard deviation 1.5, population variances, mean over the windows that
    lie within the image and over channels, range of values 1.
    Raises ConfigurationError for smaller images.
    """
    if min(a.shape[2:]) < _WINDOW:
        raise ConfigurationError(f"SSIM needs sides of at least {_WINDOW} pixels; use distance mse")
    offsets = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    line = (-offsets.square() / (2 * _SPREAD**2)).exp()
    line = line / line.sum()
    n, channels = a.shape[:2]
    stack = torch.cat((a, b, a * a, b * b, a * b), 1)
    rows = F.conv2d(stack, line.view(1, 1, 1, -1).repeat(5 * channels, 1, 1, 1), groups=5 * channels)
    means = F.conv2d(rows, line.view(1, 1, -1, 1).repeat(5 * channels, 1, 1, 1), groups=5 * channels)
    mean_a, mean_b, aa, bb, ab = means.view(n, 5, channels, *means.shape[2:]).unbind(1)
    variances, covariance = aa - mean_a**2 + bb - mean_b**2, ab - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    bottom = (mean_a**2 + mean_b**2 + _C1) * (variances + _C2)
    return (top / bottom).flatten(1).mean(1)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(reference) ‖ softmax(logits)) in nats, (N,) from (N, classes)."""
    expected = reference.log_softmax(1)
    return (expected.exp() * (expected - logits.log_softmax(1))).sum(1)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of two images with values in [0,1], in dB; infinite when they are equal."""
    error = float((a.double() - b.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


DISTANCES: dict[str, Distance] = {"mse": squared_error, "ssim": dissimilarity}


def distance(name: str) -> Distance:
    """The image distance of that name. Raises ConfigurationError."""
    if name not in DISTANCES:
        raise ConfigurationError(f"distance {name!r} is unknown; choose {' or '.join(DISTANCES)}")
    return DISTANCES[name]
