"""Local models whose gradients are followed in place of those of the model that is asked: twins, surrogates.

What fools one network often fools another (Papernot et al. 2016, Liu et al. 2017): a service gives no gradients, a
model like it does. Of several the mean of their log-probabilities is attacked (Liu et al. 2017, section 5.1, with the
logarithm), over the classes that all of them have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.attacks.losses import Model
from api_smoothing.errors import ConfigurationError
from api_smoothing.resize import cover

if TYPE_CHECKING:
    from api_smoothing.adapters.labels.label_map import LabelMap

_LOCAL: Final = "torchvision"  # whose words local networks speak


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A model (N,3,H,W) in [0,1] → scores (N, classes), in words `names`, one a column.

    Images are brought to `side` first, where it was made for one size alone, and to its `device`.
    """

    name: str
    model: Model
    names: tuple[str, ...]
    side: int | None = None
    device: str = "cpu"

    def __call__(self, x: Tensor, /) -> Tensor:
        """Scores (N, classes)."""
        if self.side is not None and tuple(x.shape[2:]) != (self.side, self.side):
            x = resized(x, (self.side, self.side))
        scores = self.model(x.to(self.device)).to(x.device)
        if scores.ndim != 2 or scores.shape[1] != len(self.names):
            raise ConfigurationError(
                f"{self.name} gives scores of shape {tuple(scores.shape)} for {len(self.names)} names"
            )
        return scores


def together(twins: Sequence[Twin], labels: LabelMap | None) -> tuple[Model, tuple[str | None, ...]]:
    """One model of all twins, and the classes of its columns, as answers are read by `labels`.

    Raises ConfigurationError where they have no two classes in common.
    """
    columns = [read_names(twin.names, labels) for twin in twins]
    classes = [
        name for name in dict.fromkeys(columns[0]) if name is not None and all(name in own for own in columns)
    ]
    if len(classes) < 2:
        named = ", ".join(twin.name for twin in twins)
        raise ConfigurationError(
            f"{named}: no two classes in common; name models of the same classes, or give a label map"
        )

    def model(x: Tensor) -> Tensor:
        shares = [
            best_of(twin(x), own, classes).log_softmax(1) for twin, own in zip(twins, columns, strict=True)
        ]
        return torch.stack(shares).mean(0)

    return model, tuple(classes)


def read_names(names: Sequence[str], labels: LabelMap | None) -> tuple[str | None, ...]:
    """The class each name stands for; None of one that counts for none."""
    if labels is None:
        return tuple(names)
    read: Callable[[Answer], str | None] = labels.for_provider(_LOCAL)
    return tuple(
        name if name in labels.classes else read(Answer(labels=(Label(name=name, score=1.0),)))
        for name in names
    )


def best_of(scores: Tensor, columns: Sequence[str | None], classes: Sequence[str | None]) -> Tensor:
    """Scores (N, classes) of scores (N, columns): of several columns of one class the best."""
    owners = [[i for i, owner in enumerate(columns) if owner == name] for name in classes]
    return torch.stack([scores[:, own].max(1).values for own in owners], 1)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """T(x) (N,C,H,W), the very map that images are loaded with (`resize.cover`), in floating point."""
    height, width = x.shape[2:]
    map_ = cover((height, width), size)
    rows, columns = (
        torch.from_numpy(axis.matrix()).to(x.device, x.dtype) for axis in (map_.rows, map_.columns)
    )
    return torch.einsum("Hh,nchw,Ww->ncHW", rows, x, columns)
