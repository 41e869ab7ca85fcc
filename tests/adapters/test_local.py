"""Models that run here: modules, the bundled classifier, checkpoints that carry no code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from api_smoothing import adapters
from api_smoothing.adapters import Adapter
from api_smoothing.adapters.local.adapter import ModuleAdapter
from api_smoothing.errors import ConfigurationError, ProviderError, WeightsError


def test_bundled_classifier_is_an_adapter() -> None:
    """The bundled model answers with its five best of ten labels and softmax scores."""
    adapter = adapters.load("torchvision")
    assert isinstance(adapter, Adapter)
    (found,) = adapter.label(torch.full((1, 3, 32, 32), 0.5))
    assert len(found.labels) == 5
    assert found.labels[0].score == max(label.score or 0 for label in found.labels)
    assert len(adapter.card.labels or ()) == 10


def test_module_must_be_a_classifier() -> None:
    """A network that returns anything but (N, classes) is refused with the shape it returned."""
    with pytest.raises(ProviderError, match=r"\(32, 3|\(1, 3|shape"):
        ModuleAdapter(nn.Identity()).label(torch.zeros(1, 3, 8, 8))


def test_too_few_class_names_are_refused() -> None:
    """Class names must cover every score."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ConfigurationError, match="3 classes but 2"):
        ModuleAdapter(network, class_names=("a", "b")).label(torch.zeros(1, 3, 2, 2))


def test_checkpoint_loads_with_its_architecture(tmp_path: Path) -> None:
    """A state dict gives the scores of the network it came from, DataParallel prefix and fp16 included."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=7).eval()
    path = tmp_path / "net.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    adapter = adapters.load(
        "torchvision", model=path, arch="squeezenet1_1", mean=(0, 0, 0), std=(1, 1, 1), top=7
    )
    x = torch.rand(2, 3, 64, 64)
    want = network(x).softmax(1)[0]
    got = {label.name: label.score for label in adapter.label(x)[0].labels}
    for i in range(7):
        assert got[str(i)] == pytest.approx(want[i].item(), abs=1e-3)


def test_checkpoint_without_architecture_says_what_is_missing(tmp_path: Path) -> None:
    """Weights alone do not say which network they are for."""
    torch.save({}, tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match="arch="):
        adapters.load("torchvision", model=tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match="no checkpoint at"):
        adapters.load("torchvision", model=tmp_path / "none.pth")


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_malicious_checkpoint_is_refused(tmp_path: Path) -> None:
    """A checkpoint with code in it is an error in one line, and the code does not run."""
    pytest.importorskip("torchvision")
    mark = tmp_path / "executed"
    (tmp_path / "net.pth").write_bytes(pickle.dumps(Bomb(str(mark))))
    with pytest.raises(WeightsError, match="safely") as caught:
        adapters.load("torchvision", model=tmp_path / "net.pth", arch="resnet18")
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Weights of another architecture are an error in one line."""
    models = pytest.importorskip("torchvision.models")
    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="does not fit resnet18") as caught:
        adapters.load("torchvision", model=tmp_path / "net.pth", arch="resnet18")
    assert "\n" not in str(caught.value)
