"""Training of a denoiser, phase after phase."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_files import TINY, archive, mobilenet, pictures, recipe, surrogate, tiny_recipe, write_binary

from api_smoothing import denoisers
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_classifier, train_denoiser
from api_smoothing.training.denoiser import blended
from api_smoothing.training.surrogates import CifarResNet


def test_training_writes_a_denoiser_that_loads(tmp_path: Path) -> None:
    """train_denoiser runs all phases and writes weights the registry loads, with an account of each phase."""
    from api_smoothing import denoisers

    write_binary(tmp_path, 32)
    torch.save(CifarResNet(3).state_dict(), tmp_path / "resnet20-x.th")
    recipe = tiny_recipe("unet-cifar10", tmp_path, **TINY)
    file = train_denoiser(recipe, tmp_path, tmp_path / "out", surrogates=tmp_path)
    denoiser = denoisers.load(file, dtype="fp32")
    phases = [p["phase"] for p in denoiser.card.training["phases"]]
    assert phases == ["closeness", "mse", "answers", "stability"]
    assert denoiser.card.training["phases"][0]["images_seen"] == 16
    assert denoiser(torch.rand(2, 3, 32, 32), 0.25).shape == (2, 3, 32, 32)


def test_a_blended_phase_lies_between_its_ends(tmp_path: Path) -> None:
    """`blend` of a phase is the share of what it learnt: 0 leaves the weights of the phase before, ½ is the middle."""
    write_binary(tmp_path, 32)
    plan = tiny_recipe("dncnn-cifar10-mse", tmp_path, channels=8, depth=3, steps=2, batch=8).read_text()
    plan = plan.replace('name = "at-0.12"', 'name = "at-0.12"\nblend = BLEND')

    def ends(blend: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        recipe = tmp_path / f"{blend}.toml"
        recipe.write_text(plan.replace("BLEND", blend))
        train_denoiser(recipe, tmp_path, tmp_path / blend)
        first, second = (
            load_file(tmp_path / blend / f"dncnn-cifar10-mse-{k}.safetensors") for k in ("mse", "at-0.12")
        )
        return first, second

    before, none = ends("0.0")
    whole, half = ends("1.0")[1], ends("0.5")[1]
    assert all(torch.equal(before[k], none[k]) for k in before)
    assert any(not torch.equal(before[k], whole[k]) for k in before)
    unit = blended(
        {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(5)}, 0.5
    )
    assert unit["w"].tolist() == [0.5, 0.5]
    assert unit["n"] == 5
    assert any(not torch.equal(half[k], whole[k]) for k in half)


def test_a_phase_may_come_after_an_earlier_one(tmp_path: Path) -> None:
    """With `after` it learns from that phase's weights, and `blend` lies between those and the phase's before it."""
    write_binary(tmp_path, 32)
    plan = tiny_recipe(
        "unet-cifar10", tmp_path, channels=[16, 16], blocks=[1, 1], steps=2, batch=8, lr=0.01
    ).read_text()
    head, one, *_ = plan.split("[[phase]]")
    two = one.replace('name = "closeness"', 'name = "two"')
    three = one.replace('name = "closeness"', 'name = "three"').replace(
        "lr = 0.01", "lr = 0.0"
    )  # it stays at its start

    def ends(lines: str) -> list[dict[str, torch.Tensor]]:
        recipe, out = tmp_path / "branches.toml", tmp_path / str(len(lines))
        recipe.write_text("[[phase]]".join((head, one, two, three.replace("lr =", f"{lines}lr ="))))
        train_denoiser(recipe, tmp_path, out)
        return [load_file(out / f"unet-cifar10-{name}.safetensors") for name in ("closeness", "two", "three")]

    first, second, third = ends("")
    assert all(torch.equal(second[k], third[k]) for k in second)
    assert any(not torch.equal(first[k], second[k]) for k in first)
    first, second, third = ends('after = "closeness"\n')
    assert all(torch.equal(first[k], third[k]) for k in first)
    first, second, third = ends('after = "closeness"\nblend = 0.5\n')
    for k, value in third.items():
        torch.testing.assert_close(value, (first[k] + second[k]) / 2, atol=1e-3, rtol=0)  # fp16
    unknown = 'after = "three"\n'
    with pytest.raises(ConfigurationError, match="no phase before it"):
        ends(unknown)
    assert not (tmp_path / str(len(unknown))).exists()  # refused before anything is trained


def test_each_phase_of_a_blind_denoiser_serves_its_own_sigma(tmp_path: Path) -> None:
    """A network that is told no σ is written once for each σ it was trained for, and refuses the others."""
    from api_smoothing import denoisers

    write_binary(tmp_path, 32)
    recipe = tiny_recipe("dncnn-cifar10-mse", tmp_path, channels=8, depth=3, steps=2, batch=8)
    train_denoiser(recipe, tmp_path, tmp_path / "out")
    for phase, sigma in (("mse", 0.25), ("at-0.12", 0.12), ("at-0.5", 0.5)):
        denoiser = denoisers.load(tmp_path / "out" / f"dncnn-cifar10-mse-{phase}.safetensors", dtype="fp32")
        assert denoiser.card.sigma_range == (sigma, sigma)
        assert denoiser(torch.rand(2, 3, 32, 32), sigma).shape == (2, 3, 32, 32)
        with pytest.raises(ConfigurationError, match="serves"):
            denoiser(torch.rand(2, 3, 32, 32), sigma + 0.1)


def test_a_run_is_not_taken_up_with_other_images_or_surrogates(tmp_path: Path) -> None:
    """The weights would have been trained on what their card does not name."""
    write_binary(tmp_path, 32)
    surrogate(tmp_path, 0)
    file = recipe(tmp_path)
    first = train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path).read_bytes()
    assert train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path).read_bytes() == first
    other = tmp_path / "other"
    other.mkdir()
    write_binary(other, 40)
    with pytest.raises(ConfigurationError, match="other settings, images or weights"):
        train_denoiser(file, other, tmp_path / "out", surrogates=tmp_path)
    surrogate(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="other settings, images or weights"):
        train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path)
    fresh = train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path, resume=False)
    assert fresh.read_bytes() != first


def test_a_phase_is_not_taken_up_from_another_start(tmp_path: Path) -> None:
    """A first phase that went on since must not be thrown away by the checkpoint of the second."""
    write_binary(tmp_path, 32)
    surrogate(tmp_path, 0)
    file = recipe(tmp_path)
    train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path, minutes=1e-9)
    with pytest.raises(ConfigurationError, match="mse holds a run with other settings"):
        train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path)


@pytest.mark.parametrize("which", ["state.json", "state-*"])
@pytest.mark.parametrize("kept", [0, 40, -9])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int, which: str) -> None:
    """Going on from it is refused in one line; --no-resume starts over."""
    write_binary(tmp_path, 96)
    file = tiny_recipe("cifar10", tmp_path, widths=[8, 8, 8], epochs=1, batch=16, holdout=32)
    train_classifier(file, tmp_path, tmp_path / "out")
    state = next((tmp_path / "out" / "cifar10").glob(which))
    state.write_bytes(state.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="damaged; delete it"):
        train_classifier(file, tmp_path, tmp_path / "out")
    train_classifier(file, tmp_path, tmp_path / "out", resume=False)


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
