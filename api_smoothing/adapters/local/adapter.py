"""Models in this process: an nn.Module, or any callable that maps a batch of images to labels or scores."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from api_smoothing.adapters import Adapter, AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.local.batches import most_at_once, run_in_micro_batches
from api_smoothing.adapters.local.outputs import (
    KEPT_SCORES,
    SAY_SCALE,
    Outputs,
    Row,
    checked_outputs,
    checked_top,
    content,
    names_of,
    read,
    rows_of,
)
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ProviderError
from api_smoothing.precision import kind_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class CallableAdapter:
    """A function from float32 images (N,3,H,W) in [0,1], on the 8-bit grid, to N labels or (N, classes) scores.

    Labels are str, int or None ("no label"). With scores, the best `top` classes are the answer, named by
    `class_names` or by their numbers; `outputs` says what the scores are, see `outputs.Outputs`. Tensors, arrays and
    lists will do. The function is called with exactly the queries that are counted, on a copy of its own. Without a
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
        outputs: Outputs | None = None,
        top: int = 1,
        batch: int = 256,
    ) -> None:
        self._function = function
        self._class_names = names_of(class_names)
        self._outputs, self._top = checked_outputs(outputs), checked_top(top)
        self._inside = threading.local()
        self._unsure = False  # whether scores came of which only the order could be told
        self._fingerprint = fingerprint or ""
        self._card = AdapterCard(
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            fingerprint="",
            accepts="tensor",
            batch=batch,
            max_labels=self._top,
            labels=self._class_names,
        )

    @property
    def card(self) -> AdapterCard:
        """The facts; the fingerprint is that of the function as it is now: with the weights it uses."""
        if not self._fingerprint:
            return self._card
        weights = _weights(self._function)
        how = [self._class_names, self._top, self._outputs, weights]
        plain = how == [None, 1, None, ""]
        return replace(
            self._card, fingerprint=self._fingerprint if plain else f"{self._fingerprint}/{_digest(how)}"
        )

    def state(self) -> str:
        """What shows of a function without a fingerprint, for comparison within this process."""
        return "" if self._fingerprint else _state(self._function)

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer | Verdict]:
        import torch

        who = f"provider {self._card.name}"
        if not isinstance(images, torch.Tensor):
            raise ConfigurationError("a local model takes a tensor (N,3,H,W), not encoded images")
        with torch.no_grad(), _once(self._inside, who), own_errors(who):
            returned = self._function(images.clone())
        table = read(returned, self._outputs, who)
        rows = rows_of(table, self._class_names, top=self._top, outputs=self._outputs, who=who)
        answers = answers_of(rows, who)
        if len(answers) != len(images):
            raise ProviderError(
                f"{who} returned {len(answers)} answers for {len(images)} images; return one a row"
            )
        if not isinstance(table, list):
            self._unsure |= any(isinstance(answer, Answer) and _is_unscored(answer) for answer in answers)
        return answers

    def scores(self, images: Tensor, /) -> Tensor:
        """What the function gives for images (N,3,H,W) in [0,1], with gradients where it has any; see `log_scores`."""
        return log_scores(self._function(images), self._outputs, f"provider {self._card.name}")

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL

    def doubt(self, answer: Answer, /) -> str:
        """Why no threshold can be held to the answer's scores; empty where one can."""
        if (self._unsure or len(answer.labels) > 1) and _is_unscored(answer):
            return SAY_SCALE
        return KEPT_SCORES if _leave_range(answer) else ""


class ModuleAdapter:
    """A torch classifier (N,3,H,W) in [0,1] → scores (N, classes), run in evaluation mode.

    `top` labels with their probabilities make an answer; `outputs` says what the scores are, see `outputs.Outputs`.
    They may be the `logits` of what the module returns. It is given back in the mode it came in. Without a
    `fingerprint` answers are cached only as long as this object lives: weights could be hashed, but not the code of
    `forward`. With one, weights, `class_names`, `top` and `outputs` are part of it, taken anew for every image;
    one that is `pinned` names class names and weights itself, as long as those stay as they are.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str | None = None,
        fingerprint: str | None = None,
        class_names: Sequence[str] | None = None,
        outputs: Outputs | None = None,
        native_side: int | None = None,
        device: str = "cpu",
        top: int = 5,
        pinned: bool = False,
    ) -> None:
        import torch

        self._module = module.to(device)
        self._device = torch.device(device)
        self._class_names = names_of(class_names)
        self._outputs, self._top = checked_outputs(outputs), checked_top(top)
        self._fingerprint, self._pinned = f"{fingerprint}/{kind_of(device)}" if fingerprint else "", pinned
        self._first = self._identity() if pinned else ""
        self._card = AdapterCard(
            name=name or type(module).__name__,
            fingerprint="",
            accepts="tensor",
            batch=most_at_once(self._device.type),
            padded=True,
            max_labels=1 if outputs == "labels" else self._top,
            labels=self._class_names,
            native_side=native_side,
        )

    @property
    def card(self) -> AdapterCard:
        """The facts; the fingerprint is that of the module as it is now: weights may have been trained on."""
        if not self._fingerprint:
            return self._card
        now = self._identity()
        told = self._fingerprint if now == self._first else f"{self._fingerprint}/{now}"
        if self._pinned and self._top != 5:
            told = f"{told}/top{self._top}"
        return replace(self._card, fingerprint=told)

    def state(self) -> str:
        """What shows of a module without a fingerprint, for comparison within this process."""
        return "" if self._fingerprint else _state(self._module)

    def _identity(self) -> str:
        how = None if self._pinned else [self._class_names, self._top, self._outputs]
        return _digest([how, _weights(self._module)])

    @property
    def module(self) -> nn.Module:
        """The classifier itself, on its device."""
        return self._module

    def scores(self, images: Tensor, /) -> Tensor:
        """The module's scores of images (N,3,H,W) in [0,1], in evaluation mode, with gradients; see `log_scores`."""
        from api_smoothing.eval_mode import evaluating

        with evaluating(self._module):
            returned = self._module(images.to(self._device))
        return log_scores(returned, self._outputs, f"model {self._card.name}")

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer | Verdict]:
        import torch

        from api_smoothing.eval_mode import evaluating

        who = f"model {self._card.name}"
        if not isinstance(images, torch.Tensor):
            raise ConfigurationError("a local model takes a tensor (N,3,H,W), not encoded images")
        with torch.no_grad(), evaluating(self._module):
            returned = run_in_micro_batches(self._scores, images.to(self._device, copy=True), who=who)
        if returned.ndim == 1 and self._outputs is None:
            raise ProviderError(
                f"{who} returned shape {tuple(returned.shape)}; a classifier returns (N, classes), or with "
                'outputs="labels" class numbers'
            )
        table = read(returned, self._outputs, who)
        rows = rows_of(table, self._class_names, top=self._top, outputs=self._outputs, who=who)
        return answers_of(rows, who)

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL

    def doubt(self, answer: Answer, /) -> str:
        """Why no threshold can be held to the answer's scores; empty where one can."""
        if self._outputs == "labels":
            return ""
        if _is_unscored(answer):
            return SAY_SCALE
        few = len(answer.labels) < min(self._top, len(self._class_names or "12"))  # kept of a smaller `top`
        return KEPT_SCORES if few or _leave_range(answer) else ""

    def _scores(self, x: Tensor) -> Any:
        with own_errors(f"model {self._card.name}"):
            return content(self._module(x))


