"""Packs: what goes in comes out, small and the same each time; what was not written by us is refused."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_files import archive, pictures, tiny_recipe, write_binary

from api_smoothing import denoisers
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import load_images
from api_smoothing.training.held_out import held_out
from api_smoothing.training.pack import HEADER, read_set
from api_smoothing.training.packing import write_pack
from api_smoothing.training.photographs import load_photographs


def _smooth(folder: Path, count: int, *, split: str = "data") -> np.ndarray:
    """A CIFAR-10 batch of gradients, which packs well."""
    draw = np.random.default_rng(5)
    ramp = np.linspace(0, 1, 32)
    ends = draw.integers(0, 128, (count, 2, 1, 1, 3))
    images = (ends[:, 0] * ramp[:, None, None] + ends[:, 1] * ramp[None, :, None]).astype(np.uint8)
    rows = np.zeros((count, 3073), np.uint8)
    rows[:, 0] = np.arange(count) % 10
    rows[:, 1:] = images.transpose(0, 3, 1, 2).reshape(count, -1)
    rows.tofile(folder / (f"{split}_batch_1.bin" if split == "data" else f"{split}_batch.bin"))
    return images


def test_cifar_comes_back_close_and_its_test_images_exactly(tmp_path: Path) -> None:
    """Labels, order and count stay, over more than one sheet; the same again is the same file."""
    images = _smooth(tmp_path, 1100)
    test = _smooth(tmp_path, 600, split="test")
    made = write_pack(tmp_path, tmp_path / "one.safetensors")
    write_pack(tmp_path, tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert made.bytes == (tmp_path / "one.safetensors").stat().st_size < 20e6
    found = load_images(made.file)
    assert found.labels is not None
    assert found.labels.tolist() == [k % 10 for k in range(1100)]
    error = np.square(found.images.numpy().astype(float) - images).mean()
    assert 10 * np.log10(255**2 / error) == pytest.approx(made.psnr, abs=0.01)
    assert made.psnr > 40
    assert np.array_equal(load_images(made.file, "test").images.numpy(), test)
    chosen = held_out(made.file)
    assert chosen is not None
    assert len(chosen) == 100
    with pytest.raises(ConfigurationError, match="no photograph of 64×64"):
        load_photographs(made.file, side=64)


def test_photographs_are_packed_as_squares(tmp_path: Path) -> None:
    """Scaled to the side, small ones left out; crops of 32 pixels are taken of them too."""
    for k, size in enumerate(((200, 100), (64, 64), (50, 300))):
        Image.new("RGB", size, (50 * k, 90, 200)).save(tmp_path / f"{k}.png")
    made = write_pack(tmp_path, tmp_path / "out" / "p.safetensors", side=64)
    found = load_photographs(made.file, side=48)
    assert [tuple(image.shape) for image in found.images] == [(64, 64, 3)] * 2
    assert abs(int(found.images[1][5, 5, 0]) - 50) < 3
    assert load_images(made.file).images.shape == (2, 32, 32, 3)
    with pytest.raises(ConfigurationError, match="holds no test images; it has train"):
        load_images(made.file, "test")


def test_a_recipes_archives_must_be_those_of_the_pack(tmp_path: Path) -> None:
    """A recipe that names its photographs is not trained on others."""
    archive(tmp_path / "some.npz", pictures(3, 40))
    made = write_pack(tmp_path, tmp_path / "p.safetensors", side=40, archives=["some"])
    assert len(load_photographs(made.file, side=32, archives=["some"])) == 3
    with pytest.raises(ConfigurationError, match="holds some photographs, and the recipe trains on other"):
        load_photographs(made.file, side=32, archives=["other"])


def test_the_quality_gives_way_to_the_size(tmp_path: Path) -> None:
    """The best that fits is taken; where nothing fits, it is said."""
    write_binary(tmp_path, 300)
    large, small = (write_pack(tmp_path, tmp_path / f"{m}.safetensors", megabytes=m).psnr for m in (0.9, 0.5))
    assert large > small + 3
    assert (tmp_path / "0.5.safetensors").stat().st_size < 0.5e6
    with pytest.raises(ConfigurationError, match="do not fit"):
        write_pack(tmp_path, tmp_path / "none.safetensors", megabytes=0.11)
    for words, match in (({"side": 4}, "from 8 to 1024"), ({}, r"a pack is a \.safetensors")):
        with pytest.raises(ConfigurationError, match=match):
            write_pack(tmp_path, tmp_path / ("x.safetensors" if words else "x.npz"), **words)  # type: ignore[arg-type]


def _head(**changes: Any) -> Any:
    def edit(head: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        head["sets"]["train"] |= changes

    return edit


def _bomb(side: int) -> Any:
    """A picture of many megapixels in a few bytes, under a right digest."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return lambda head, tensors: _of_one(buffer.getvalue(), head, tensors)


