"""Training files that tests write: tiny data and cut-down recipes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from api_smoothing.training.recipe import RECIPES
from api_smoothing.training.surrogates import CifarResNet

#: Changes to a bundled denoiser's recipe that make it train in a moment, against one ResNet-20.
TINY: dict[str, Any] = {
    "channels": [16, 16],
    "blocks": [1, 1],
    "steps": 2,
    "batch": 8,
    "surrogates": ["resnet20"],
    "turn": ["resnet20"],
}


def write_binary(folder: Path, count: int, *, split: str = "data") -> np.ndarray:
    """A CIFAR-10 binary batch of coloured noise; returns its images (count,32,32,3)."""
    draw = np.random.default_rng(3)
    images = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8)[:, None] % 10
    rows = np.concatenate((labels, images.transpose(0, 3, 1, 2).reshape(count, -1)), 1)
    rows.tofile(folder / (f"{split}_batch_1.bin" if split == "data" else f"{split}_batch.bin"))
    return images


def tiny_recipe(name: str, folder: Path, **changes: Any) -> Path:
    """The bundled recipe `name` with lines `key = …` replaced."""
    lines = []
    for line in (RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        key = line.split("=")[0].strip()
        lines.append(f"{key} = {json.dumps(changes[key])}" if key in changes else line)
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def write_cifar(folder: Path, first: int) -> None:
    """CIFAR-10's binary test batch: 500 images of value `first` with label 0, then 20 of value 200 with label 1."""
    rows = np.full((520, 3073), first, np.uint8)
    rows[500:] = 200
    rows[:, 0] = np.arange(520) >= 500
    rows.tofile(folder / "test_batch.bin")


def recipe(folder: Path, *edits: tuple[str, str], **changes: Any) -> Path:
    """A tiny unet-cifar10, with each (old, new) of `edits` made in its text, everywhere."""
    file = tiny_recipe("unet-cifar10", folder, **TINY | changes)
    text = file.read_text()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return file


def surrogate(folder: Path, seed: int) -> None:
    """A ResNet-20 that was never trained, as `resnet20-x.th`."""
    torch.manual_seed(seed)
    torch.save(CifarResNet(3).state_dict(), folder / "resnet20-x.th")


def photographs(folder: Path, *sides: int) -> None:
    draw = np.random.default_rng(1)
    for side in sides:
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{side}.png")


def pictures(count: int = 3, side: int = 40) -> list[np.ndarray]:
    """Images (side, side+9, 3) of coloured noise."""
    draw = np.random.default_rng(7)
    return [draw.integers(0, 256, (side, side + 9, 3), dtype=np.uint8) for _ in range(count)]


def archive(file: Path, images: list[np.ndarray]) -> None:
    """`images` as PNG files one after the other, with their offsets."""
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(file, data=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)


def mobilenet(side: int, *, classes: int = 4) -> dict[str, np.ndarray]:
    """Arrays of a network with one strided depthwise kernel that picks the middle pixel, then the classifier."""
    middle = np.zeros((3, 1, 3, 3), np.float16)
    middle[:, 0, 1, 1] = 1
    head = np.arange(classes * 3, dtype=np.float16).reshape(classes, 3, 1, 1)
    return {
        "w00": middle,
        "b00": np.full(3, 0.5, np.float16),
        "w01": head,
        "b01": np.zeros(classes, np.float16),
        "strides": np.array([2, 1]),
        "resolution": np.array(side),
    }
