"""Presence, absence and top-k certificates for taggers: one answer votes for several labels at once.

Each answer is the set of labels whose score reached their threshold, at most M of them (the cap sent with the
request). Each label is a class of its own, with p_l = P(l is in the answer) and Σ p_l ≤ M; p_l > ½ within a
radius means "l is reported" there. All labels are certified from the same answers, and all claims hold
together with probability 1 − α. Absence is the mirrored class "l is not in the answer", for labels named
before the first answer: with A of them an answer votes for at most M + A classes.

If answers are the k top labels of the base classifier, M = k, presence of the true label is a certificate
that it is among the top k of most noisy copies [cf. Jia et al. 2020]; `top_k_presence` instead certifies the
top k of the smoothed classifier, from single votes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from api_smoothing.certify.anytime import ConfidenceSequence, leader_lower
from api_smoothing.certify.base import FAILED, Bound, Possible, Stopped
from api_smoothing.certify.boundary import Boundary
from api_smoothing.certify.futility import futility_boundary, hopeless_share, until_certain, until_likely
from api_smoothing.certify.radius import Noise, radius, threshold, top_k_threshold
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spec import RULES
from api_smoothing.certify.spending import spending_boundary
from api_smoothing.certify.tally import MAX_FAILED, most_failed, refuse_surplus
from api_smoothing.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Absent:
    """The class "`label` is not in the answer"."""

    label: Hashable


def most_polled(most: int, paths: int) -> int:
    """The most labels a poll of `paths` answers reports where an answer reports at most `most`.

    Each of them takes more than half of the answers, that is ⌊K/2⌋ + 1 of the K·M places for a label.
    """
    return paths * most // (paths // 2 + 1)


class PresenceCertifier:
    """Certifies every label on its own from the same answers; `need`, `add` and `results` mirror Certifier.

    With `target` a label is done when it is certified or given up, and the run when all are, the labels not
    yet seen included. Without, the best radius of each label is reported after `n` answers.
    """

    def __init__(
        self,
        *,
        alpha: float,
        sigma: float,
        max_labels: int,
        target: float | None = None,
        n: int | None = None,
        absent: Collection[Hashable] = (),
        noise: Noise = "gaussian",
        slack: float = 0.0,
        later: bool = False,
        version: int | None = None,
    ) -> None:
        """`max_labels` is M; `absent` names the labels whose absence is to be certified as well.

        `n` caps a target run (exact α-spending) or ends one without target, which must have it. `later` says that
        the same answers have been asked something before: then a target is certified when the confidence sequence
        reaches it, which holds whatever made somebody ask. `version` is that of the rule, the newest where it is
        None.
        """
        if max_labels < 1:
            raise ConfigurationError(f"max_labels must be at least 1, not {max_labels}")
        if target is None and n is None:
            raise ConfigurationError("presence certificates need a radius or n")
        self._max_labels, self._absent, self._limit = max_labels, frozenset(absent), n
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        votes = max_labels + len(self._absent)
        self._alpha, self._classes = alpha, votes
        self._target = target
        self._upper: Boundary | None = None
        self._sequence = ConfidenceSequence(alpha, votes)
        self._p0 = 0.5 if target is None else threshold(target, sigma=sigma, noise=noise, slack=slack)
        if target is not None and not later:
            self._upper = (
                open_boundary(self._p0, alpha, votes, version=version or RULES["open"])
                if n is None
                else spending_boundary(self._p0, n, alpha, votes, version=version or RULES["capped"])
            )
        self._lower = futility_boundary(
            self._p0 if self._upper is None else hopeless_share(self._upper, self._p0)
        )
        self.method = "sequential"
        self._n = self._failed = 0
        self._votes: dict[Hashable, int] = {Absent(label): 0 for label in self._absent}
        self._done: dict[Hashable, tuple[Stopped, int, int]] = {}  # label: why, votes, n
        self._finished = False

    def need(self) -> int:
        """The fewest further answers after which a decision on any label could change; 0 when done."""
        if self._finished:
            return 0
        ways = [None if self._limit is None else self._limit - self._n]
        if self._target is not None:
            for top in {k for label, k in self._votes.items() if label not in self._done} | {0}:
                if top == 0 and self._unseen_done:
                    continue
                ways.append(until_likely(self._lower, top, self._n))
                if self._upper is None:
                    ways.append(self._sequence.reach(self._p0, top, self._n))
                else:
                    ways.append(self._upper.reach(top, self._n))
                    ways.append(until_certain(self._upper, self._limit, top, self._n))
        return max(1, min((way for way in ways if way is not None), default=1))

    @property
    def _unseen_done(self) -> bool:
        if self._target is None or self._n == 0:
            return False
        return self._out_of_reach(0) or self._lower.at(self._n) <= self._n

    def _out_of_reach(self, k: int) -> bool:
        """Whether a label with k votes cannot be certified any more within n."""
        return self._upper is not None and until_certain(self._upper, self._limit, k, self._n) == 0

    def _met(self, label: Hashable, k: int) -> bool:
        """Whether the target is certified for a label with k votes."""
        if self._upper is None:
            return self._sequence.lower(label) >= self._p0
        return k >= self._upper.at(self._n)

    def add(self, answers: Sequence[Collection[Hashable] | object | None], /) -> None:
        """Count answers: each a collection of labels, None or an empty one ("no label"), or FAILED.

        A collection may hold `Possible(label)` as well, which keeps the answer from voting for the label's absence.

        A failed answer reports neither the presence nor the absence of a label.
        """
        for i, answer in enumerate(answers):
            if self._finished and self._void:
                return
            if self._finished:
                refuse_surplus([None] * (len(answers) - i), 0, self.method)
            self._n += 1
            if answer is FAILED:
                self._failed += 1
                voted: set[Hashable] = set()
            else:
                given = frozenset(answer) if isinstance(answer, Collection) else frozenset()
                possible = {item for item in given if isinstance(item, Possible)}
                labels = given - possible
                if len(labels) > self._max_labels:
                    raise ConfigurationError(
                        f"an answer has {len(labels)} labels, more than max_labels={self._max_labels}: raise it"
                    )
                voted = set(labels) | {
                    Absent(label) for label in self._absent - labels - {item.label for item in possible}
                }
            for label in voted:
                self._votes[label] = self._votes.get(label, 0) + 1
                if self._upper is None:
                    self._sequence.look(label, self._votes[label], self._n)
            self._settle()

    def _settle(self) -> None:
        n = self._n
        if self._target is not None:
            for label, k in self._votes.items():
                if label in self._done:
                    continue
                if self._met(label, k):
                    self._done[label] = ("target", k, n)
                elif self._out_of_reach(k) or n - k >= self._lower.at(n):
                    self._done[label] = ("futile", k, n)
            self._finished = self._unseen_done and all(label in self._done for label in self._votes)
        if n == self._limit or self._void:
            self._finished = True

    @property
    def _void(self) -> bool:
        """Whether so many answers have failed that nothing can be certified any more."""
        return self._limit is not None and self._failed > most_failed(self._limit)

    def results(self) -> list[Bound]:
        """One Bound a label that got a vote, most votes first; absence has the label `Absent(label)`."""
        ranked = sorted(self._votes.items(), key=lambda item: -item[1])
        return [self._bound(label, k) for label, k in ranked]

    def _bound(self, label: Hashable, k: int) -> Bound:
        open_: tuple[Stopped | None, int, int] = ("n" if self._finished else None, k, self._n)
        why, votes, n = self._done.get(label, open_)
        failed = why is not None and self._failed > MAX_FAILED * self._n
        if self._target is None:
            p_lower = self._sequence.lower(label)
            certified = self._radius(p_lower)
        else:
            p_lower, certified = (self._p0, self._target) if why == "target" else (0.0, 0.0)
        sure = certified > 0.0 and not failed
        unproved = 0.0 if failed else leader_lower(votes, n, self._alpha, self._classes)
        return Bound(
            label=label if sure else None,
            radius=certified if sure else 0.0,
            p_lower=p_lower if sure else unproved,
            votes=votes,
            n=n,
            n0=0,
            counts={label: votes},
            failed=self._failed,
            runner_up=None,
            reached=None if self._target is None else sure,
            stopped="failed" if failed else why,
            method=self.method,
            reason=f"{self._failed} of {self._n} answers failed" if failed else "",
        )


def top_k_presence(
    *, target: float, k: int, alpha: float, sigma: float, n: int | None = None, slack: float = 0.0
) -> tuple[float, Boundary]:
    """p0 and the boundary that certify a class among the `k` most probable ones within ℓ2 radius `target`.

    Answers are single votes. The boundary holds for all classes at once; p0 may be below ½, so up to k of
    them may meet it.
    """
    p0 = top_k_threshold(target, k, sigma=sigma, slack=slack)
    return p0, open_boundary(p0, alpha) if n is None else spending_boundary(p0, n, alpha)
