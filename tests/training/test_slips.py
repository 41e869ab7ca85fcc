"""Slips in training: a wrong recipe, a run taken up with other things, damaged files. None may cost hours or lie."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from training_files import TINY, tiny_recipe, write_binary

from api_smoothing.cli import main
from api_smoothing.convnet import Cifar10Net, fold
from api_smoothing.denoisers.unet import UNet
from api_smoothing.errors import ConfigurationError, ImageError, WeightsError
from api_smoothing.training import train_classifier, train_denoiser
from api_smoothing.training.cards import write_weights
from api_smoothing.training.data import ImageSet, load_images, split_off
from api_smoothing.training.denoiser import training_images
from api_smoothing.training.measure import images_per_second
from api_smoothing.training.networks import architecture, create
from api_smoothing.training.photographs import Photographs, load_photographs
from api_smoothing.training.recipe import read_recipe
from api_smoothing.training.surrogates import CifarResNet, label_file, load_surrogate, own_labels


def recipe(folder: Path, *edits: tuple[str, str], **changes: Any) -> Path:
    """A tiny unet-cifar10, with each (old, new) of `edits` made in its text, everywhere."""
    file = tiny_recipe("unet-cifar10", folder, **TINY | changes)
    text = file.read_text()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return file


def surrogate(folder: Path, seed: int) -> None:
    """A ResNet-20 that was never trained, as `resnet20-x.th`."""
    torch.manual_seed(seed)
    torch.save(CifarResNet(3).state_dict(), folder / "resnet20-x.th")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("betas", "beta"), ["answers.beta;", "did you mean betas"]),
        (("mse_weight", "mse_wieght"), ["mse_wieght", "mse_weight"]),
        (("groups = 4", "# "), ["answers.groups is missing"]),
        (("focus", "focsu"), ["closeness.sigma.focsu", "focus"]),
        (("lr = 0.0015", "lr = 'fast'"), ["closeness.lr", "a number", "fast"]),
        (("lr = 0.0015\n", ""), ["closeness.lr is missing"]),
        (('"cosine"', '"cosin"'), ["schedule.shape", "cosine, linear"]),
        (('objective = "stability"', 'objective = "stabilty"'), ["stabilty", "stability"]),
        (('turn = ["resnet20"]', 'turn = ["resnet32"]'), ["resnet32", "not in surrogates"]),
        (('turn = ["resnet20"]', "turn = []"), ["turn is empty"]),
        (("sigma_range = [0.05, 1.0]", "sigma_range = [1.0, 0.05]"), ["sigma_range", "the lower first"]),
        (("low = 0.05", "low = 0"), ["closeness.sigma", "above 0"]),
        (('name = "stability"', 'name = "mse"'), ["two phases are named mse"]),
        (("batch = 8", "batch = true"), ["closeness.batch", "a whole number"]),
        (("batch = 8", "batch = 0"), ["closeness.batch", "1 or more"]),
        (('kind = "denoiser"', 'kind = "denoiser"\ndata.side = 0'), ["data.side", "1 or more"]),
        (("width = 64\n", ""), ["width is missing"]),
        (("[phase.sigma]", "[phase.sigmas]"), ["closeness.sigmas", "sigma"]),
        (('objective = "stability"', 'objective = "told"'), ["phase answers", "for this network"]),
        (('name = "answers"', 'name = "answers"\noptimizer = "sgd"'), ["sgd", "muon"]),
        (("batch = 8", "batch = 64"), ["32 images", "batch of 64"]),
        (('surrogates = ["resnet20"]', 'surrogates = ["resnet20", "nobody"]'), ["no surrogate nobody"]),
        (("channels = [16, 16]", "channels = [16, 16, 16, 16, 16, 16]"), ["side 32", "multiple of 64"]),
    ],
)
def test_a_slip_in_a_recipe_is_refused_before_anything_is_trained(
    tmp_path: Path, edit: tuple[str, str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the key or the phase; no phase has begun."""
    write_binary(tmp_path, 32)
    surrogate(tmp_path, 0)
    file = recipe(tmp_path, edit, **({"blocks": [1] * 6} if "16, 16, 16" in edit[1] else {}))
    line = f"train denoiser --recipe {file} --data {tmp_path} --surrogates {tmp_path} --device cpu"
    assert main([*line.split(), "--out", f"{tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("api-smooth: error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_slip_in_a_classifiers_recipe_is_refused(tmp_path: Path) -> None:
    """As for denoisers; and what is there for a denoiser only is no key of a classifier's."""
    text = tiny_recipe("cifar10", tmp_path).read_text()
    for old, new, match in (
        ("label_smoothing", "label_smothing", "label_smoothing"),
        ("pull = true", "pull = 1", "true or false"),
        ("holdout = 5000 ", "# ", "data.holdout is missing"),
        ("widths =", "sigma_range = [0.1, 1.0]\nwidths =", "unknown key sigma_range"),
    ):
        assert old in text
        (tmp_path / "slip.toml").write_text(text.replace(old, new))
        with pytest.raises(ConfigurationError, match=match):
            read_recipe(tmp_path / "slip.toml", "classifier")
    (tmp_path / "slip.toml").write_bytes(b"id = '\xff'")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        read_recipe(tmp_path / "slip.toml", "classifier")


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


def test_labels_are_kept_for_the_images_and_surrogates_they_are_of(tmp_path: Path) -> None:
    """Others have a file of another name; a file cut short by a kill is written anew."""
    write_binary(tmp_path, 24)
    data = load_images(tmp_path)
    nets: list[nn.Module] = [CifarResNet(1).eval(), CifarResNet(1).eval()]
    of = [{"images": "a", "surrogates": ["b"]}, {"images": "a", "surrogates": ["c"]}]
    names = [label_file(each) for each in of]
    assert len(set(names)) == 2
    cache = tmp_path / "runs" / names[0]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = torch.stack([net(data.floats(slice(None))).argmax(1) for net in nets])
    assert torch.equal(own_labels(nets, data, cache), wanted)
    assert torch.equal(own_labels([], data, cache), wanted)  # read, not computed
    cache.write_bytes(cache.read_bytes()[:-5])
    assert torch.equal(own_labels(nets, data, cache), wanted)
    assert load_file(cache)["labels"].shape == (2, 24)


@pytest.mark.parametrize("kept", [0, 40, -9])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int) -> None:
    """Going on from it is refused in one line; --no-resume starts over."""
    write_binary(tmp_path, 96)
    file = tiny_recipe("cifar10", tmp_path, widths=[8, 8, 8], epochs=1, batch=16, holdout=32)
    train_classifier(file, tmp_path, tmp_path / "out")
    state = tmp_path / "out" / "cifar10" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="damaged; delete it"):
        train_classifier(file, tmp_path, tmp_path / "out")
    train_classifier(file, tmp_path, tmp_path / "out", resume=False)


