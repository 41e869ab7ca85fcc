"""The bundled recipes, and slips in one of one's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from training_files import recipe, surrogate, tiny_recipe, write_binary

from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError
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
