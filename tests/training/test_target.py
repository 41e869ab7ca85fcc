"""Tuning a denoiser for the model that will stand behind it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training_files import photographs, recipe, tiny_recipe, write_binary

from api_smoothing import denoisers
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_denoiser
from api_smoothing.training.target import load_target, recipe_for

_SMALL: dict[str, Any] = {"channels": [16, 16], "blocks": [1, 1], "steps": 2, "batch": 8, "holdout": 8}


class Contrast(nn.Module):
    """Two classes: flat and busy, as coloured noise is and what an untrained denoiser leaves of it is not."""

    def __init__(self, scale: float = 50.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        more = ((x - 0.5).square().mean((1, 2, 3)) - 0.06) * self.scale
        return torch.stack((-more, more), 1)


def small(folder: Path, **changes: Any) -> Path:
    """The bundled recipe cut down; it starts from nothing, as a small network must."""
    file = tiny_recipe("tuned-32", folder, **_SMALL | changes)
    file.write_text(file.read_text().replace('start = "unet-cifar10"\n', ""))
    return file


def test_the_card_names_the_target_and_what_tuning_gave(tmp_path: Path) -> None:
    """Name, digest, held-out images, and agreement and closeness before and after; the weights load."""
    write_binary(tmp_path, 40)
    file = train_denoiser(small(tmp_path), tmp_path, tmp_path / "out", target=Contrast())
    card = json.loads(file.with_suffix(".json").read_text())
    training = card["training"]
    assert training["target"]["name"].endswith(":Contrast")
    assert len(training["target"]["sha256"]) == 64
    assert training["held_out"] == "8 of cifar10/train"
    for figures in (card["quality"], training["before"]):
        assert set(figures["0.25"]) == {"psnr", "agreement_target"}
        assert all(0 <= each["agreement_target"] <= 1 for each in figures.values())
    assert denoisers.load(file, dtype="fp32")(torch.rand(1, 3, 32, 32), 0.25).shape == (1, 3, 32, 32)


def test_the_target_s_gradient_is_what_is_followed(tmp_path: Path) -> None:
    """Tuned for a target that is steadied by it, agreement rises; the target itself is not changed."""
    write_binary(tmp_path, 48)
    target = Contrast()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    plan = small(tmp_path, steps=40, lr=0.01, mse_weight=0.0, decay=0.5)
    card = train_denoiser(plan, tmp_path, tmp_path / "out", target=target).with_suffix(".json")
    facts = json.loads(card.read_text())
    assert facts["training"]["before"]["1"]["agreement_target"] < 0.5
    assert facts["quality"]["1"]["agreement_target"] > 0.5
    assert target.training
    assert target.scale.requires_grad
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


def test_a_run_is_not_taken_up_with_another_target(tmp_path: Path) -> None:
    """The same target goes on, and gives the same bytes."""
    write_binary(tmp_path, 40)
    plan, out = small(tmp_path), tmp_path / "out"
    first = train_denoiser(plan, tmp_path, out, target=Contrast()).read_bytes()
    assert train_denoiser(plan, tmp_path, out, target=Contrast()).read_bytes() == first
    with pytest.raises(ConfigurationError, match="other settings, images or weights"):
        train_denoiser(plan, tmp_path, out, target=Contrast(21.0))


@pytest.mark.parametrize("answer", ["logits", "probabilities", "object"])
def test_scores_come_as_a_model_gives_them(answer: str) -> None:
    """Probabilities become logits, so that their cross-entropy is one; an answer with `.logits` is read there."""
    net = Contrast()
    x = torch.rand(4, 3, 8, 8)

    def ask(images: Tensor) -> Any:
        logits = net(images)
        found = {"logits": logits, "probabilities": logits.softmax(1)}.get(answer)
        return type("Answer", (), {"logits": logits}) if found is None else found

    got = load_target(ask).checked(8).net(x)
    torch.testing.assert_close(got.log_softmax(1), net(x).log_softmax(1))


class _Norm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean()).mean((2, 3)) * 1000


def _detached(x: Tensor) -> Tensor:
    return Contrast()(x).detach()


def _flat(x: Tensor) -> Tensor:
    return x.mean((1, 2, 3))


def _broken(x: Tensor) -> Tensor:
    raise KeyError(f"nothing for {tuple(x.shape)}")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (_detached, "gives no gradient"),
        (_flat, "must give scores"),
        (_broken, "does not serve"),
        (_Norm(), "otherwise alone than beside another"),
        (lambda x: x.mean((2, 3)) / 0, "not finite"),
        (lambda _: "cat", "not by a tensor"),
    ],
)
def test_a_target_that_cannot_serve_is_told_before_the_first_step(
    tmp_path: Path, target: Any, told: str
) -> None:
    """In one line, and nothing is written."""
    write_binary(tmp_path, 40)
    with pytest.raises(ConfigurationError, match=told) as caught:
        train_denoiser(small(tmp_path), tmp_path, tmp_path / "out", target=target)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_damaged_weights_are_told() -> None:
    """NaN would be learnt from, and never seen."""
    with pytest.raises(WeightsError, match="not finite"):
        load_target(Contrast(float("nan")))


def test_recipe_and_target_belong_together(tmp_path: Path) -> None:
    """A recipe that asks a target is given one, and one that does not is given none."""
    write_binary(tmp_path, 40)
    with pytest.raises(ConfigurationError, match="name it by --target"):
        train_denoiser(small(tmp_path), tmp_path, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="asks no target"):
        train_denoiser(recipe(tmp_path), tmp_path, tmp_path / "out", target=Contrast())
    with pytest.raises(ConfigurationError, match="neither a recipe nor a target"):
        train_denoiser(None, tmp_path, tmp_path / "out")


def test_the_recipe_fits_the_images(tmp_path: Path) -> None:
    """Without one: small images are taken whole, photographs by crops."""
    for name in ("cifar", "small", "large"):
        (tmp_path / name).mkdir()
    write_binary(tmp_path / "cifar", 4)
    photographs(tmp_path / "small", 32, 33, 40)
    photographs(tmp_path / "large", 40, 130, 200)
    assert [recipe_for(tmp_path / name) for name in ("cifar", "small", "large")] == [
        "tuned-32",
        "tuned-32",
        "tuned-photographs",
    ]


def test_a_file_is_read_as_plain_weights(tmp_path: Path) -> None:
    """A torchvision state dict with its architecture; a pickle with code in it is refused."""
    models = pytest.importorskip("torchvision").models
    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "own.pth")
    found = load_target(tmp_path / "own.pth", arch="squeezenet1_1", mean="0.5|0.5|0.5", std="0.2|0.2|0.2")
    assert found.checked(64).net(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    assert found.words.endswith("--arch squeezenet1_1 --mean '0.5|0.5|0.5' --std '0.2|0.2|0.2'")
    other = load_target(tmp_path / "own.pth", arch="squeezenet1_1")
    assert other.sha256 != found.sha256  # another normalisation is another model
    torch.save(Contrast(), tmp_path / "whole.pth")
    with pytest.raises(WeightsError, match="safely"):
        load_target(tmp_path / "whole.pth", arch="squeezenet1_1")


_MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)
    def forward(self, x):
        return self.head(x.mean((2, 3)))

def make():
    torch.manual_seed(0)
    return Net()

torch.manual_seed(0)
net = Net()

def ask(x):
    return net(x)

number = 3
"""


