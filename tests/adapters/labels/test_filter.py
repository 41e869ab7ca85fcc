"""A closed set on the server's side: what `only` has a service look for, and that a map reads the same class."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.adapters import Answer, EncodedImage, LabelMap, load
from api_smoothing.adapters.labels.file import parse
from api_smoothing.adapters.labels.filter import filter_of
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import CLASSES

SDKS = {"aws": "boto3", "clarifai": "clarifai_grpc"}
CIFAR10 = LabelMap.load("cifar10")
SIDE = 80


def scores_of(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Ten scores drawn from an image's pixels, of which some are equal."""
    draw = np.random.default_rng(int(pixels.astype(np.int64).sum()))
    return dict(zip(CLASSES, np.round(draw.dirichlet(np.full(10, 0.3)), 2).tolist(), strict=True))


def image(seed: int) -> EncodedImage:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return EncodedImage(data=file.getvalue(), height=SIDE, width=SIDE)


@pytest.fixture(params=list(SDKS))
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A service that applies filters, of each kind."""
    pytest.importorskip(SDKS[request.param])
    with Sandbox(request.param, classifier=lambda images: [scores_of(pixels) for pixels in images]) as server:
        yield server


@pytest.fixture
def on_the_wire(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The filters of the requests as the server reads them."""
    seen: list[list[str]] = []
    if sandbox.provider == "aws":
        wire = importlib.import_module("api_smoothing.adapters.aws.wire")
        settings: Callable[..., dict[str, Any]] = wire.read_settings

        def read(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
            found = settings(operation, body)
            seen.append(list(found.get("LabelInclusionFilters", [])))
            return found

        monkeypatch.setattr(wire, "read_settings", read)
        return seen
    front = importlib.import_module("api_smoothing.sandbox.clarifai")
    chosen = front.Front._chosen

    def choose(self: Any, config: Any, *rest: Any) -> Any:
        seen.append([concept.name or concept.id for concept in config.select_concepts])
        return chosen(self, config, *rest)

    monkeypatch.setattr(front.Front, "_chosen", choose)
    return seen


def answers(sandbox: Sandbox, count: int, **options: Any) -> list[Answer]:
    """What the service says about images 0, 1, …"""
    adapter = load(sandbox.provider, **sandbox.options(), **options)
    found = [adapter.label([image(seed)])[0] for seed in range(count)]
    assert all(isinstance(answer, Answer) for answer in found)
    return [answer for answer in found if isinstance(answer, Answer)]


def test_a_map_goes_to_the_server_as_its_filter(sandbox: Sandbox, on_the_wire: list[list[str]]) -> None:
    """The labels a map is made of travel with each request, and no others come back."""
    names = CIFAR10.names_for(sandbox.provider)
    for answer in answers(sandbox, 3, only=CIFAR10):
        assert answer.labels
        assert {label.name for label in answer.labels} <= set(names)
    assert on_the_wire == [names] * 3
    answers(sandbox, 1)
    assert on_the_wire[-1] == []


def test_the_class_is_the_same_with_and_without_it(sandbox: Sandbox) -> None:
    """Where nothing is cut off, a map reads one class from the filtered answer and from the whole one."""
    read = CIFAR10.for_provider(sandbox.provider)
    whole = [read(answer) for answer in answers(sandbox, 30, max_labels=200)]
    assert [read(answer) for answer in answers(sandbox, 30, max_labels=200, only=CIFAR10)] == whole
    assert len(set(whole)) > 3


def test_it_saves_what_would_be_cut_off(sandbox: Sandbox) -> None:
    """Among few labels the generic ones leave no place for a class; filtered, each image has the whole answer's."""
    read = CIFAR10.for_provider(sandbox.provider)
    whole = [read(answer) for answer in answers(sandbox, 10, max_labels=200)]
    cut = [read(answer) for answer in answers(sandbox, 10, max_labels=1)]
    assert cut != whole
    assert [read(answer) for answer in answers(sandbox, 10, max_labels=1, only=CIFAR10)] == whole


@pytest.mark.parametrize("provider", list(SDKS))
def test_it_is_part_of_the_question(provider: str) -> None:
    """Answers to a filtered question are kept apart from those to the whole one, and from those of other filters."""
    coarse = LabelMap.load("imagenet-coarse")
    prints = [load(provider, only=only).card.fingerprint for only in ([], CIFAR10, coarse)]
    assert len(set(prints)) == 3
    same = load(provider, only=CIFAR10.names_for(provider)).card
    assert load(provider, only=CIFAR10).card == same


def map_of(**classes: Any) -> LabelMap:
    return LabelMap(**parse({"classes": classes}, "pets.toml"))


def test_ids_stand_in_for_labels_where_the_service_takes_them() -> None:
    """A class that has only ids is asked for by them, or the filter is refused: without it the class could not win."""
    pets = map_of(cat={"clarifai": {"ids": ["ai_mFqxrph2"]}}, dog={"labels": ["dog", "puppy"]})
    assert filter_of(pets, "clarifai") == ("dog", "puppy", "ai_mFqxrph2")
    with pytest.raises(ConfigurationError, match="class cat has no labels that aws"):
        filter_of(pets, "aws")


def test_a_map_that_filtered_answers_would_change_is_refused() -> None:
    """Nothing found and nothing known look the same in a filtered answer, so a map must not tell them apart."""
    content: dict[str, Any] = {"classes": {"cat": {"labels": ["cat"]}}, "none": "empty"}
    with pytest.raises(ConfigurationError, match="none = 'empty'"):
        filter_of(LabelMap(**parse(content, "cats.toml")), "clarifai")
    same = LabelMap(**parse({**content, "other": "empty"}, "cats.toml"))
    assert filter_of(same, "clarifai") == ("cat",)


def test_the_command_line_takes_the_map_it_reads_by(
    sandbox: Sandbox,
    on_the_wire: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--options only=map` filters by the map of --labels; it is never applied unasked, nor without a map."""
    monkeypatch.chdir(tmp_path)
    Path("x.png").write_bytes(image(3).data)
    explain = ["labels", "explain", "x.png", "--provider", sandbox.provider, "--sandbox", "--json"]
    labels = ["--labels", "cifar10"]
    assert main([*explain, *labels]) == 0
    assert main([*explain, *labels, "--options", "only=map"]) == 0
    whole, filtered = map(json.loads, capsys.readouterr().out.splitlines())
    assert on_the_wire == [[], CIFAR10.names_for(sandbox.provider)]
    assert filtered["class"] == whole["class"]
    assert all(row["counts_for"] for row in filtered["labels"] if row["score"])
    assert main([*explain, "--options", "only=map"]) == 2
    assert "--labels" in capsys.readouterr().err
