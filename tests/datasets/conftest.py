"""Pictures in the forms in which people have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """Six 32×32 images."""
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def fill(tmp_path: Path, pictures: NDArray[np.uint8]) -> Callable[..., Path]:
    """Writes files below a folder: pictures where the name ends in .png, else a byte; returns the folder."""

    def write(*names: str, folder: Path = tmp_path / "set") -> Path:
        for number, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".png" and not path.name.startswith("."):
                Image.fromarray(pictures[number % len(pictures)]).save(path)
            else:
                path.write_bytes(b"x")
        return folder

    return write


@pytest.fixture
def cifar_file(tmp_path: Path, pictures: NDArray[np.uint8]) -> Callable[..., Path]:
    """Writes the pictures as a file of CIFAR-10's binary version, with labels 0 to 5."""

    def write(name: str = "test_batch.bin", **change: Any) -> Path:
        rows = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)
        labels = np.arange(len(pictures), dtype=np.uint8)[:, None]
        data = np.hstack([labels, rows])
        data[change.get("row", 0), 0] = change.get("label", 0)
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.tobytes()[: change.get("size")])
        return path

    return write
