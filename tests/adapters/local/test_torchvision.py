"""Checkpoints of torchvision's architectures: found where they are, read the same from every format, named for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from api_smoothing import adapters
from api_smoothing.adapters.local import torchvision
from api_smoothing.errors import ConfigurationError, WeightsError

models = pytest.importorskip("torchvision.models")
X = torch.rand(2, 3, 32, 32)


def saved(path: Path, arch: str = "squeezenet1_1", wrap: Any = lambda state: state) -> Path:
    torch.manual_seed(0)
    state = models.get_model(arch, weights=None, num_classes=7).state_dict()
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(wrap(state), path)
    return path


def loaded(path: Path, arch: str = "squeezenet1_1", **options: Any) -> Any:
    return adapters.load("torchvision", model=path, arch=arch, **options)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "squeezenet1_0", "densenet121"])
def test_safetensors_answer_as_the_same_pth(arch: str, tmp_path: Path) -> None:
    """The format keeps no order of keys; the number of classes is read off the network, not off the last of them."""
    one, other = (loaded(saved(tmp_path / f"net.{end}", arch), arch) for end in ("pth", "safetensors"))
    assert one.label(X) == other.label(X)


WRAPPED = {
    "model": lambda s: {"model": s, "epoch": 3, "optimizer": {"state": {}}},
    "net": lambda s: {"net": s, "acc": 91.2},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.1},
    "nested": lambda s: {"model": {"state_dict": s}},
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "both": lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
    "both, the other way": lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_state_dict_is_found_where_trainings_leave_it(how: str, tmp_path: Path) -> None:
    """Inside `model`, `net` and the like, and behind the prefixes of DataParallel and torch.compile."""
    plain = loaded(saved(tmp_path / "plain.pth"))
    assert loaded(saved(tmp_path / "net.pth", wrap=WRAPPED[how])).label(X) == plain.label(X)


def test_several_networks_in_one_file_are_refused(tmp_path: Path) -> None:
    """Which is meant cannot be told."""
    path = saved(tmp_path / "net.pth", wrap=lambda s: {"model": s, "net": s})
    with pytest.raises(WeightsError, match="several networks"):
        loaded(path)


def test_normalisations_are_three_numbers_however_written(tmp_path: Path) -> None:
    """Text from a shell, arrays and tuples are the same network, under one name; anything else is one line."""
    path = saved(tmp_path / "net.pth")
    ways: list[Any] = ["0.5|0.25|0.5", ["0.5", "0.25", "0.5"], (0.5, 0.25, 0.5), np.array([0.5, 0.25, 0.5])]
    nets = [loaded(path, mean=way, std=way) for way in ways]
    assert len({net.card.fingerprint for net in nets}) == 1
    assert all(net.label(X) == nets[0].label(X) for net in nets)
    for wrong in ("0.5", 0.5, (0.5,), "a|b|c", (0.5, float("nan"), 0.5), None):
        with pytest.raises(ConfigurationError, match="three finite numbers"):
            loaded(path, mean=wrong)
    with pytest.raises(ConfigurationError, match="above 0"):
        loaded(path, std=(0, 0, 0))


def test_everything_that_decides_an_answer_is_in_the_fingerprint(tmp_path: Path) -> None:
    """`top`, class names (those in the middle of an array too), normalisation, and weights as they are now."""
    path = saved(tmp_path / "net.pth")
    names = np.array([f"c{number}" for number in range(2000)])
    other = names.copy()
    other[1000] = "elsewhere"
    nets = [
        loaded(path),
        loaded(path, top=1),
        loaded(path, class_names=names),
        loaded(path, class_names=other),
    ]
    nets.append(loaded(path, mean=(0, 0, 0)))
    changed = loaded(path)
    next(changed.module.parameters()).data.add_(1e-3)
    prints = [net.card.fingerprint for net in [*nets, changed]]
    assert len(set(prints)) == len(prints)
    assert loaded(path, top=5).card.fingerprint == prints[0]


def test_what_is_on_disk_keeps_its_name(tmp_path: Path) -> None:
    """The bundled model, and a checkpoint with the usual settings, are named as they have always been."""
    bundled = adapters.load("torchvision").card.fingerprint
    assert bundled == (
        "cifar10@814f83a676209170a7b22acb276223aafb6e9f5314389df6d9fd627706cff71b/fp32/cpu"
    ) or bundled.endswith("/bf16/cpu")
    path = tmp_path / "net.safetensors"
    names, digest = list("abcdefg"), "d5683047d9d9dc91"
    assert loaded(saved(path), class_names=names, mean=(0, 0, 0)).card.fingerprint.startswith(
        f"squeezenet1_1/{digest}"
    )


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self._folder,)


def test_the_refusal_of_a_pickle_does_not_say_how_to_run_it(tmp_path: Path) -> None:
    """Nor does what torch said stand behind the error, with its advice to load it all the same."""
    torch.save({"a": Trap(tmp_path / "ran")}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="none of its code was run") as caught:
        loaded(tmp_path / "net.pth")
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not (tmp_path / "ran").exists()


def shapes(network: torch.nn.Module) -> dict[str, Any]:
    """What a network is made of, without the heads that only training uses."""
    heads = ("aux1.", "aux2.", "AuxLogits.")
    return {name: value.shape for name, value in network.state_dict().items() if not name.startswith(heads)}


#: One of each builder that can be called without memory for its weights; a RegNet's cannot, and takes nothing else.
BUILDERS = (
    "alexnet", "convnext_tiny", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0",
    "swin_t", "swin_v2_t", "vgg11", "vit_b_16", "vit_h_14",
)  # fmt: skip


@pytest.mark.parametrize("arch", BUILDERS)
def test_a_network_is_built_as_its_weights_need(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each architecture torchvision's own builder, given the default weights, makes the same network."""
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *_, **__: {})
    weights = models.get_model_weights(arch).DEFAULT
    with torch.device("meta"):
        theirs = models.get_model(arch, weights=weights).eval()
        ours = models.get_model(arch, weights=None, **torchvision._made_for(arch, weights))
    assert shapes(ours) == shapes(theirs)
    assert getattr(ours, "transform_input", None) == getattr(theirs, "transform_input", None)


