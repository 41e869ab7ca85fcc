"""What an attack with gradients differentiates: an image as it was given → size, noise, denoiser, 8 bits → scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import first_label
from api_smoothing.attacks.losses import Model
from api_smoothing.denoisers.gradients import differentiable, straight_through
from api_smoothing.errors import ConfigurationError
from api_smoothing.resize import cover

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.smoothed import SmoothedAPI


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """Images (N,C,h,w) in [0,1] of one size, grey (C = 1) or RGB → scores (N, classes) of `classes`, with gradients.

    `size` is (H, W) of what enters the noise, None where that is the image itself. With `sigma` each call draws
    Gaussian noise of that standard deviation, anew for every row, and the denoiser takes it away; without, the
    classifier is asked as it is. Steps without a gradient (8 bits, a denoiser that has none) pass it straight through.
    `columns` names the class of each column of the classifier's scores, None of one that counts for no class; left out,
    classes are their numbers.
    """

    classifier: Model
    columns: tuple[str | None, ...] | None = None
    denoiser: Denoiser | None = None
    sigma: float | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    _draw: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin the noise."""
        object.__setattr__(self, "_draw", torch.Generator().manual_seed(self.seed))

    @property
    def classes(self) -> tuple[str | None, ...]:
        """What the scores are of, in order; None, where it is among them, stands for "no label"."""
        return tuple(dict.fromkeys(self.columns or ()))

    def index(self, label: str) -> int:
        """The column of a class. Raises ConfigurationError for one that is none."""
        if self.columns is None and label.isdecimal():
            return int(label)
        if label not in self.classes:
            raise ConfigurationError(f"the classifier that is attacked has no class {label!r}")
        return self.classes.index(label)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Scores (N, classes): of several columns of one class the best."""
        if self.size is not None and self.size != tuple(x.shape[2:]):
            x = resized(x, self.size)
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.sigma is not None:
            x = self._denoised(x, self.sigma)
        scores = self.classifier(on_8_bits(x)).to(x.device)
        if self.columns is None or len(self.classes) == len(self.columns) == scores.shape[1]:
            return scores
        if scores.shape[1] != len(self.columns):
            raise ConfigurationError(
                f"the classifier that is attacked gave {scores.shape[1]} scores for {len(self.columns)} names"
            )
        owners = [[i for i, owner in enumerate(self.columns) if owner == name] for name in self.classes]
        return torch.stack([scores[:, columns].max(1).values for columns in owners], 1)

    def _denoised(self, x: Tensor, sigma: float) -> Tensor:
        noisy = x + sigma * torch.randn(x.shape, generator=self._draw).to(x)
        return noisy if self.denoiser is None else differentiable(self.denoiser, noisy, sigma)


def on_8_bits(x: Tensor) -> Tensor:
    """X clipped to [0,1] and rounded to multiples of 1/255, half up; the rounding passes the gradient on."""
    x = x.clamp(0, 1)
    return straight_through(x, (x * 255 + 0.5).floor() / 255)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """T(x) (N,C,H,W), the very map that images are loaded with (`resize.cover`), in floating point."""
    height, width = x.shape[2:]
    map_ = cover((height, width), size)
    rows, columns = (
        torch.from_numpy(axis.matrix()).to(x.device, x.dtype) for axis in (map_.rows, map_.columns)
    )
    return torch.einsum("Hh,nchw,Ww->ncHW", rows, x, columns)


def victim_of(api: SmoothedAPI, *, smoothed: bool, seed: int = 0) -> Victim:
    """What `api` asks, to be attacked with gradients. Raises ConfigurationError where it has none to give."""
    scores = getattr(api.adapter, "scores", None)
    if scores is None:
        raise ConfigurationError(
            f"{api.card.name} gives no gradients: attack it by its answers (square, hopskipjump), or a local model"
        )
    if smoothed and api.noise != "gaussian":
        raise ConfigurationError(
            f"attacks on the smoothed classifier are for Gaussian noise, whose radius is ℓ2, not {api.noise}"
        )
    size = api.size
    return Victim(
        classifier=scores,
        columns=columns_of(api),
        denoiser=api.denoiser if smoothed else None,
        sigma=api.sigma if smoothed else None,
        size=(size, size) if isinstance(size, int) else size,
        seed=seed,
    )


def columns_of(api: SmoothedAPI) -> tuple[str | None, ...] | None:
    """The class that each column of scores stands for, as answers are read; None: its number."""
    names = api.card.labels
    if names is None and api.label_map is not None:
        raise ConfigurationError("a label map needs names to read: give the model class_names=")
    if names is None:
        return None
    read: Callable[[Answer], Any] = first_label if api.label_map is None else api.label_map
    votes = [read(Answer(labels=(Label(name=name, score=1.0),))) for name in names]
    return tuple(None if vote is None else str(vote) for vote in votes)
