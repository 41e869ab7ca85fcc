"""The data and networks the scripts read, from one folder: `cifar10/`, `weights/`, `photos/`."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from api_smoothing import images
from api_smoothing.convnet import CLASSES
from api_smoothing.errors import ConfigurationError
from api_smoothing.purification import load_classifier
from api_smoothing.training.data import decoded, load_images
from api_smoothing.training.held_out import IMAGENETTE, HeldOut

PHOTOGRAPHS = "imagenette_ilsvrcval500"
PER_SHEET = 500  # images one below the other: a WebP is at most 16,383 pixels high

#: Pixels (H,W,3) uint8 and the name of the true class.
Pair = tuple[np.ndarray, str]


@functools.cache
def cifar10(data: Path, count: int) -> list[Pair]:
    """The first `count` test images, which are for reporting, with their classes. Raises ConfigurationError."""
    test = load_images(data / "cifar10", "test")
    if test.labels is None or not len(test):
        raise ConfigurationError(
            f"{data / 'cifar10'} holds no labelled test images; give the folder that does"
        )
    return [(x, CLASSES[k]) for x, k in zip(test.images[:count].numpy(), test.labels.tolist(), strict=False)]


def reported(data: Path, count: int) -> HeldOut:
    """The same images as `measure` takes them."""
    test = load_images(data / "cifar10", "test")
    if test.labels is None:
        raise ConfigurationError(
            f"{data / 'cifar10'} holds no labelled test images; give the folder that does"
        )
    return HeldOut(
        name=test.name, images=test.images[:count], labels=test.labels[:count], questions={"": None}
    )


@functools.cache
def classifier(data: Path, name: str) -> nn.Module:
    """The network DATA/weights/NAME, images (N,3,H,W) in [0,1] → scores. Raises WeightsError."""
    return load_classifier(str(data / "weights" / name), "cpu")


@functools.cache
def photographs(data: Path, count: int) -> list[tuple[np.ndarray, int]]:
    """The first `count` validation photographs (224,224,3) uint8, which are for reporting, with ImageNet's numbers."""
    file = data / "photos" / f"{PHOTOGRAPHS}.npz"
    if not file.is_file():
        raise ConfigurationError(f"no {file}; give the folder with the validation photographs")
    with np.load(file, allow_pickle=False) as found:
        pixels, offsets, labels = found["data"], found["offsets"], found["labels"]
    count = min(count, len(labels))
    return [(decoded(pixels[offsets[k] : offsets[k + 1]].tobytes()), int(labels[k])) for k in range(count)]


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """`pixels` as every measurement here brings them to side×side: uint8 (side, side, 3)."""
    loaded = images.load(pixels, size=side)
    return np.rint(loaded.grid / loaded.sub).astype(np.uint8)


def training_images(data: Path, count: int, out: Path) -> Path:
    """A folder `out` with the first `count` of CIFAR-10's training images, as `load_images` reads them."""
    if not (out / "labels.npz").is_file():
        found = load_images(data / "cifar10", "train").pick(torch.arange(count))
        assert found.labels is not None
        out.mkdir(parents=True, exist_ok=True)
        for number, tiles in enumerate(found.images.split(PER_SHEET)):
            column = Image.fromarray(tiles.reshape(-1, 32, 3).numpy())
            column.save(out / f"train_{number:03}.webp", lossless=True, exact=True)
        np.savez(out / "labels.npz", train=found.labels.numpy())  # last: with it the folder is whole
    return out


class PhotographicMobileNet(nn.Module):
    """MobileNetV2 of DATA/weights, whose kernels are stored mirrored; scores of Imagenette's ten classes alone."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        from torchvision import models

        file = next((data / "weights").glob("mobilenet_v2*.pth"), None)
        if file is None:
            raise ConfigurationError(
                f"no mobilenet_v2*.pth in {data / 'weights'}; give the folder with the networks"
            )
        state = torch.load(file, map_location="cpu", weights_only=True)
        self.net = models.mobilenet_v2(weights=None)
        self.net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N,10) of x (N,3,H,W) in [0,1], H and W even."""
        scores: torch.Tensor = self.net((2 * x - 1).flip(2, 3))[:, list(IMAGENETTE)]
        return scores


class TenWay(nn.Module):
    """A classifier of ImageNet's thousand classes, asked about Imagenette's ten."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N,10) of x (N,3,H,W)."""
        scores: torch.Tensor = self.net(x)[:, list(IMAGENETTE)]
        return scores


@functools.cache
def photographic(data: Path, name: str) -> nn.Module:
    """A classifier of DATA/weights that knows ImageNet's classes, asked about Imagenette's ten: scores (N,10)."""
    return PhotographicMobileNet(data) if name == "mobilenet_v2" else TenWay(classifier(data, name))