def photographs(folder: Path, *sides: int) -> None:
    draw = np.random.default_rng(1)
    for side in sides:
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{side}.png")


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


def test_a_side_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    """A crop whose side is no multiple of what the network halves is told before the first step."""
    photographs(tmp_path, 64)
    text = tiny_recipe("unet-natural", tmp_path, channels=[16, 16], blocks=[1, 1], batch=1).read_text()
    head = text.split("[[phase]]")[0].replace("side = 128", "side = 30").replace("archives", "# ")
    (tmp_path / "slip.toml").write_text("[[phase]]".join((head, text.split("[[phase]]")[1])))
    with pytest.raises(ConfigurationError, match="side 30 do not fit the network; give a multiple of 4"):
        train_denoiser(tmp_path / "slip.toml", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_speed_is_measured_at_a_side_that_fits() -> None:
    """A network of six levels takes no 32×32 images; its card is written all the same."""
    found = images_per_second(UNet((4,) * 6, (1,) * 6, width=4).eval(), batch=1, repeats=1)
    assert found["side"] == 64


def test_a_surrogate_in_a_folder_goes_before_the_bundled_one(tmp_path: Path) -> None:
    """`cifar10` trained anew is the one that is meant when its folder is given."""
    torch.manual_seed(2)
    own = fold(Cifar10Net((8, 8, 8)).eval())
    state = {k: v.half() for k, v in own.state_dict().items()}
    write_weights(tmp_path / "cifar10.safetensors", state, {"id": "cifar10", "widths": [8, 8, 8]})
    count = [sum(p.numel() for p in load_surrogate("cifar10", f).parameters()) for f in ([tmp_path], [])]
    assert count[0] < count[1]


def test_a_classifier_trains_beside_pictures_without_labels(tmp_path: Path) -> None:
    """A picture beside the batches is no test set; holding out none, or all, is what it says."""
    write_binary(tmp_path, 96)
    photographs(tmp_path, 64)
    file = tiny_recipe("cifar10", tmp_path, widths=[8, 8, 8], epochs=1, batch=16, holdout=0)
    weights = train_classifier(file, tmp_path, tmp_path / "out")
    assert weights.is_file()
    data = ImageSet(images=torch.zeros(4, 2, 2, 3), labels=None, name="four")
    assert [len(part) for part in split_off(data, 0, 1)] == [4, 0]
    with pytest.raises(ConfigurationError, match="cannot be held out"):
        split_off(data, 4, 1)


@pytest.mark.parametrize("seed", ["9223372036854775808", "-99999999999999999999999"])
def test_a_seed_too_large_is_refused(tmp_path: Path, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line, as any wrong flag."""
    line = f"train denoiser --recipe unet-cifar10 --data {tmp_path} --out {tmp_path} --seed {seed}"
    assert main(line.split()) == 2
    assert "--seed must be below 2^63" in capsys.readouterr().err


OPTIONAL = (
    "focus share spread start peak end shape optimizer betas side after blend temperature archives every pull"
)


@pytest.mark.parametrize("name", ["unet-natural", "diffusion-cifar10", "reader-cifar10"])
def test_every_slip_in_a_bundled_recipe_is_told(tmp_path: Path, name: str) -> None:
    """Each key in turn holding what it cannot hold is refused; so is each left out, but for those that may be."""
    text = tiny_recipe(name, tmp_path).read_text().splitlines()
    kind = tomllib.loads("\n".join(text))["kind"]

    def refused(k: int, line: str) -> bool:
        file = tmp_path / "changed.toml"
        file.write_text("\n".join([*text[:k], line, *text[k + 1 :]]))
        try:
            plan = read_recipe(file, kind)
            if kind == "denoiser":
                with torch.device("meta"):
                    create(architecture(plan))
        except ConfigurationError:
            return True
        return False

    kept = set()
    for k, line in enumerate(text):
        key = line.split("=")[0].strip()
        if "=" in line:
            assert refused(k, f"{key} = [[]]"), line
            if not refused(k, ""):
                kept.add(key)
    assert kept <= set(OPTIONAL.split())
