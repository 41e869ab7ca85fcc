"""Votes of a denoiser that draws K images of each noisy one: each is asked for, and the majority is the vote.

Query number q of the provider is path q mod K of noise number q div K; see `denoisers.paths`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace

from api_smoothing.certify.base import FAILED
from api_smoothing.denoisers.paths import majority
from api_smoothing.engine.votes import QueryCount, Vote, VoteSource


class PathVotes:
    """The votes of `source`, whose queries are taken `paths` at a time. `tally` counts votes, but every attempt."""

    def __init__(self, source: VoteSource, paths: int) -> None:
        self._source, self._paths = source, paths
        self.tally = QueryCount()

    def known(self, count: int) -> dict[int, Vote]:
        """Those of the first `count` votes whose queries are all in the cache; asks nothing."""
        answers, k = self._source.known(count * self._paths), self._paths
        queries = {i: range(i * k, (i + 1) * k) for i in sorted({q // k for q in answers})}
        return {
            i: poll([answers[q] for q in of]) for i, of in queries.items() if all(q in answers for q in of)
        }

    def cached_ahead(self, affordable: int) -> int:
        """How many of the first votes could be had with `affordable` new queries."""
        return self._source.cached_ahead(affordable) // self._paths

    def take(self, indices: range) -> Generator[Sequence[Vote]]:
        """Votes of `indices` in portions, in order; ends early when the budget does (see `tally`)."""
        waiting: list[Vote] = []
        for answers in self._source.take(range(indices.start * self._paths, indices.stop * self._paths)):
            waiting += answers
            votes = []
            while len(waiting) >= self._paths:
                votes.append(poll(waiting[: self._paths]))
                del waiting[: self._paths]
                self.tally.count(votes[-1])
            self._follow()
            if votes:
                yield votes
        self._follow()

    def finish(self) -> None:
        """To be called when no more votes are wanted. Raises DriftError when the model changed meanwhile."""
        self._source.finish()
        self._follow()

    def _follow(self) -> None:
        """Everything but the votes is as the queries have it."""
        self.tally = replace(self._source.tally, counted=self.tally.counted, n=self.tally.n)


def poll(answers: Sequence[Vote]) -> Vote:
    """One vote of the answers to all paths: FAILED if one is; the labels most paths report, or the majority's label."""
    if FAILED in answers:
        return FAILED
    if all(isinstance(answer, frozenset) for answer in answers):
        reports = Counter(label for answer in answers for label in answer)
        return frozenset(label for label, count in reports.items() if 2 * count > len(answers))
    return majority(list(answers))
