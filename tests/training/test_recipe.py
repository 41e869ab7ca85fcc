"""The bundled recipes, and slips in one of one's own."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from training_files import mobilenet, recipe, surrogate, tiny_recipe, write_binary

from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError
from api_smoothing.training import train_denoiser
from api_smoothing.training.networks import architecture, create
from api_smoothing.training.recipe import RECIPES, read_recipe, recipe_names


def test_the_baseline_is_the_papers() -> None:
    """The recipe is a DnCNN of 17 layers and 64 channels, for one σ at a time, by mean squared error alone."""
    plan = read_recipe("dncnn-cifar10-mse", "denoiser")
    assert architecture(plan) == {"kind": "dncnn", "channels": 64, "depth": 17}
    assert {phase["objective"] for phase in plan["phase"]} == {"mse"}
    for phase, sigma in zip(plan["phase"], (0.25, 0.12, 0.5), strict=True):
        assert [phase["sigma"][end] for end in ("low", "high")] == [sigma, sigma]
        assert phase.get("sigma_range", plan["sigma_range"]) == [sigma, sigma]


def test_shipped_weights_have_recipes_without_targets() -> None:
    """Every denoiser recipe has phases, and none trains against what it is evaluated on."""
    kinds = {
        name: tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8")) for name in recipe_names()
    }
    assert {"cifar10", "unet-cifar10"} <= set(kinds)
    assert all(plan == read_recipe(name, plan["kind"]) for name, plan in kinds.items())
    for plan in kinds.values():
        for phase in plan.get("phase", []):
            assert not {"resnet56", "cifar10"} & set(phase.get("surrogates", []))
    with pytest.raises(ConfigurationError, match="not a classifier"):
        read_recipe("unet-cifar10", "classifier")
    with pytest.raises(ConfigurationError, match="did you mean"):
        read_recipe("no-such-recipe", "classifier")


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


@pytest.mark.parametrize("name", recipe_names())
def test_no_number_leaves_its_range_in_any_phase(tmp_path: Path, name: str) -> None:
    """Each number of each bundled recipe in turn, below zero or not finite, is refused by name, in every phase."""
    text = tiny_recipe(name, tmp_path).read_text().splitlines()
    kind = tomllib.loads("\n".join(text))["kind"]
    file = tmp_path / "changed.toml"
    for k, line in enumerate(text):
        key, _, value = (part.strip() for part in line.partition("="))
        if not value[:1].isdigit() and not value.startswith(("[0", "[1", "[6")):
            continue
        for wrong in ("-1", "-0.5", "nan", "inf"):
            changed = f"[{wrong}, {wrong}]" if value.startswith("[") else wrong
            file.write_text("\n".join([*text[:k], f"{key} = {changed}", *text[k + 1 :]]))
            with pytest.raises(ConfigurationError, match=key):
                read_recipe(file, kind)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("lr_rest = 0.0004", "lr_rest = -1"), r"mse\.lr_rest must be 0 or more"),
        (("jitter = 2", "jitter = 500"), "jitter must be below the side of the images, 32 pixels"),
        (("steps = 2", "steps = 0"), "steps must be 1 or more"),
        (("clip = 1.0", "clip = -1"), "clip must be above 0"),
        (("decay = 0.998", "decay = 1.0"), "decay must be 0 or more and below 1"),
        (("width = 64", "width = 0"), "width must be 1 or more"),
        (("channels = [16, 16]", "channels = [16, 0]"), "channels must be 1 or more"),
        (('id = "unet-cifar10"', 'id = "../x"'), "id must be a plain name"),
        (('name = "mse"', 'name = "a/b"'), "name must be a plain name"),
        (('surrogates = ["resnet20"]', 'surrogates = ["../x"]'), "surrogates must be a plain name"),
        (("groups = 4", "groups = 9"), "groups must be at most batch"),
        (("betas = [0.9, 0.99]", "betas = [0.9]"), "betas must be two"),
    ],
)
def test_a_number_or_name_out_of_range_is_told(tmp_path: Path, edit: tuple[str, str], words: str) -> None:
    """What trained for an hour first, or wrote elsewhere, is one line before the first step."""
    with pytest.raises(ConfigurationError, match=words):
        read_recipe(recipe(tmp_path, edit), "denoiser")


def test_a_card_is_a_recipe(tmp_path: Path) -> None:
    """Weights are trained again from their card alone, to the bit, whatever the recipe's file was called."""
    write_binary(tmp_path, 32)
    surrogate(tmp_path, 0)
    file = recipe(tmp_path, ('id = "unet-cifar10"', 'id = "mine"'))
    weights = train_denoiser(file, tmp_path, tmp_path / "one", surrogates=tmp_path, seed=3)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["training"]["recipe"] == tomllib.loads(file.read_text())
    assert card["commands"][-1].startswith(
        "api-smooth train denoiser --recipe mine.json --data DATA --out OUT --seed 3"
    )
    again = train_denoiser(
        weights.with_suffix(".json"), tmp_path, tmp_path / "two", surrogates=tmp_path, seed=3
    )
    assert again.read_bytes() == weights.read_bytes()
    assert read_recipe(RECIPES.parents[1] / "denoisers" / "weights" / "unet-cifar10.json", "denoiser")
    for text in ("{}", "[]", '{"training": {"recipe": 3}}', "{"):
        (tmp_path / "slip.json").write_text(text)
        with pytest.raises(ConfigurationError, match="holds no recipe"):
            read_recipe(tmp_path / "slip.json", "denoiser")


def test_a_phase_that_cannot_take_a_step_is_told_first(tmp_path: Path) -> None:
    """A surrogate of other classes, in the last phase, fails before the first phase is trained."""
    write_binary(tmp_path, 32)
    np.savez(tmp_path / "few.npz", **mobilenet(32, classes=4))
    file = recipe(
        tmp_path,
        ('objective = "stability"', 'objective = "classification"'),
        surrogates=["few"],
        turn=["few"],
    )
    with pytest.raises(ConfigurationError, match="phase answers cannot take a step"):
        train_denoiser(file, tmp_path, tmp_path / "out", surrogates=tmp_path)
    assert not (tmp_path / "out").exists()


def test_recipes_are_listed_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A printed one is a file to start from; an unknown one is told, with those that are near."""
    assert main(["train", "recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert all(len(line.split()) > 4 for line in lines)
    for name in recipe_names():
        assert main(["train", "recipes", name]) == 0
        (tmp_path / "my.toml").write_text(capsys.readouterr().out)
        kind = tomllib.loads((tmp_path / "my.toml").read_text())["kind"]
        assert read_recipe(tmp_path / "my.toml", kind) == read_recipe(name, kind)
    assert main(["train", "recipes", "unet-cifar"]) == 2
    assert "unet-cifar10" in capsys.readouterr().err
