"""Training on photographs: crops, classifiers as surrogates at 224 pixels, and the objectives that ask them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_files import archive, photographs, pictures

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.denoiser import training_images
from api_smoothing.training.loop import generator
from api_smoothing.training.photographs import Photographs, load_photographs


def windows(image: np.ndarray, side: int) -> set[bytes]:
    """Every side×side window of the image, and its mirror."""
    h, w, _ = image.shape
    found = set()
    for i in range(h - side + 1):
        for j in range(w - side + 1):
            window = image[i : i + side, j : j + side]
            found |= {window.tobytes(), window[:, ::-1].tobytes()}
    return found


def test_a_crop_is_a_window_of_its_photograph(tmp_path: Path) -> None:
    """Each crop is some window, mirrored or not; a step's generator fixes which, and steps differ."""
    images = pictures()
    archive(tmp_path / "some.npz", images)
    data = load_photographs(tmp_path, side=32, archives=["some"])
    assert len(data) == 3
    rows = torch.tensor([2, 0, 1, 2])
    first, again, other = (data.augmented(rows, generator(0, 2, k)) for k in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for row, crop in zip(rows.tolist(), first, strict=True):
        pixels = (crop * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert pixels.tobytes() in windows(images[row], 32)


def test_every_window_can_be_drawn(tmp_path: Path) -> None:
    """Over many draws a photograph one pixel larger gives all four windows, and their mirrors."""
    Image.fromarray(pictures(1, 33)[0][:, :33]).save(tmp_path / "a.png")
    data = load_photographs(tmp_path, side=32)
    crops = data.augmented(torch.zeros(200, dtype=torch.int64), generator(1))
    assert len({crop.numpy().tobytes() for crop in crops}) == 8


def test_photographs_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """No folder, no archive of that name, or none large enough is a ConfigurationError."""
    Image.fromarray(pictures(1, 20)[0]).save(tmp_path / "small.png")
    for folder, archives in ((tmp_path / "none", []), (tmp_path, ["missing"]), (tmp_path, [])):
        with pytest.raises(ConfigurationError):
            load_photographs(folder, side=32, archives=archives)


def test_photographs_are_as_large_as_the_largest_crop(tmp_path: Path) -> None:
    """One that a later phase could not crop is left out from the start."""
    photographs(tmp_path, 20, 40, 64)
    plan = {"data": {"side": 16}, "phase": [{"side": 48}, {}]}
    found = training_images(plan, tmp_path)
    assert isinstance(found, Photographs)
    assert [len(image) for image in found.images] == [64]
    assert found.side == 16
    with pytest.raises(ConfigurationError, match="100×100"):
        training_images({"data": {"side": 16}, "phase": [{"side": 100}]}, tmp_path)