class ReplicatedAdapter:
    """The same model, loaded once a device, by the device's name: images are answered where they lie.

    The devices round alike, so there is one card. Each is used by one thread at a time.
    """

    def __init__(self, replicas: Mapping[str, Adapter]) -> None:
        self._replicas, self._first = dict(replicas), next(iter(replicas.values()))

    @property
    def card(self) -> AdapterCard:
        return self._first.card

    def state(self) -> str:
        """What shows of a model without a fingerprint."""
        told: str = getattr(self._first, "state", str)()
        return told

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer | Verdict]:
        there = str(getattr(images, "device", ""))
        return self._replicas.get(there, self._first).label(images)

    def scores(self, images: Tensor, /) -> Tensor:
        """The first model's scores, with gradients."""
        found: Tensor = self._first.scores(images)  # type: ignore[attr-defined]
        return found

    def verdict(self, error: Exception, /) -> Verdict:
        return self._first.verdict(error)

    def doubt(self, answer: Answer, /) -> str:
        """Why no threshold can be held to the answer's scores; empty where one can."""
        doubt = getattr(self._first, "doubt", None)
        return "" if doubt is None else str(doubt(answer))


def log_scores(returned: Any, outputs: Outputs | None, who: str) -> Tensor:
    """Scores (N, classes) as they came, or the logarithms of those that are probabilities.

    Raises ConfigurationError for what has no gradient to follow: labels, arrays, lists.
    """
    import torch

    found = content(returned)
    if outputs == "labels" or not isinstance(found, torch.Tensor) or found.ndim != 2:
        raise ConfigurationError(
            f"{who} gives no tensor of scores (N, classes), so there are no gradients: attack it by its answers "
            "(square, hopskipjump)"
        )
    return found.clamp(min=1e-12).log() if outputs == "probabilities" else found


def answers_of(rows: Sequence[Row], who: str) -> list[Answer | Verdict]:
    """An answer a row; a Verdict in place of one whose scores are no numbers."""
    broken = Verdict(kind="refused", message=f"{who} gave NaN or infinite scores, which are no scores")
    return [
        broken if row is None else Answer(labels=tuple(Label(name=name, score=score) for name, score in row))
        for row in rows
    ]


def _is_unscored(answer: Answer) -> bool:
    return bool(answer.labels) and all(label.score is None for label in answer.labels)


def _leave_range(answer: Answer) -> bool:
    """Whether a score leaves [0,1], as some that were kept by earlier versions do."""
    return any(label.score is not None and not 0 <= label.score <= 1 for label in answer.labels)


@contextlib.contextmanager
def own_errors(who: str) -> Iterator[None]:
    """What the user's own code raises is shown, in one line, and chained."""
    try:
        yield
    except ApiSmoothError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        told = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise ProviderError(f"{who} failed: {told[:300]}") from error


@contextlib.contextmanager
def _once(inside: threading.local, who: str) -> Iterator[None]:
    """The time of one call in this thread, in which there must not be another."""
    if getattr(inside, "busy", False):
        raise ConfigurationError(f"{who} asks itself: its function uses the object it was given to")
    inside.busy = True
    try:
        yield
    finally:
        inside.busy = False


def _weights(thing: object) -> str:
    """The digest of the weights in sight; empty where there are none."""
    from api_smoothing.digests import sha256_of, weights_of

    found = weights_of(thing)
    return sha256_of(found) if found else ""


def _state(thing: object) -> str:
    from api_smoothing.digests import state_of

    return state_of(thing)


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def file_sha256(path: str) -> str:
    """The hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
