"""Training files that tests write: tiny data and cut-down recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from api_smoothing.training.recipe import RECIPES

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
