"""Classifiers of other kinds than the bundled one: what they compute, how they are trained, shipped and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_files import write_binary

from api_smoothing.adapters.local.cifar10net import load_cifar10net
from api_smoothing.convnet import Cifar10Net
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_classifier
from api_smoothing.training.kinds import make_classifier
from api_smoothing.training.recipe import read_recipe
from api_smoothing.training.surrogates import load_surrogate

KINDS: dict[str, dict[str, Any]] = {
    "mixer": {"width": 8, "depth": 1, "kernel": 3, "patch": 8},
    "dense": {"growth": 2, "blocks": [1, 1]},
    "transformer": {"width": 8, "depth": 1, "heads": 2, "patch": 8},
}


def plan(kind: str) -> dict[str, Any]:
    """A recipe for one step of a network of that kind."""
    train = read_recipe("held-out-mixer", "classifier")["train"] | {"epochs": 1, "batch": 16}
    held = {"holdout": 8, "holdout_seed": 0}
    return {
        "id": kind,
        "kind": "classifier",
        "architecture": {"kind": kind} | KINDS[kind],
        "data": held,
        "train": train,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_read_again(kind: str, tmp_path: Path) -> None:
    """As a surrogate: the same function, one row an image; bytes that are not the card's are refused."""
    write_binary(tmp_path, 40)
    file = train_classifier(plan(kind), tmp_path, tmp_path / "nets")
    net = load_surrogate(kind, [tmp_path / "nets"])
    x = torch.rand(3, 3, 32, 32)
    assert net(x).shape == (3, 10)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="does not fit"):
        load_cifar10net(file)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsError, match="not the file its card is of"):
        load_surrogate(kind, [tmp_path / "nets"])


def test_a_network_sees_all_of_an_image() -> None:
    """A change of any one corner changes the answer."""
    torch.manual_seed(0)
    for kind, sizes in KINDS.items():
        net = make_classifier({"architecture": {"kind": kind} | sizes}, 4).eval()
        x = torch.rand(1, 3, 32, 32)
        for top, left in ((0, 0), (0, 31), (31, 0), (31, 31)):
            other = x.clone()
            other[..., top, left] = 1 - other[..., top, left]
            assert not torch.equal(net(x), net(other)), (kind, top, left)


def test_what_makes_no_network_is_told() -> None:
    """An unknown kind, a size that is missing, one that does not fit, both forms at once."""
    assert isinstance(make_classifier({"widths": [8, 8, 8]}, 3), Cifar10Net)
    for sizes, why in (
        ({"kind": "vgg"}, "name mixer, dense, transformer"),
        ({"kind": "mixer", "width": 8}, "missing"),
        ({"kind": "transformer"} | KINDS["transformer"] | {"heads": 3}, "make no network"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            make_classifier({"architecture": sizes}, 10)
    with pytest.raises(ConfigurationError, match="either widths or an"):
        read_recipe(plan("mixer") | {"widths": [8, 8, 8]}, "classifier")
    mixed = plan("mixer")
    with pytest.raises(ConfigurationError, match="momentum"):
        read_recipe(mixed | {"train": mixed["train"] | {"momentum": 0.9}}, "classifier")
