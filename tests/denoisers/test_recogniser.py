"""The denoiser that reads before it paints: what it is told, and what its file must fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_files import tiny_recipe, write_binary

from api_smoothing import denoisers
from api_smoothing.denoisers import recogniser
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.errors import WeightsError
from api_smoothing.training import train_classifier, train_denoiser
from api_smoothing.training.surrogates import CifarResNet

SIZES = {"kind": "recogniser", "channels": [16, 16], "blocks": [1, 1], "width": 16, "widths": [8, 8, 8]}


@pytest.fixture
def net() -> recogniser.Recogniser:
    """An untrained one behind the bundled U-Net, in which the shares have an effect."""
    torch.manual_seed(0)
    made = recogniser.make_net(SIZES, denoisers.load("unet-cifar10-mse", dtype="fp32"))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return made.eval()


def test_a_painter_starts_with_an_empty_brush() -> None:
    """An untrained one gives the first estimate, clipped: P's last layer is zero at first."""
    made = recogniser.make_net(SIZES, denoisers.load("unet-cifar10-mse", dtype="fp32"))
    x, sigma = torch.rand(2, 3, 32, 32), torch.full((2,), 0.25)
    first = denoisers.load("unet-cifar10-mse", dtype="fp32")
    torch.testing.assert_close(recogniser.denoise(made, x, sigma)[0], first(x, sigma).clamp(0, 1))


def test_it_is_told_what_the_reader_sees_in_the_first_estimate(net: recogniser.Recogniser) -> None:
    """The shares are the reader's softmax of the first denoiser's clipped output, and move what is painted."""
    x, sigma = torch.rand(3, 3, 32, 32), torch.tensor([0.1, 0.25, 0.5])
    seen = denoisers.load("unet-cifar10-mse", dtype="fp32")(x, sigma).clamp(0, 1)
    painted, shares = recogniser.denoise(net, x, sigma)
    torch.testing.assert_close(shares, net.reader(seen).softmax(1))

    def by_hand(told: Tensor) -> Tensor:
        return seen + 0.25 * net.painter((seen - 0.5) / 0.25, sigma.log(), told)

    torch.testing.assert_close(painted, by_hand(shares))
    assert (painted - by_hand(torch.eye(10)[:3])).abs().max() > 1e-4


def test_only_the_painter_learns(net: recogniser.Recogniser) -> None:
    """No gradient reaches the reader or the first denoiser."""
    recogniser.denoise(net, torch.rand(2, 3, 32, 32), torch.full((2,), 0.25))[0].sum().backward()
    assert all(p.grad is None for p in net.reader.parameters())
    assert net.painter.classes is not None
    assert net.painter.classes.weight.grad is not None
    assert not any(name.startswith("first") for name in net.state_dict())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser trained for two steps by the recipes' own path: reader first, then painter."""
    folder = tmp_path_factory.mktemp("recogniser")
    write_binary(folder, 32)
    torch.save(CifarResNet(3).state_dict(), folder / "resnet20-x.th")
    reader = tiny_recipe("reader-cifar10", folder, widths=[8, 8, 8], epochs=1, batch=8, holdout=8)
    card = json.loads(train_classifier(reader, folder, folder).with_suffix(".json").read_text())
    assert "denoised at sigma 0.25" in card["accuracy"]["held-out (8)"]
    recipe = tiny_recipe(
        "recogniser-cifar10",
        folder,
        widths=[8, 8, 8],
        steps=2,
        batch=8,
        surrogates=["resnet20"],
        turn=["resnet20"],
    )
    return train_denoiser(recipe, folder, folder / "out", surrogates=folder)


class TestTrained(DenoiserSuite):
    """The laws of every denoiser."""

    @pytest.fixture
    def denoiser(self, trained: Path) -> denoisers.Denoiser:
        """The one trained above."""
        return denoisers.load(trained, dtype="fp32")


def test_the_reader_is_shipped_as_it_was_trained(trained: Path) -> None:
    """The file holds the reader's fp16 weights unchanged, and the painter's."""
    from safetensors.torch import load_file

    reader = load_file(trained.parents[1] / "reader-cifar10.safetensors")
    shipped = load_file(trained)
    assert all(torch.equal(shipped[f"reader.{name}"], value) for name, value in reader.items())
    assert {name.split(".")[0] for name in shipped} == {"reader", "painter"}


def test_another_first_denoiser_is_refused(trained: Path) -> None:
    """Weights trained behind one first denoiser are not run behind another."""
    card = trained.with_suffix(".json")
    facts = json.loads(card.read_text())
    facts["architecture"]["first_sha256"] = "0" * 64
    card.write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="behind another"):
        denoisers.load(trained, dtype="fp32")


def test_a_missing_reader_is_named(tmp_path: Path) -> None:
    """Training without the reader's file says which recipe makes it."""
    write_binary(tmp_path, 32)
    recipe = tiny_recipe("recogniser-cifar10", tmp_path)
    with pytest.raises(WeightsError, match="--recipe reader-cifar10"):
        train_denoiser(recipe, tmp_path, tmp_path / "out", surrogates=tmp_path)
