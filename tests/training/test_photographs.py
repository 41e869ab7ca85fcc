"""Training on photographs: crops, classifiers as surrogates at 224 pixels, and the objectives that ask them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from training_files import TINY, tiny_recipe, write_binary

from api_smoothing import denoisers
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_denoiser
from api_smoothing.training.data import ImageSet
from api_smoothing.training.loop import Order, generator
from api_smoothing.training.losses import (
    Shown,
    fixed_targets,
    own_targets,
    surrogate_loss,
    told_targets,
    true_targets,
)
from api_smoothing.training.mobilenet import MobileNetV1, read
from api_smoothing.training.photographs import load_photographs
from api_smoothing.training.surrogates import CifarResNet, load_surrogate


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


def test_an_even_side_is_padded_at_its_end_only(tmp_path: Path) -> None:
    """At stride 2 TensorFlow's windows of an even side are centred on the odd pixels, of an odd side on the even."""
    for side, begin in ((4, 1), (5, 0)):
        file = tmp_path / "net.npz"
        np.savez(file, **mobilenet(side))
        net = read(file)
        x = torch.rand(2, 3, side, side)
        features = (2 * x - 1)[:, :, begin::2, begin::2].add(0.5).clamp(0, 6).mean((2, 3))
        expected = features @ torch.arange(12.0).view(4, 3).T
        torch.testing.assert_close(net(x), expected)


def test_a_mobilenet_is_found_as_a_surrogate(tmp_path: Path) -> None:
    """`<name>.npz` in a surrogate folder is loaded frozen; arrays of something else are a WeightsError."""
    np.savez(tmp_path / "little.npz", **mobilenet(8))
    net = load_surrogate("little", [tmp_path])
    assert isinstance(net, MobileNetV1)
    assert not any(p.requires_grad for p in net.parameters())
    assert net(torch.rand(1, 3, 16, 16)).shape == (1, 4)
    np.savez(tmp_path / "other.npz", nothing=np.zeros(3))
    with pytest.raises(WeightsError, match="holds no MobileNetV1"):
        load_surrogate("other", [tmp_path])


class Brightest(nn.Module):
    """Logits: the mean of each colour, times a scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.scale


class Pass(nn.Module):
    """A denoiser to be: x plus a learnt colour."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.colour[:, None, None]


def phase(**changes: Any) -> dict[str, Any]:
    """Settings of a phase against two surrogates."""
    settings: dict[str, Any] = {
        "objective": "classification",
        "batch": 4,
        "mse_weight": 0.0,
        "jitter": 0,
        "groups": 2,
        "surrogates": ["a", "b"],
        "turn": ["a", "b"],
        "sigma": {"low": 0.1, "high": 0.1},
    }
    return settings | changes


def test_the_target_is_the_true_label_or_the_surrogates_own() -> None:
    """Classification asks for the data's labels, stability for what the surrogate says of the clean image."""
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    images[..., 1] = 200  # green
    data = ImageSet(images=images, labels=torch.full((4,), 2), name="green")
    nets, net = [Brightest(5.0), Brightest(50.0)], Pass()
    order, rows = Order(4, 4, seed=0), torch.arange(4)
    clean = data.floats(rows)
    shown = Shown(rows=rows, clean=clean)
    assert own_targets(nets)(1, shown).tolist() == [1] * 4
    assert true_targets(data, 2)(1, shown).tolist() == [2] * 4
    assert fixed_targets(torch.tensor([[0] * 4, [1] * 4]))(0, shown).tolist() == [0] * 4
    with pytest.raises(ConfigurationError, match="for a recogniser"):
        told_targets(0, shown)
    for targets, wanted in ((own_targets(nets), 1), (true_targets(data, 2), 2)):
        net.colour.grad = None
        value, figures = surrogate_loss(net, data, order, phase(), nets, targets)(0, generator(0))
        value.backward()  # type: ignore[no-untyped-call]
        assert net.colour.grad is not None
        assert int(net.colour.grad.argmin()) == wanted  # a step against the gradient raises that colour most
        assert figures["kept"] == (1.0 if wanted == 1 else 0.0)
    unlabelled = ImageSet(images=images, labels=None, name="green")
    with pytest.raises(ConfigurationError, match="no labels"):
        true_targets(unlabelled, 2)


def test_a_recipe_with_a_side_trains_on_photographs(tmp_path: Path) -> None:
    """The natural recipe's phases run on an archive, and the weights serve any side that fits the network."""
    archive(tmp_path / "some.npz", pictures(4, 64))
    np.savez(tmp_path / "little.npz", **mobilenet(32))
    recipe = tiny_recipe(
        "unet-natural",
        tmp_path,
        archives=["some"],
        surrogates=["little"],
        turn=["little"],
        channels=[16, 16],
        blocks=[1, 1],
        side=32,
        steps=2,
        batch=4,
    )
    file = train_denoiser(recipe, tmp_path, tmp_path / "out", surrogates=tmp_path)
    denoiser = denoisers.load(file, dtype="fp32")
    assert denoiser.card.sizes == ()
    phases = [p["phase"] for p in denoiser.card.training["phases"]]
    assert phases == ["closeness", "closer", "closest", "mse", "answers", "stability"]
    for shape in ((32, 32), (48, 20)):
        assert denoiser(torch.rand(1, 3, *shape), 0.3).shape == (1, 3, *shape)


def test_training_goes_on_from_weights_that_are_named(tmp_path: Path) -> None:
    """With `start` the first step begins at those weights; of another network, or missing, they are a WeightsError."""
    write_binary(tmp_path, 32)
    torch.save(CifarResNet(3).state_dict(), tmp_path / "resnet20-x.th")

    def train(**changes: Any) -> Path:
        recipe = tiny_recipe("unet-cifar10", tmp_path, **TINY | changes)
        recipe.write_text(f'start = "{start}"\n' * bool(start) + recipe.read_text())
        return train_denoiser(recipe, tmp_path, tmp_path / (start or "first"), surrogates=tmp_path)

    start = ""
    first = train()
    shutil.copy(first, tmp_path / "before.safetensors")
    start = "before"
    after = train(lr=0.0, lr_rest=0.0)
    before, same = (load_file(file) for file in (first, after))
    assert all(torch.equal(value, same[name]) for name, value in before.items())
    with pytest.raises(WeightsError, match="another network"):
        train(channels=[16, 32])
    start = "nowhere"
    with pytest.raises(WeightsError, match="no nowhere"):
        train()
