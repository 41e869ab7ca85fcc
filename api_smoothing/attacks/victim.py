"""What an attack with gradients differentiates: an image as it was given → size, noise, denoiser, 8 bits → scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import first_label
from api_smoothing.attacks.losses import Model
from api_smoothing.attacks.twins import Twin, best_of, resized, together
from api_smoothing.denoisers.gradients import straight_through, traced
from api_smoothing.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.smoothed import SmoothedAPI

#: Which chance a reverse path has while it is attacked.
Path: TypeAlias = Literal["resampled", "fixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """Images (N,C,h,w) in [0,1] of one size, grey (C = 1) or RGB → scores (N, classes) of `classes`, with gradients.

    `size` is (H, W) of what enters the noise, None where that is the image itself. With `sigma` each call draws
    Gaussian noise of that standard deviation, anew for every row, and the denoiser takes it away; without, the
    classifier is asked as it is. Steps without a gradient (8 bits, a denoiser that has none) pass it straight through.
    `columns` names the class of each column of the classifier's scores, None of one that counts for no class; left out,
    classes are their numbers. `of` names the models, where they are not the ones that are asked.

    A reverse path has chance of its own, which gradients hold fixed: "resampled" it is another one for each draw of the
    noise, as where it is certified; "fixed" it is one for all, which is another defence, whose gradients agree more.
    """

    classifier: Model
    columns: tuple[str | None, ...] | None = None
    denoiser: Denoiser | None = None
    sigma: float | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    path: Path = "resampled"
    of: str = ""
    _draw: torch.Generator = field(init=False, repr=False)
    _untrue: list[bool] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        """Check the path, and begin the noise."""
        if self.path not in get_args(Path):
            raise ConfigurationError(unknown("path", self.path, list(get_args(Path))))
        object.__setattr__(self, "_draw", torch.Generator().manual_seed(self.seed))

    @property
    def classes(self) -> tuple[str | None, ...]:
        """What the scores are of, in order; None, where it is among them, stands for "no label"."""
        return tuple(dict.fromkeys(self.columns or ()))

    def knows(self, label: str) -> bool:
        """Whether it is one of the classes."""
        return self.columns is None or label in self.classes

    def index(self, label: str) -> int:
        """The column of a class. Raises ConfigurationError for one that is none."""
        if self.columns is None and label.isdecimal():
            return int(label)
        if label not in self.classes:
            raise ConfigurationError(f"the classifier that is attacked has no class {label!r}")
        return self.classes.index(label)

    @property
    def said(self) -> str:
        """Which gradients were followed: of what, true or straight through the denoiser, along which path."""
        parts = [f"gradients of {self.of}" if self.of else "its own gradients"]
        if self.denoiser is not None:
            parts.append("straight through the denoiser" if self._untrue else "true ones of the denoiser")
            if has_path(self.denoiser):
                parts.append(f"{self.path} path")
        return ", ".join(parts)

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
        return best_of(scores, self.columns, self.classes)

    def _denoised(self, x: Tensor, sigma: float) -> Tensor:
        noisy = x + sigma * torch.randn(x.shape, generator=self._draw).to(x)
        if self.denoiser is None:
            return noisy
        out, true = traced(self.denoiser, noisy, sigma, fixed_path=self.path == "fixed")
        if not true and not self._untrue:
            self._untrue.append(True)
        return out


def has_path(denoiser: Denoiser) -> bool:
    """Whether it goes a reverse path with chance of its own."""
    told = denoiser.card.training
    return "sampler" in told and told.get("steps", 1) > 1 and told.get("eta", 1) != 0


def on_8_bits(x: Tensor) -> Tensor:
    """X clipped to [0,1] and rounded to multiples of 1/255, half up; the rounding passes the gradient on."""
    x = x.clamp(0, 1)
    return straight_through(x, (x * 255 + 0.5).floor() / 255)


def victim_of(
    api: SmoothedAPI,
    *,
    smoothed: bool,
    seed: int = 0,
    twins: Sequence[Twin] = (),
    path: Path = "resampled",
) -> Victim:
    """What `api` asks, to be attacked with gradients: its own model's, or those of `twins` in its place.

    Raises ConfigurationError where there are none.
    """
    scores = getattr(api.adapter, "scores", None)
    if scores is None and not twins:
        raise ConfigurationError(
            f"{api.card.name} gives no gradients: attack it by its answers (square, hopskipjump), by the gradients of "
            "local models in its place (--from, twins=), or a local model"
        )
    if smoothed and api.noise != "gaussian":
        raise ConfigurationError(
            f"attacks on the smoothed classifier are for Gaussian noise, whose radius is ℓ2, not {api.noise}"
        )
    size = api.size
    model, columns = together(twins, api.label_map) if twins else (scores, columns_of(api))
    assert model is not None
    return Victim(
        classifier=model,
        columns=columns,
        denoiser=api.denoiser if smoothed else None,
        sigma=api.sigma if smoothed else None,
        size=(size, size) if isinstance(size, int) else size,
        seed=seed,
        path=path,
        of=", ".join(twin.name for twin in twins),
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
