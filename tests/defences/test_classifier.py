"""Whatever the classifier is given as, it has scores, names and an identity; labels find their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_defences import NAMES, Toy, pictures, tensor

from api_smoothing.convnet import CLASSES
from api_smoothing.datasets import open_dataset
from api_smoothing.defences.classifier import Targets, classifier_of
from api_smoothing.errors import ConfigurationError


def test_a_module_a_function_and_an_adapter() -> None:
    """All give the same scores, with gradients."""
    from api_smoothing.adapters.local.adapter import ModuleAdapter

    net = Toy()
    for given in (net, lambda x: net(x), ModuleAdapter(net, class_names=NAMES)):
        found = classifier_of(given, class_names=NAMES)
        assert found.names == NAMES
        torch.testing.assert_close(found.scores(tensor()), net(tensor()))
        assert found.scores(tensor().requires_grad_()).requires_grad


def test_by_name() -> None:
    """The bundled one has CIFAR-10's names."""
    found = classifier_of("cifar10")
    assert (found.name, found.names) == ("cifar10", CLASSES)
    assert "cifar10@" in found.identity


def test_weights_in_a_folder(shared: Path) -> None:
    """FOLDER/NAME has the names of the data set it was trained for."""
    found = classifier_of(str(shared / "data" / "weights" / "resnet20"))
    assert found.names == CLASSES
    assert (found.class_name(3), classifier_of(Toy()).class_name(1)) == ("cat", "1")
    assert found.scores(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_other_weights_are_another_classifier() -> None:
    """Told by their digest."""
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert classifier_of(first).identity != classifier_of(second).identity
    assert classifier_of(first).identity == classifier_of(first).identity


def test_what_gives_no_scores_is_refused() -> None:
    """A service, or nothing of the sort."""
    with pytest.raises(ConfigurationError, match="classifier of this process"):
        classifier_of(3)


@pytest.mark.parametrize(
    ("labels", "names", "wanted"),
    [
        (("down", "up"), NAMES, [1, 0]),
        (("1", "0"), None, [1, 0]),
        (("1", "0"), NAMES, [1, 0]),
        (("dog", "cat"), None, [1, 0]),  # in the data set's order
        (("down", "sideways"), NAMES, [1, None]),
        ((None, None), NAMES, [None, None]),
    ],
)
def test_labels_find_their_columns(labels: Any, names: Any, wanted: list[int | None]) -> None:
    """By name, by number, or by the order of the data set's classes; what is no class has none."""
    data = open_dataset([(image, label) for (image, _), label in zip(pictures(2), labels, strict=True)])
    targets = Targets(data, classifier_of(Toy(), class_names=names))
    assert [targets.of(example) for example in data] == wanted
    assert targets.labelled == (labels[0] is not None)
