"""The classifier that is defended, whatever it is given as: scores with gradients, and what its classes are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter
from api_smoothing.attacks.losses import Model
from api_smoothing.datasets import DataSet, Example, Truths, map_truths
from api_smoothing.digests import sha256_of, weights_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.purification import load_named_classifier

_CHECKPOINTS = (".pth", ".pt", ".th", ".safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Images (N,3,H,W) in [0,1] → `scores` (N, classes), logits or log-probabilities, with gradients.

    `names` are the classes' in their order, None where they are numbers only. `identity` tells it from others.
    """

    name: str
    scores: Model
    names: tuple[str, ...] | None
    identity: str

    def class_name(self, number: int) -> str:
        """What class `number` is called."""
        return str(number) if self.names is None else self.names[number]


def classifier_of(model: Any, *, class_names: Sequence[str] | None = None, device: str = "cpu") -> Classifier:
    """`model` as a name, weights FOLDER/NAME, an nn.Module, a callable, or an adapter that gives scores.

    Raises ConfigurationError for a service, which gives none, and what loading raises.
    """
    name = ""
    if isinstance(model, str | Path):
        name = str(model)
        if Path(name).name == name or name.endswith(_CHECKPOINTS):
            from api_smoothing.adapters.local import torchvision

            model = torchvision.load(model=name, device=device, class_names=class_names)
        else:
            model, named = load_named_classifier(name, device)
            class_names = named if class_names is None else class_names
    if isinstance(model, nn.Module):
        model = ModuleAdapter(model, device=device, class_names=class_names)
    elif callable(model) and not hasattr(model, "card"):
        model = CallableAdapter(model, class_names=class_names)
    scores = getattr(model, "scores", None)
    if scores is None:
        raise ConfigurationError(
            "defences are compared on a classifier of this process that gives scores: a name such as cifar10, an "
            f"nn.Module, or a callable, not {type(model).__name__}"
        )
    card = model.card
    names = class_names if class_names is not None else card.labels
    return Classifier(
        name=name or card.name,
        scores=lambda images: _there(scores(images), images),
        names=None if names is None else tuple(names),
        identity=card.fingerprint or f"{card.name}@{sha256_of(weights_of(model))[:16]}",
    )


def _there(scores: Tensor, images: Tensor) -> Tensor:
    if not bool(scores.isfinite().all()):
        raise ConfigurationError(
            "the model gives scores that are no finite numbers: nothing can be compared on it"
        )
    return scores.to(images.device)


class Targets:
    """The class that an image ought to get: the number of the column of scores."""

    def __init__(self, data: DataSet, classifier: Classifier) -> None:
        labelled = {example.truth for example in data if example.truth is not None}
        numbers = all(word.isascii() and word.isdigit() for word in labelled)
        self._names = classifier.names or (None if numbers else data.classes)
        self._truths: Truths = map_truths(data, None, self._names)
        self.told: tuple[str, ...] = self._truths.told if self._names is not None else ()
        self.labelled = bool(labelled)
        if labelled and classifier.names is None and not numbers:
            self.told = (
                *self.told,
                "the model's classes have no names: the data set's stand for them, in its order",
            )

    def of(self, example: Example) -> int | None:
        """None where it has no label, or one that is no class."""
        found = self._truths.of(example)
        if found is None:
            return None
        return int(found) if self._names is None else self._names.index(found)
