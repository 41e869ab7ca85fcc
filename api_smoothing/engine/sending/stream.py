"""The queries about one image: what names them, how each looks, where its answer is kept, and what they have cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray

from api_smoothing.engine.sending.outcome import AnswerStore
from api_smoothing.errors import ApiSmoothError

if TYPE_CHECKING:
    from torch import Tensor


class Draw(Protocol):
    """Draws the noisy copies (N,H,W,3) of an image for the queries of these indices.

    They are float32 in [0,1] units for a denoiser, or uint8 as they are sent.
    """

    def __call__(self, indices: Sequence[int], /) -> NDArray[Any]: ...

    def on(self, device: str, indices: Sequence[int], /) -> Tensor:
        """The same, bit for bit, drawn on a torch device."""
        ...


@dataclass(slots=True)
class Usage:
    """What one stream has cost so far: images sent, failed attempts included, and why the last one failed.

    `found` are the queries that others had answered when their turn came.
    """

    sent: int = 0
    found: set[int] = field(default_factory=set)
    last_error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, images: int) -> None:
        """Add those of a request."""
        with self.lock:
            self.sent += images


@dataclass(eq=False, slots=True, kw_only=True)
class Stream:
    """All queries under one `name`, which says everything that decides their answers.

    `version` is asked before a request leaves, and stamped on its answers; `leave` tells how
    many queries the budget must still have room for afterwards. Once `ended`, nothing more of it is sent, and `error`
    says why, where it is an error.
    """

    name: str
    answers: AnswerStore
    draw: Draw | None = None
    shape: tuple[int, int] = (0, 0)
    usage: Usage = field(default_factory=Usage)
    ended: threading.Event = field(default_factory=threading.Event)
    version: Callable[[], str] | None = None
    leave: Callable[[], int] | None = None
    error: ApiSmoothError | None = None


class Query(NamedTuple):
    """One query of a stream, by its index there."""

    stream: Stream
    number: int


def by_stream(queries: Iterable[Query]) -> list[tuple[Stream, list[int]]]:
    """The indices of each stream, ascending; the streams in the order of their first query."""
    found: dict[Stream, list[int]] = {}
    for stream, number in queries:
        found.setdefault(stream, []).append(number)
    return [(stream, sorted(indices)) for stream, indices in found.items()]
