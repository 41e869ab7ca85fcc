"""What happens during a run, told to whoever listens: progress bars, logs and meters are observers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

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
    """An image is loaded and its first query is about to be made. `planned` is None when it is open-ended."""

    image: str
    index: int
    planned: int | None


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


Event: TypeAlias = RunStarted | ImageStarted | VotesCounted | ImageCertified | TurnAwaited
Observer: TypeAlias = Callable[[Event], None]
