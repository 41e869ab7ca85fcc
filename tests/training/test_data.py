"""The images to train on, in every form they come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_files import photographs, write_binary

from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.training.data import load_images, split_off
from api_smoothing.training.photographs import load_photographs


def test_binary_batches_come_back_as_written(tmp_path: Path) -> None:
    """The binary distribution gives each image and label in file order."""
    images = write_binary(tmp_path, 30)
    data = load_images(tmp_path)
    assert np.array_equal(data.images.numpy(), images)
    assert data.labels is not None
    assert data.labels.tolist() == [k % 10 for k in range(30)]
    floats = data.floats(slice(2, 4))
    assert torch.equal((floats * 255).round().to(torch.uint8), data.images[2:4].permute(0, 3, 1, 2))


def test_sheets_come_back_as_written(tmp_path: Path) -> None:
    """Tiles of a lossless sheet are read row by row."""
    tiles = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    sheet = tiles.reshape(2, 3, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 96, 3)
    Image.fromarray(sheet).save(tmp_path / "train_00.webp", lossless=True)
    np.savez(tmp_path / "labels.npz", train=np.arange(6, dtype=np.uint8))
    data = load_images(tmp_path)
    assert np.array_equal(data.images.numpy(), tiles)


def test_any_folder_of_pictures_is_cropped(tmp_path: Path) -> None:
    """A folder of pictures gives one crop each, repeatable, and skips those that are too small."""
    for k, side in enumerate((40, 32, 20)):
        Image.fromarray(np.full((side, side + 5, 3), 50 * k, np.uint8)).save(tmp_path / f"{k}.png")
    data = load_images(tmp_path)
    assert data.labels is None
    assert data.images.shape == (2, 32, 32, 3)
    assert torch.equal(data.images, load_images(tmp_path).images)


@pytest.mark.parametrize("content", [None, b"\x00" * 5000])
def test_unusable_folders_are_named(tmp_path: Path, content: bytes | None) -> None:
    """A folder without images, or with a cut-off batch, is a ConfigurationError."""
    if content is not None:
        (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_images(tmp_path)


def test_sheets_below_are_not_taken_for_photographs(tmp_path: Path) -> None:
    """A folder above the one with CIFAR-10's sheets is refused, and the message names that one."""
    inner = tmp_path / "cifar10"
    inner.mkdir()
    Image.new("RGB", (64, 64)).save(inner / "train_00.webp", lossless=True)
    np.savez(inner / "labels.npz", train=np.zeros(4, np.uint8))
    assert len(load_images(inner)) == 4
    with pytest.raises(ConfigurationError, match="cifar10"):
        load_images(tmp_path)


def test_the_split_is_fixed_and_disjoint(tmp_path: Path) -> None:
    """The held-out images depend on the seed alone and share none with the rest."""
    write_binary(tmp_path, 40)
    data = load_images(tmp_path)
    rest, held = split_off(data, 10, seed=4)
    again = split_off(data, 10, seed=4)[1]
    assert torch.equal(held.images, again.images)
    seen = {bytes(image.numpy().tobytes()) for image in rest.images}
    assert len(rest) == 30
    assert not any(bytes(image.numpy().tobytes()) in seen for image in held.images)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    """In a folder by its file, in an archive by its number; for crops of 32 pixels as for photographs."""
    photographs(tmp_path, 64)
    whole = (tmp_path / "64.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    for load in (lambda: load_photographs(tmp_path, side=32), lambda: load_images(tmp_path)):
        with pytest.raises(ImageError, match=r"broken\.png cannot be read"):
            load()
    both = [whole, whole[: len(whole) // 2]]
    offsets = np.cumsum([0, *map(len, both)])
    np.savez(tmp_path / "some.npz", data=np.frombuffer(b"".join(both), np.uint8), offsets=offsets)
    with pytest.raises(ImageError, match=r"picture 1 of .*some\.npz"):
        load_photographs(tmp_path, side=32, archives=["some"])


def test_own_pictures_are_read_as_everywhere_else(tmp_path: Path) -> None:
    """Turned as EXIF says, on white where they are clear, 16 bits rounded, in any format; hidden files are nothing."""
    ramp = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(ramp * 64).save(tmp_path / "a16.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "bclear.png")
    turned = np.zeros((32, 40, 3), np.uint8)
    turned[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(turned[:, :32]).save(tmp_path / "c.tiff", exif=exif)
    (tmp_path / "._a16.png").write_bytes(b"leavings")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a16.png").write_bytes(b"leavings")
    sixteen, clear, upside = load_images(tmp_path).images.numpy()
    assert np.array_equal(sixteen[:, :, 0], np.rint(ramp * 64 / 257).astype(np.uint8))
    assert (clear == 255).all()
    assert (upside[-1] == 255).all()
    assert (upside[0] == 0).all()
