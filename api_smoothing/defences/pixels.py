"""Defences without a network: none at all, JPEG, and fewer bits."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from api_smoothing.defences.base import Cost, on_8_bits
from api_smoothing.errors import ConfigurationError

_FREE: Final = Cost()


@dataclass(frozen=True, slots=True)
class Nothing:
    """The images as they are: what the others are held against."""

    name: str = "none"
    random: bool = False
    cost: Cost = _FREE

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """`images`, in 8 bits."""
        return on_8_bits(images)

    def differentiable(self) -> nn.Module:
        """The identity."""
        return nn.Identity()


@dataclass(frozen=True, slots=True)
class Jpeg:
    """JPEG and back at `quality`, with colour at half the resolution (Dziugaite et al. 2016; Guo et al. 2018)."""

    quality: int = 75
    random: bool = False
    cost: Cost = _FREE

    def __post_init__(self) -> None:
        """Check the quality."""
        _check("the quality of jpeg", self.quality, 1, 100)

    @property
    def name(self) -> str:
        """As "jpeg-75"."""
        return f"jpeg-{self.quality}"

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """Each through the encoder and the decoder of libjpeg, whose last bit may differ from version to version."""
        levels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
        done = np.stack([self._through(one) for one in levels]) if len(levels) else levels
        return torch.from_numpy(done).permute(0, 3, 1, 2).to(images) / 255

    def _through(self, pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality, subsampling=2)
        return np.asarray(Image.open(file).convert("RGB"))


@dataclass(frozen=True, slots=True)
class Bits:
    """Values rounded to 2^`bits` levels (Xu, Evans and Qi 2018, section III-A, who take 5 for CIFAR-10)."""

    bits: int = 5
    random: bool = False
    cost: Cost = _FREE

    def __post_init__(self) -> None:
        """Check the number."""
        _check("bits", self.bits, 1, 8)

    @property
    def name(self) -> str:
        """As "bits-5"."""
        return f"bits-{self.bits}"

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """Each value at the nearest of the levels, which lie evenly from 0 to 1; those in 8 bits."""
        steps = 2**self.bits - 1
        return on_8_bits((images.clamp(0, 1) * steps).round() / steps)


def _check(what: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{what} must be a whole number from {low} to {high}, not {value!r}")
