"""Votes of a denoiser that draws K images of each noisy one: each is asked for, and the majority is the vote.

Query number q of the provider is path q mod K of noise number q div K; see `denoisers.paths`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from api_smoothing.certify.base import FAILED
from api_smoothing.engine.sending import Outcome
from api_smoothing.engine.votes import QueryCount, Vote, Votes


class PathVotes:
    """The votes of `source`, whose queries are taken `paths` at a time. `count` counts votes, but every attempt."""

    def __init__(self, source: Votes, paths: int) -> None:
        self._source, self._paths = source, paths
        self._answers: list[Vote] = []  # of a poll that is not complete
        self._count = QueryCount()

    @property
    def count(self) -> QueryCount:
        """Everything but the votes is as the queries have it."""
        return replace(self._source.count, counted=self._count.counted, n=self._count.n)

    @property
    def settled(self) -> bool:
        return self._source.settled

    def known(self, count: int) -> dict[int, Vote]:
        answers, k = self._source.known(count * self._paths), self._paths
        queries = {i: range(i * k, (i + 1) * k) for i in sorted({q // k for q in answers})}
        return {
            i: poll([answers[q] for q in of]) for i, of in queries.items() if all(q in answers for q in of)
        }

    def within(self, affordable: int) -> int:
        return self._source.within(affordable) // self._paths

    def expect(self, votes: int) -> None:
        self._source.expect(votes * self._paths)

    def need(self) -> Sequence[int]:
        return self._source.need()

    def ahead(self, count: int, *, most: int | None = None) -> Sequence[int]:
        k = self._paths
        return self._source.ahead(count - count % k, most=None if most is None else most * k)

    def give(self, outcomes: Mapping[int, Outcome]) -> None:
        self._source.give(outcomes)

    def take(self) -> Sequence[Vote]:
        self._answers += self._source.take()
        votes = []
        while len(self._answers) >= self._paths:
            votes.append(poll(self._answers[: self._paths]))
            del self._answers[: self._paths]
            self._count.count(votes[-1])
        return votes

    def finish(self) -> None:
        self._source.finish()


def poll(answers: Sequence[Vote]) -> Vote:
    """One vote of the answers to all paths: FAILED if one is; the labels most paths report, or the majority's label.

    Reports are counted label by label, whatever else a report holds: one without labels is a report that names none.
    """
    if FAILED in answers:
        return FAILED
    if any(isinstance(answer, frozenset) for answer in answers):
        reports = Counter(label for answer in answers for label in answer or ())
        return frozenset(label for label, count in reports.items() if 2 * count > len(answers))
    from api_smoothing.denoisers.paths import majority  # brings torch, which an estimate does without

    return majority(list(answers))
