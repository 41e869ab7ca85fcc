"""What every provider looks like to the engine: a card, `label`, and a verdict on each error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One label of an answer. `score` is in [0, 1]; `id` is the provider's stable identifier, if it has one."""

    name: str
    score: float | None = None
    id: str | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider said about one query: labels, best first; empty when it said "nothing"."""

    labels: tuple[Label, ...]
    model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """One query as it travels: the file's bytes, its side lengths in pixels, and its media type."""

    data: bytes
    height: int
    width: int
    media_type: Literal["image/png"] = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCard:
    """The facts about a provider the engine plans with.

    `accepts` is "tensor" for a local model, which receives a float32 tensor (N,3,H,W) in [0,1] on the
    8-bit grid, or "png" for a service. `batch` is the most images one `label` call takes. `fingerprint`
    names everything that can change an answer (weights, options); it is part of the cache key.
    An empty fingerprint means that cannot be named; answers are then cached no longer than the object lives.
    `native_side` is the side in pixels of the square images the model was made for, None for any.
    `labels` is the closed set of names the provider can answer with, or None when it is open.
    """

    name: str
    fingerprint: str
    accepts: Literal["png", "tensor"] = "png"
    batch: int = 1
    usd_per_query: float = 0.0
    queries_per_second: float | None = None
    labels: tuple[str, ...] | None = None
    native_side: int | None = None


class Verdict(Enum):
    """What to do about an error: give up for good, try the same query again, or count it as failed."""

    FATAL = "fatal"
    TRANSIENT = "transient"
    REFUSED = "refused"


@runtime_checkable
class Adapter(Protocol):
    """A provider. Adapters never retry and never wait: the engine does."""

    @property
    def card(self) -> AdapterCard: ...

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer]:
        """Answer each image in order. Exactly one request is made for the whole sequence."""
        ...

    def verdict(self, error: Exception, /) -> Verdict:
        """Classify an exception `label` raised."""
        ...
