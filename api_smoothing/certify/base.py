"""The certifier interface: a state machine that is told answers and says how many more it needs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

Stopped = Literal["target", "futile", "budget", "n", "failed"]


class _Failed(Enum):
    FAILED = "failed"


#: A query that finally failed: it counts in n, votes for no class, and is tallied apart from "no label" (None).
FAILED: Final = _Failed.FAILED


@dataclass(frozen=True, slots=True)
class Possible:
    """In a report: `label` is in it, or may have been cut off; either way it does not vote for the label's absence."""

    label: Hashable


class ReadRadius(NamedTuple):
    """One of several radii: the `label` certified there, whether it was `reached` (None: open), and after how many
    answers.
    """

    radius: float
    label: Hashable | None
    reached: bool | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the votes so far prove.

    `label` is None when nothing is certified (abstained). `radius` is in [0,1] pixel units of the norm of the
    noise; 0.0 when abstained. `p_lower` bounds P(f(x+ε)=label) from below with error probability α. Of an
    abstention it is a claim of its own, with error α: it bounds the probability of the class with the most votes,
    whichever of all classes that is, and is below ½; 0.0 where too many answers failed. `votes` counts those for
    `label` and `n` all votes the bound rests on, failures included; `n0` counts the separate votes that chose the
    class (paper protocol only). `counts` maps every class that got a vote to its count among the n (n0 votes
    excluded). `reached` says whether `target` was certified (None without a target). `stopped` is None while the
    certifier still needs answers. `radii` are those asked about together, ascending.
    """

    label: Hashable | None
    radius: float
    p_lower: float
    votes: int
    n: int
    n0: int
    counts: Mapping[Hashable, int]
    failed: int
    runner_up: Hashable | None
    reached: bool | None
    stopped: Stopped | None
    method: str
    reason: str = ""
    radii: tuple[ReadRadius, ...] = ()


class Certifier(Protocol):
    """Counts votes; performs no I/O, reads no clock."""

    def need(self) -> int:
        """The fewest further answers after which any decision could change; 0 when done.

        That many can be asked for at once and none is wasted, unless so many fail that nothing can be certified.
        """
        ...

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """Count answers, in the order of their query indices: a class, None ("no label"), or FAILED.

        Those after too many failures are passed over.
        """
        ...

    def result(self) -> Bound:
        """The bound proved so far; callable at any time."""
        ...