def test_the_command_tunes_for_a_module_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MODULE:NAME is a factory, a module or a function, from the folder one is in; the figures are printed."""
    write_binary(tmp_path, 40)
    (tmp_path / "own_model.py").write_text(_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    plan = small(tmp_path)
    states = []
    for name in ("make", "net", "ask"):
        line = f"train denoiser --recipe {plan} --data . --out {name} --target own_model:{name}"
        assert main(line.split()) == 0
        shown = capsys.readouterr().err
        assert "agreement_target" in shown
        assert "(before" in shown
        states.append(load_file(tmp_path / name / "tuned-32.safetensors"))
        card = json.loads((tmp_path / name / "tuned-32.json").read_text())
        assert card["commands"][-1].endswith(f"--target own_model:{name}")
    assert all(torch.equal(states[0][k], each[k]) for each in states for k in states[0])
    for wrong, told in (
        ("number", "is a int"),
        ("nothing", "no attribute"),
        ("make --arch x", "for a checkpoint"),
    ):
        line = f"train denoiser --recipe {plan} --data . --out x --target own_model:{wrong}"
        assert main(line.split()) == 2
        assert told in capsys.readouterr().err
    assert main(f"train denoiser --data . --out x --recipe {plan} --arch x".split()) == 2
    assert "--arch is of a --target" in capsys.readouterr().err
    assert main(["train", "denoiser", "--data", ".", "--out", "x"]) == 2
    assert "neither --recipe nor --target" in capsys.readouterr().err
