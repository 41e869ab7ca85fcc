"""What happens during a run, told to whoever listens: progress bars, logs and meters are observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from api_smoothing.results import Budget, Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """Before the first query of a call: it takes `n` answers an image at most (None: no cap), within `budget`.

    `unset` says in words what holds because nobody set it: the cap, the dollars of the run, a price nobody knows.
    """

    n: int | None
    budget: Budget
    unset: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStarted:
    """An image is loaded and its first query is about to be made. `planned` is None when it is open-ended.

    `image_sha256` is as in a certificate, `slack` the total-variation distance charged to every bound. `boundary` gives
    what decides, where that is a boundary with a cap: see `certify.target.TargetCertifier.boundary`.
    """

    image: str
    index: int
    planned: int | None
    image_sha256: str = ""
    slack: float = 0.0
    boundary: Callable[[], Mapping[str, Any] | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedAnswer:
    """An answer as it was counted: the `number` of its query, and the `vote` that was read from it.

    `vote` is None where it named no label, and where the query finally `failed`. `kept` says that it was not asked for
    here and now, but read from what is kept. `sha256` is the digest of the whole answer ("" of a failed one),
    `request_id` what the provider calls the request, where it says so; it is not kept.
    """

    number: int
    vote: str | None
    failed: bool
    kept: bool
    sha256: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersCounted:
    """Answers about an image are counted, in the order of their numbers, each once, before they decide anything.

    The first event of an image begins at number 0. Of a denoiser with several paths each of its answers is told.
    """

    image: str
    index: int
    image_sha256: str
    answers: tuple[CountedAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VotesCounted:
    """A round of answers was counted. `n` is the image's total so far; `leader` its most frequent class."""

    image: str
    index: int
    n: int
    sent: int
    cached: int
    leader: str | None
    leader_votes: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCertified:
    """An image is decided."""

    image: str
    index: int
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAwaited:
    """A request waits `seconds` for its turn in the account's rate, which others may be using. Once a minute at most.

    Told by the thread that waits, not by the one that asked for the certificate.
    """

    provider: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetOpened:
    """An evaluation knows its images: `images` of them, `left` not decided yet, `unreadable` never to be, and `told`
    what one should know of the data before the first query, a sentence each. `digests` has their `image_sha256` by id.
    """

    name: str
    images: int
    left: int
    told: tuple[str, ...]
    unreadable: int = 0
    digests: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesRead:
    """Of the images of a data set `read` have been read, of `images`."""

    read: int
    images: int


Event: TypeAlias = (
    RunStarted
    | DataSetOpened
    | ImagesRead
    | ImageStarted
    | AnswersCounted
    | VotesCounted
    | ImageCertified
    | TurnAwaited
)
Observer: TypeAlias = Callable[[Event], None]
