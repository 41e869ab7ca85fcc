"""Every architecture that a recipe can name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_files import photographs, tiny_recipe

from api_smoothing import denoisers
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_denoiser
from api_smoothing.training.networks import architecture, create
from api_smoothing.training.recipe import RECIPES


def noisy(count: int = 3, side: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.rand((count, 3, side, side), generator=draw) + 0.25 * torch.randn(
        (count, 3, side, side), generator=draw
    )


def write_batches(folder: Path) -> None:
    """CIFAR-10 binary batches of random pixels: 32 to train on, 510 to measure on."""
    draw = np.random.default_rng(3)
    for name, count in (("data_batch_1", 32), ("test_batch", 510)):
        draw.integers(0, 10, (count, 3073), dtype=np.uint8).tofile(folder / f"{name}.bin")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "parameters"),
    [
        ({"kind": "dncnn", "channels": 8, "depth": 5}, 224 + 3 * 584 + 219),
        ({"kind": "memnet", "channels": 8, "blocks": 1, "units": 1}, 222 + 232 + 1184 + 160),
        ({"kind": "unet", "channels": [16, 16], "blocks": [1, 1], "width": 16}, None),
    ],
)
def test_the_trainer_trains_each_architecture(
    tmp_path: Path, table: dict[str, Any], parameters: int | None
) -> None:
    """A recipe's architecture is trained, shipped without normalisations to fold, measured at its σ, and loads."""
    write_batches(tmp_path)
    lines = (RECIPES / "dncnn-cifar10-mse.toml").read_text(encoding="utf-8").splitlines()
    start, end = lines.index("[architecture]"), lines.index("[[phase]]")
    own = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    changed = {"steps": "steps = 3", "batch": "batch = 16"}
    rest = [changed.get(line.split("=")[0].strip(), line) for line in lines[end:]]
    recipe = tmp_path / "own.toml"
    recipe.write_text("\n".join([*lines[: start + 1], *own, *rest]), encoding="utf-8")
    file = train_denoiser(recipe, tmp_path, tmp_path / "out")
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["architecture"] == table
    assert parameters in {None, card["parameters"]}
    assert set(card["quality"]) == {"0.25"}
    found = denoisers.load(file, dtype="fp32")
    assert found(noisy(2, 32), 0.25).shape == (2, 3, 32, 32)
    with pytest.raises(ConfigurationError, match="serves σ"):
        found(noisy(2, 32), 0.5)
    file.with_suffix(".json").write_text(json.dumps(card | {"architecture": {"kind": "swin"}}))
    with pytest.raises(WeightsError, match="swin; known are unet, dncnn, memnet"):
        denoisers.load(file)


@pytest.mark.parametrize("table", [{"kind": "swin"}, {"kind": "dncnn", "channels": 8}, {}])
def test_unknown_architectures_are_refused(table: dict[str, Any]) -> None:
    """A recipe with an unknown kind, or without a size, is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        create(architecture({"architecture": table}))


def test_a_side_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    """A crop whose side is no multiple of what the network halves is told before the first step."""
    photographs(tmp_path, 64)
    text = tiny_recipe("unet-natural", tmp_path, channels=[16, 16], blocks=[1, 1], batch=1).read_text()
    head = text.split("[[phase]]")[0].replace("side = 128", "side = 30").replace("archives", "# ")
    (tmp_path / "slip.toml").write_text("[[phase]]".join((head, text.split("[[phase]]")[1])))
    with pytest.raises(ConfigurationError, match="side 30 do not fit the network; give a multiple of 4"):
        train_denoiser(tmp_path / "slip.toml", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