def test_a_network_by_name_scales_its_input_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its answers are not mixed with those kept of one that did not."""
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *_, **__: {})
    model = adapters.load("torchvision", model="googlenet")
    assert model.module.network.transform_input  # type: ignore[attr-defined]
    assert model.card.fingerprint.removesuffix("/cpu").endswith("-1378be20/scaled")


@pytest.mark.parametrize("arch", ["inception_v3", "googlenet"])
def test_a_downloaded_file_of_torchvision_is_known(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as a file, torchvision's weights get the network they need; anybody else's get the plain one."""
    weights = models.get_model_weights(arch).DEFAULT
    digest = Path(weights.url).stem.rpartition("-")[2]
    assert torchvision._weights_of(models, arch, digest + "0" * 56) is weights
    assert torchvision._weights_of(models, arch, "0" * 64) is None
    assert torchvision._made_for(arch, weights)["transform_input"]


def test_sides_that_a_network_cannot_take_are_a_setting(tmp_path: Path) -> None:
    """What fails for the size of the image alone is told as that, not as a failure of the model."""
    model = loaded(saved(tmp_path / "net.pth", "vgg11"), "vgg11")
    with pytest.raises(ConfigurationError, match=r"no images of 8×8 .*--size 224"):
        model.label(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (8, 8), (9, 9), (33, 31)])
def test_the_bundled_classifier_takes_every_size(size: tuple[int, int]) -> None:
    """Images too small for its patches are enlarged by a whole factor; others come as they are."""
    answers = adapters.load("torchvision").label(torch.rand(2, 3, *size))
    assert all(len(answer.labels) == 5 for answer in answers)
