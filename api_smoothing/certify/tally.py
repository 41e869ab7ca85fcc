"""Counting answers: what is no vote, and when too many failed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from api_smoothing.certify.base import FAILED, Bound, ReadRadius, Stopped
from api_smoothing.errors import ConfigurationError

#: Above this share of failed answers a certificate is reported as failed.
MAX_FAILED = 0.05


class Tally:
    """Votes by class among n answers. None and FAILED count in n and vote for no class."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.n = 0
        self.failed = 0
        self.counts: dict[Hashable, int] = {}
        self.leader: Hashable | None = None
        self.top = 0

    def add(self, answer: Hashable | None) -> None:
        """Count one answer; a tie keeps the earlier leader."""
        self.n += 1
        if answer is FAILED:
            self.failed += 1
        elif answer is not None:
            votes = self.counts[answer] = self.counts.get(answer, 0) + 1
            if votes > self.top:
                self.leader, self.top = answer, votes

    @property
    def unlabelled(self) -> int:
        """Answers that said "no label"."""
        return self.n - self.failed - sum(self.counts.values())

    def runner_up(self, label: Hashable | None) -> Hashable | None:
        """The class other than `label` with the most votes, the earliest seen among equals."""
        others = [c for c in self.counts if c != label]
        return max(others, key=self.counts.__getitem__, default=None)


def most_failed(total: int) -> int:
    """How many of `total` answers may fail; one more, and the certificate is void whatever the others say."""
    return math.floor(MAX_FAILED * total)


def refuse_surplus(answers: Sequence[Hashable | None], wanted: int, method: str) -> None:
    """Raise ConfigurationError when more answers come than the rule may look at."""
    if len(answers) > wanted:
        raise ConfigurationError(
            f"{len(answers)} answers for a {method} certificate that takes {wanted} more: it cannot be topped up, "
            f"start a new one with a larger n"
        )


def bound(
    tally: Tally,
    *,
    method: str,
    stopped: Stopped | None,
    label: Hashable | None,
    radius: float,
    p_lower: float,
    reached: bool | None,
    reason: str,
    n0: int = 0,
    failed_before: int = 0,
    leader_lower: float = 0.0,
    radii: tuple[ReadRadius, ...] = (),
) -> Bound:
    """A Bound from the votes: abstained where radius is 0, failed where over 5 % of the answers did.

    `leader_lower` bounds the probability of the class with the most votes, for a run that abstains.

    `failed_before` counts the failures among the n0 answers that chose the class.
    """
    failed = tally.failed + failed_before
    asked = tally.n + n0
    if stopped is not None and failed > MAX_FAILED * asked:
        stopped, label = "failed", None
        reason = f"{failed} of {asked} answers failed, more than {MAX_FAILED:.0%}: see the provider's errors"
        reached = None if reached is None else False
        radii = tuple(ReadRadius(read.radius, None, False, read.n) for read in radii)
    if radius <= 0.0:
        label = None
    shown = tally.leader if label is None else label
    if label is None:
        p_lower = 0.0 if stopped == "failed" else leader_lower
    return Bound(
        label=label,
        radius=radius if label is not None else 0.0,
        p_lower=p_lower,
        votes=tally.counts.get(shown, 0),
        n=tally.n,
        n0=n0,
        counts=dict(tally.counts),
        failed=failed,
        runner_up=tally.runner_up(shown),
        reached=reached,
        stopped=stopped,
        method=method,
        reason=reason,
        radii=radii,
    )
