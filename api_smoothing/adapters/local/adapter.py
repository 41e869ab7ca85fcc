"""Models in this process: an nn.Module, or any callable that maps a batch of images to labels or scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.errors import ConfigurationError, ProviderError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

#: Local networks run on batches of exactly as many images as these for the device, or up to eight times fewer where
#: the images are large, padded, so that an image's answer cannot depend on how many others were asked with it (float
#: convolutions round differently at other shapes).
_MICRO_BATCH = {"cpu": 64, "cuda": 256}
_SMALL = 64 * 64  # pixels


class CallableAdapter:
    """A function from float32 images (N,3,H,W) in [0,1], on the 8-bit grid, to N labels or (N, classes) scores.

    Labels are str, int or None ("no label"). With scores, the best class is the answer, named by `class_names`
    or by its number. The function is called with exactly the queries that are counted. Without a
    `fingerprint` its answers are cached only as long as this object lives: nothing else could tell whether
    the function has changed.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        *,
        name: str | None = None,
        fingerprint: str | None = None,
        class_names: Sequence[str] | None = None,
        batch: int = 256,
    ) -> None:
        self._function = function
        self._class_names = class_names
        self.card = AdapterCard(
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            fingerprint=fingerprint or "",
            accepts="tensor",
            batch=batch,
            max_labels=1,
            labels=None if class_names is None else tuple(class_names),
        )

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer]:
        import torch

        with torch.inference_mode():
            returned = self._function(images)  # type: ignore[arg-type]
        if isinstance(returned, torch.Tensor) and returned.ndim == 2:
            answers = answers_from_scores(returned.float().cpu().numpy(), self._class_names)
        else:
            labels = returned.tolist() if hasattr(returned, "tolist") else list(returned)
            answers = [self._answer(label) for label in labels]
        if len(answers) != len(images):
            raise ProviderError(
                f"provider {self.card.name} returned {len(answers)} answers for {len(images)} images; return one a row"
            )
        return answers

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL

    def _answer(self, label: object) -> Answer:
        if label is None:
            return Answer(labels=())
        if isinstance(label, int) and not isinstance(label, bool):
            name = str(label) if self._class_names is None else self._class_names[label]
            return Answer(labels=(Label(name=name),))
        if isinstance(label, str) and label:
            return Answer(labels=(Label(name=label),))
        raise ProviderError(
            f"provider {self.card.name} returned {label!r}; a label is a non-empty str, an int, or None"
        )


class ModuleAdapter:
    """A torch classifier (N,3,H,W) in [0,1] → scores (N, classes), run in evaluation mode.

    `top` labels with softmax scores make an answer. Without a `fingerprint` answers are cached only as long
    as this object lives: weights could be hashed, but not the code of `forward`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str | None = None,
        fingerprint: str | None = None,
        class_names: Sequence[str] | None = None,
        native_side: int | None = None,
        device: str = "cpu",
        top: int = 5,
    ) -> None:
        import torch

        self._module = module.eval().to(device)
        self._device = torch.device(device)
        self._class_names = class_names
        self._top = top
        self.card = AdapterCard(
            name=name or type(module).__name__,
            fingerprint=f"{fingerprint}/{self._device.type}" if fingerprint else "",
            accepts="tensor",
            batch=256,
            max_labels=top,
            labels=None if class_names is None else tuple(class_names),
            native_side=native_side,
        )

    @property
    def module(self) -> nn.Module:
        """The classifier itself, on its device."""
        return self._module

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer]:
        import torch

        if not isinstance(images, torch.Tensor):
            raise ConfigurationError("a local model takes a tensor (N,3,H,W), not encoded images")
        with torch.inference_mode():
            scores = run_in_micro_batches(self._module, images.to(self._device))
            if scores.ndim != 2:
                raise ProviderError(
                    f"model {self.card.name} returned shape {tuple(scores.shape)}; a classifier returns (N, classes)"
                )
            probabilities = scores.float().softmax(1).cpu().numpy()
        return answers_from_scores(probabilities, self._class_names, top=self._top)

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def micro_batch(device: str, pixels: int) -> int:
    """How many images of so many pixels go through a network at once; padding to more would only cost."""
    most = _MICRO_BATCH.get(device, 32)
    return min(most, max(most // 8, most * _SMALL // pixels))


def run_in_micro_batches(function: Callable[[Tensor], Tensor], x: Tensor, micro: int | None = None) -> Tensor:
    """`function` over x (N,C,H,W) in batches of exactly `micro` rows, the last one padded with zeros.

    Without `micro` it follows from the device and the size of the images: `micro_batch`.
    """
    import torch

    if micro is None:
        micro = micro_batch(x.device.type, x.shape[-2] * x.shape[-1])
    outputs = []
    for start in range(0, len(x), micro):
        part = x[start : start + micro]
        rows = len(part)
        if rows < micro:
            part = torch.cat([part, part.new_zeros((micro - rows, *part.shape[1:]))])
        part = part.contiguous(memory_format=torch.channels_last)  # another layout would round differently
        outputs.append(function(part)[:rows])
    return torch.cat(outputs) if len(outputs) != 1 else outputs[0]


def answers_from_scores(
    scores: np.ndarray, class_names: Sequence[str] | None, *, top: int = 1
) -> list[Answer]:
    """The `top` best classes of each row of (N, classes) scores, best first; ties go to the lower number."""
    import numpy as np

    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    best = np.take_along_axis(scores, order, axis=1).round(6).tolist()
    names = [str(i) for i in range(scores.shape[1])] if class_names is None else class_names
    if len(names) < scores.shape[1]:
        raise ConfigurationError(
            f"the model has {scores.shape[1]} classes but {len(names)} class names were given; name them all"
        )
    return [
        Answer(labels=tuple(Label(name=names[j], score=score) for j, score in zip(row, values, strict=True)))
        for row, values in zip(order.tolist(), best, strict=True)
    ]


def file_sha256(path: str) -> str:
    """The hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
