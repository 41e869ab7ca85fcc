"""Providers in this process, and how answers are read as classes."""

from __future__ import annotations

import inspect
import pickle
import sys
import tomllib
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

from api_smoothing import LabelMap, adapters
from api_smoothing.adapters import Adapter, Answer, Credentials, Label, Provider, registry
from api_smoothing.adapters.labels.label_map import top_label
from api_smoothing.adapters.local.adapter import ModuleAdapter, micro_batch, run_in_micro_batches
from api_smoothing.adapters.provider import resolve
from api_smoothing.engine.estimate.pricing import prices_of
from api_smoothing.errors import ConfigurationError, ProviderError, WeightsError
from api_smoothing.sandbox.vocabulary import read_vocabulary

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def answer(*labels: tuple[str, float | None]) -> Answer:
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in labels))


def test_top_label_is_the_best_scored_whatever_the_order() -> None:
    """The class without a map is the label of highest score, not the first listed."""
    assert top_label(answer(("Vehicle", 0.9), ("Car", 0.95))) == "Car"


def test_top_label_breaks_ties_by_a_fixed_rule() -> None:
    """Equal scores in any order give the same class."""
    tied = [("Vehicle", 1.0), ("Car", 1.0), ("Sedan", 1.0)]
    assert {top_label(answer(*tied[i:], *tied[:i])) for i in range(3)} == {"Car"}


def test_top_label_of_nothing_is_nothing() -> None:
    """An empty answer is "no label", which is no class."""
    assert top_label(Answer(labels=())) is None


def write_map(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, "utf-8")
    return path


def test_label_map_reads_names_ids_thresholds_and_ties(tmp_path: Path) -> None:
    """Names match in any case, ids too; low scores are not seen; ties go to the class named first."""
    path = write_map(
        tmp_path,
        'other = "other"\n[classes.car]\nlabels = ["Car", "/m/0k4j"]\nthreshold = 0.5\n'
        '[classes.cat]\nlabels = ["cat"]\n',
    )
    read = LabelMap.load(path)
    assert read(answer(("CAR", 0.6), ("cat", 0.55))) == "car"
    assert read(Answer(labels=(Label(name="Auto", score=0.7, id="/m/0k4j"),))) == "car"
    assert read(answer(("car", 0.4), ("cat", 0.3))) == "cat"
    assert read(answer(("cat", 0.8), ("car", 0.8))) == "car"
    assert read(answer(("tree", 0.9))) == "other"


