"""The images a card's figures are measured on, none of which is reported on or trained on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_files import photographs, tiny_recipe, write_cifar

from api_smoothing.denoisers.unet import UNet
from api_smoothing.errors import ConfigurationError
from api_smoothing.training import train_denoiser
from api_smoothing.training.data import centre
from api_smoothing.training.denoiser import hold_out
from api_smoothing.training.held_out import PHOTOGRAPHS, held_out
from api_smoothing.training.measure import quality
from api_smoothing.training.photographs import Photographs, load_photographs
from api_smoothing.training.recipe import read_recipe


def write_photographs(folder: Path, encode: Callable[[int], bytes], count: int = 253) -> None:
    """The archive of validation photographs, of `encode(row)` each."""
    files = [encode(row) for row in range(count)]
    np.savez(
        folder / f"{PHOTOGRAPHS}.npz",
        data=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.arange(count, dtype=np.int16),
    )


def test_test_images_for_reporting_are_not_looked_at(tmp_path: Path) -> None:
    """Whatever CIFAR-10's test images 0 to 499 are, the card's figures are the same."""
    net = UNet((16, 16), (1, 1))
    tables = []
    for value in (0, 255):
        write_cifar(tmp_path, value)
        found = held_out(tmp_path)
        assert found is not None
        assert len(found) == 20
        assert set(found.labels.tolist()) == {1}
        assert int(found.images.min()) == 200
        tables.append(quality(net, tmp_path, [], levels=[0.25]))
    assert tables[0] == tables[1]
    assert {"psnr", "accuracy_cifar10"} <= set(tables[0]["0.25"])


def test_photographs_for_reporting_are_not_even_decoded(tmp_path: Path) -> None:
    """Photographs 0 to 249 may be rubbish; 250 on are the ones, with their labels, and have no judge in training."""

    def encode(row: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(np.full((64, 64, 3), row, np.uint8)).save(out, "png")
        return b"rubbish" if row < 250 else out.getvalue()

    write_photographs(tmp_path, encode)
    found = held_out(tmp_path)
    assert found is not None
    assert found.side == 64
    assert found.images[:, 0, 0, 0].tolist() == found.labels.tolist() == [250, 251, 252]
    assert set(quality(UNet((16, 16), (1, 1)), tmp_path, [], levels=[0.5])["0.5"]) == {"psnr"}


def test_pictures_that_are_trained_on_are_not_measured(tmp_path: Path) -> None:
    """Loose pictures, an empty folder and a broken archive are no held-out images: the card has no quality."""
    net = UNet((16, 16), (1, 1))
    assert quality(net, tmp_path, []) == {}
    for k in range(3):
        Image.fromarray(np.full((32, 32, 3), k, np.uint8)).save(tmp_path / f"{k}.png")
    assert quality(net, tmp_path, []) == {}
    np.savez(tmp_path / f"{PHOTOGRAPHS}.npz", data=np.zeros(3, np.uint8))
    assert quality(net, tmp_path, []) == {}


def test_own_pictures_that_are_kept_apart_fill_the_card(tmp_path: Path) -> None:
    """With a `holdout` in its data, a recipe is measured on pictures it never trains on, always the same ones."""
    photographs(tmp_path, *range(40, 52))
    file = tiny_recipe("unet-photographs", tmp_path, side=32, holdout=3, steps=2, batch=4)
    weights = train_denoiser(file, tmp_path, tmp_path / "out")
    card = json.loads(weights.with_suffix(".json").read_text())
    assert sorted(card["quality"]) == ["0.12", "0.25", "0.5", "1"]
    assert card["quality"]["0.25"]["psnr"] > 5
    plan = read_recipe(file, "denoiser")
    images = load_photographs(tmp_path, side=32)
    rest, held = hold_out(plan, images, 8)
    again = hold_out(plan, images, 8)[1]
    assert held is not None
    assert again is not None
    assert held.images.shape == (3, 32, 32, 3)
    assert torch.equal(held.images, again.images)
    assert isinstance(rest, Photographs)
    left = [image for image in images.images if len(image) not in {len(other) for other in rest.images}]
    assert {bytes(centre(image, 32).numpy().tobytes()) for image in left} == {
        bytes(image.numpy().tobytes()) for image in held.images
    }
    assert len(rest) == 9
    plan["data"]["holdout"] = 12
    with pytest.raises(ConfigurationError, match="leave some to train on"):
        hold_out(plan, images, 8)