def _of_one(data: bytes, head: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["data"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    tensors["offsets"] = torch.tensor([0, len(data)])
    head["sha256"] = hashlib.sha256(data).hexdigest()
    head["sets"]["train"]["files"] = [0, 1]


def _changed(head: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["data"][5] ^= 1


@pytest.mark.parametrize(
    "harm",
    [
        _changed,
        _bomb(2_000),
        _bomb(12_000),
        _bomb(20_000),
        _head(side=10**9),
        _head(side=-1),
        _head(count=10**9),
        _head(count=2000),
        _head(count=3),
        _head(files=[0, 9]),
        _head(files=None),
        lambda head, tensors: head.update(schema="other/1"),
        lambda head, tensors: tensors.pop("offsets"),
        lambda head, tensors: tensors.update({"labels.train": torch.zeros(3, dtype=torch.uint8)}),
    ],
)
def test_what_is_no_whole_pack_is_refused_before_it_is_decoded(tmp_path: Path, harm: Any) -> None:
    """Changed bytes, pictures larger than is said, numbers nobody can hold: one line."""
    _smooth(tmp_path, 40)
    file = write_pack(tmp_path, tmp_path / "p.safetensors").file
    with safe_open(file, framework="pt") as source:
        head = json.loads(source.metadata()[HEADER])
    tensors = load_file(file)
    harm(head, tensors)
    save_file(tensors, file, metadata={HEADER: json.dumps(head)})
    with pytest.raises(ConfigurationError, match=r"is no whole pack") as told:
        read_set(file, "train")
    assert "\n" not in str(told.value)


def test_any_other_file_is_no_pack(tmp_path: Path) -> None:
    """Neither weights nor a picture nor nothing."""
    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    Image.new("RGB", (40, 40)).save(tmp_path / "cat.png")
    for name in ("weights.safetensors", "empty.safetensors", "cat.png"):
        with pytest.raises(ConfigurationError, match="no whole pack"):
            load_images(tmp_path / name)


def test_from_a_folder_to_a_denoiser_by_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train pack`, then `train denoiser` on the pack for some minutes: weights, and what they reached."""
    _smooth(tmp_path, 64)
    _smooth(tmp_path, 540, split="test")
    assert main(["train", "pack", str(tmp_path), "--out", str(tmp_path / "p.safetensors")]) == 0
    assert "64 images of 32×32 pixels" in capsys.readouterr().out
    recipe = tiny_recipe("dncnn-cifar10-mse", tmp_path, channels=8, depth=3, steps=100_000, batch=8)
    line = f"train denoiser --recipe {recipe} --data {tmp_path / 'p.safetensors'} --out {tmp_path / 'out'}"
    assert main([*line.split(), "--minutes", "0.05", "--device", "cpu", "--draws", "device"]) == 0
    out, told = capsys.readouterr()
    assert out.strip() == str(tmp_path / "out" / "dncnn-cifar10-mse.safetensors")
    assert "σ = 0.25  psnr" in told
    assert "mse (1 of 3)  step " in told
    assert " left  checkpoint at " in told
    card = denoisers.load(out.strip()).card
    assert card.training["draws"] == "cpu"  # on the CPU the device's stream is the same
    assert card.training["minutes"] == 0.05
    assert card.quality["0.25"]["psnr"] > 5