def test_label_map_digest_covers_all_that_decides(tmp_path: Path) -> None:
    """Changing a label, a threshold, the order or the rest class changes the map's sha256."""
    texts = [
        '[classes.a]\nlabels = ["x"]\n[classes.b]\nlabels = ["y"]\n',
        '[classes.b]\nlabels = ["y"]\n[classes.a]\nlabels = ["x"]\n',
        '[classes.a]\nlabels = ["z"]\n[classes.b]\nlabels = ["y"]\n',
        '[classes.a]\nlabels = ["x"]\nthreshold = 0.1\n[classes.b]\nlabels = ["y"]\n',
        'other = "o"\n[classes.a]\nlabels = ["x"]\n[classes.b]\nlabels = ["y"]\n',
    ]
    assert len({LabelMap.load(write_map(tmp_path, text)).sha256 for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[classes",
        "[classes.a]\nlabels = []",
        "[classes.a]\nlabels = [1]",
        '[classes.a]\nlabels = ["x"]\nthreshold = 2',
    ],
)
def test_bad_label_maps_are_refused(tmp_path: Path, text: str) -> None:
    """A map that cannot be meant is an error in one line that names the file."""
    with pytest.raises(ConfigurationError, match=r"map\.toml"):
        LabelMap.load(write_map(tmp_path, text))


def test_built_in_map_covers_the_ten_classes() -> None:
    """The built-in cifar10 map reads ImageNet categories as the ten classes, in their order."""
    read = LabelMap.load("cifar10")
    assert tuple(read.classes) == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    assert read(answer(("tabby", 0.4), ("Egyptian cat", 0.3))) == "cat"
    assert read(answer(("strawberry", 0.9))) is None


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """A misspelt provider or map gets the name that was probably meant."""
    with pytest.raises(ConfigurationError, match="torchvision"):
        adapters.load("torchvison")
    with pytest.raises(ConfigurationError, match="cifar10"):
        LabelMap.load("cifar")


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> types.ModuleType:
    """Entry points of a module `acme`, which is returned to be filled."""
    module = types.ModuleType("acme")
    monkeypatch.setitem(sys.modules, "acme", module)
    found = {n: EntryPoint(name=n, value=value, group=registry.GROUP) for n, value in points.items()}
    monkeypatch.setattr(registry, "_plugins", lambda: found)
    return module


def test_plugins_add_names_and_never_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point makes a new name loadable; one that takes a built-in name is ignored."""
    module = install(monkeypatch, acme="acme:load", torchvision="acme:load")
    module.load = lambda **options: options  # type: ignore[attr-defined]
    assert adapters.names() == ["torchvision", "aws", "azure", "google", "clarifai", "http", "acme"]
    assert adapters.load("acme", key=1) == {"key": 1}
    assert isinstance(adapters.load("torchvision"), ModuleAdapter)


def test_a_plugin_may_declare_itself_or_only_what_makes_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point names a Provider, or a callable, to which everything else is default."""
    module = install(monkeypatch, acme="acme:PROVIDER", bare="acme:make")
    module.make = lambda **options: options  # type: ignore[attr-defined]
    module.credentials = lambda: None  # type: ignore[attr-defined]
    module.PROVIDER = Provider(name="acme", load="acme:make", vocabulary=True)  # type: ignore[attr-defined]
    assert registry.provider("acme") is module.PROVIDER
    assert registry.provider("bare") == Provider(
        name="bare", load="acme:make", credentials="acme:credentials"
    )
    assert "acme" in registry.vocabularies()
    assert "bare" not in registry.vocabularies()
    assert adapters.load("acme", key=1) == adapters.load("bare", key=1) == {"key": 1}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("acme:PROVIDER", "'other'"),
        ("acme:missing", "missing"),
        ("acme:__name__", "neither a Provider nor"),
        ("no_such_module:x", "uninstall"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_line(
    value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that fails to import, or declares another name, is told in one line, and hides no other provider."""
    module = install(monkeypatch, acme=value)
    module.PROVIDER = Provider(name="other", load="acme:make")  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=says) as error:
        adapters.load("acme")
    assert "\n" not in str(error.value)
    assert [found.name for found in registry.declared()] == list(registry.BUILT_IN)
    assert registry.find("nobody") is None


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_what_a_built_in_provider_declares_is_there(name: str) -> None:
    """Its loader and credentials, its extra, its prices under its own name, its filter, its sandbox and vocabulary."""
    found = registry.provider(name)
    options = inspect.signature(resolve(found.load)).parameters
    assert ("device" in options) == found.local
    assert ("only" in options) == (found.filter is not None)
    assert found.credentials is None or isinstance(resolve(found.credentials)(), Credentials)
    assert found.extra in tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(prices_of(found)) == {key for key in prices_of(found) if key.startswith(f"{name}/")}
    assert (found.prices is None) == (not prices_of(found))
    if found.sandbox is not None:
        assert found.sandbox.options("http://127.0.0.1:9", "k").keys() <= options.keys() or name == "http"
        assert found.sandbox.vocabulary is None or read_vocabulary(found.sandbox.vocabulary).words


def test_bundled_classifier_is_an_adapter() -> None:
    """The bundled model answers with its five best of ten labels and softmax scores."""
    adapter = adapters.load("torchvision")
    assert isinstance(adapter, Adapter)
    (found,) = adapter.label(torch.full((1, 3, 32, 32), 0.5))
    assert len(found.labels) == 5
    assert found.labels[0].score == max(label.score or 0 for label in found.labels)
    assert len(adapter.card.labels or ()) == 10


def test_answers_do_not_depend_on_the_batch() -> None:
    """An image's scores are the same bits whatever else is in its batch."""
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 9)
    )
    x = torch.rand(70, 3, 32, 32)
    with torch.inference_mode():
        whole = run_in_micro_batches(network, x, 32)
        parts = torch.cat([run_in_micro_batches(network, x[i : i + 7], 32) for i in range(0, 70, 7)])
    assert torch.equal(whole, parts)


def test_large_images_are_padded_to_fewer() -> None:
    """64 small images at once on a processor, 8 of 224×224: a request for one must not cost 64 of those."""
    assert [micro_batch("cpu", side * side) for side in (32, 64, 128, 224, 1024)] == [64, 64, 16, 8, 8]
    assert [micro_batch("cuda", side * side) for side in (32, 224)] == [256, 32]
    rows: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return x.mean((1, 2, 3))

    for side, count in ((224, 9), (32, 9)):
        run_in_micro_batches(network, torch.zeros(count, 3, side, side))
    assert rows == [8, 8, 64]


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
