"""Presence: an answer read as the set of labels it reports, and what was proved about each as a certificate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.adapters.labels.label_map import LabelMap, counted, is_scoreless
from api_smoothing.certify.base import FAILED, Bound, Possible, Stopped
from api_smoothing.certify.presence import Absent, most_polled
from api_smoothing.certify.tally import MAX_FAILED
from api_smoothing.engine.report import certificate
from api_smoothing.engine.votes import QueryCount, Vote
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import Loaded
from api_smoothing.results import Certificate, Look, Provenance

_WORTH_TELLING: Final = 0.5  # share of the votes from which a label nobody named is listed


class LabelReport:
    """Reads an answer as the labels it reports: those whose score reaches their threshold.

    `most` bounds the labels of one answer, `paths` is how many answers make a vote: as an attribute, `most` bounds
    the labels of one vote, among which the level of every certificate is divided. A label without a score counts as
    reported. An answer with more labels than its provider says it may have is no vote; `broken` then says so.

    Labels that are named, in `thresholds` or `absent`, are known by their id, or by their name in any case, where the
    provider has no closed list of `names` and there is no map. An answer speaks for the absence of a label only where
    it could have held it: not when it is full and its last label has a score with which the absent one would count,
    and not at thresholds below `least`, which the request leaves out. Absence is not said of a label of which nothing
    shows that the provider knows it (see `unseen`), unless `unseen_ok`.
    """

    def __init__(
        self,
        labels: LabelMap | None,
        thresholds: float | Mapping[str, float],
        *,
        most: int | None,
        paths: int = 1,
        absent: Collection[str] = (),
        names: Collection[str] | None = None,
        least: float = 0.0,
        unseen_ok: bool = False,
    ) -> None:
        self._map, self._absent = labels, frozenset(absent)
        given = thresholds if isinstance(thresholds, Mapping) else {"every label": thresholds}
        for name, score in given.items():
            if not 0.0 <= score <= 1.0:
                raise ConfigurationError(f"the threshold of {name} must be a score in [0, 1], not {score:g}")
        self._thresholds = thresholds
        self.named: tuple[str, ...] = tuple(thresholds) if isinstance(thresholds, Mapping) else ()
        if isinstance(thresholds, Mapping) and not (thresholds and all(name.strip() for name in thresholds)):
            raise ConfigurationError("thresholds names no label; give a score for all of them instead")
        self._check_absent(names, least)
        self._aliases: dict[str, str] = {}
        if labels is None and names is None:
            for name in (*self.named, *absent):
                self._aliases.setdefault(name.casefold(), name)
        closed = len(self.named) or (len(labels.classes) if labels is not None else None)
        bounds = [bound for bound in (closed, most) if bound is not None]
        if not bounds:
            raise ConfigurationError(
                "this provider does not say how many labels an answer may hold: "
                "name the labels of interest in thresholds"
            )
        self._of_an_answer = min(bounds)
        self.most = most_polled(self._of_an_answer, paths)
        if closed is not None:
            self.most = min(self.most, closed)
        self._full = most if names is None or (most is not None and len(names) > most) else None
        self._to_be_seen = labels is None and names is None and not unseen_ok
        self._seen: set[str] = set()
        self.broken = ""

    def __call__(self, answer: Answer) -> Vote:
        scoreless = is_scoreless(answer)
        found = set()
        for label in answer.labels:
            score = 1.0 if scoreless else label.score or 0.0
            name = self._name(label) if self._map is None else self._class(label, score)
            if name is not None:
                self._seen.add(name)
                if self._reported(name, score):
                    found.add(name)
        if len(found) > self._of_an_answer:
            self.broken = (
                f"an answer had {len(found)} labels, where its provider says {self._of_an_answer} at most"
            )
            return FAILED
        return frozenset(found).union(
            Possible(name) for name in self._absent if name in found or self._may_be_cut(answer, name)
        )

    def unseen(self, name: str) -> bool:
        """Whether absence cannot be said of `name`, as no answer so far has shown that the provider knows it."""
        return self._to_be_seen and name not in self._seen

    def threshold(self, name: str | None) -> float | None:
        """The score from which the label `name` counts as reported; of None, where it is the same for all."""
        if isinstance(self._thresholds, Mapping):
            return None if name is None else self._thresholds.get(name)
        return self._thresholds

    def _check_absent(self, names: Collection[str] | None, least: float) -> None:
        """Refuse a label whose absence no answer could tell."""
        known = set(self.named) or (self._map and set(self._map.classes))
        for name in self._absent:
            if known and name not in known:  # never looked at, it would always seem absent
                raise ConfigurationError(
                    f"the absence of {name!r} needs its threshold, or a class of that name"
                )
            if self._map is None and names is not None and name not in names:
                near = get_close_matches(name.casefold(), {each.casefold(): each for each in names}, n=1)
                meant = [each for each in names if near and each.casefold() == near[0]]
                raise ConfigurationError(
                    f"this provider never says {name!r}, so that it would always seem absent"
                    + (f"; did you mean {meant[0]!r}?" if meant else "")
                )
            threshold = self.threshold(name)
            if threshold is not None and threshold < least:
                raise ConfigurationError(
                    f"the request leaves out labels with a score below {least:g}, and so cannot tell the absence of "
                    f"{name!r} at {threshold:g}: raise its threshold, or lower the provider's min_confidence"
                )

    def _name(self, label: Label) -> str:
        """What a label is called here: as it was named, if it was."""
        if label.name in self.named or label.name in self._absent:
            return label.name
        by_id = None if label.id is None else self._aliases.get(label.id.casefold())
        return by_id or self._aliases.get(label.name.casefold(), label.name)

    def _may_be_cut(self, answer: Answer, name: str) -> bool:
        """Whether a label called `name` that counts may be among those for which the answer had no room."""
        if self._full is None or len(answer.labels) < self._full:
            return False
        if is_scoreless(answer):  # one label is a classifier's whole answer
            return self._full > 1
        threshold = self.threshold(name)
        return min(label.score or 0.0 for label in answer.labels) >= (0.0 if threshold is None else threshold)

    def _class(self, label: Label, score: float) -> str | None:
        assert self._map is not None
        entry = counted(self._map.find(label)[1], score)
        return None if entry is None else entry.owner

    def _reported(self, name: str, score: float) -> bool:
        if isinstance(self._thresholds, Mapping):
            return name in self._thresholds and score >= self._thresholds[name]
        return score >= self._thresholds


def presences(
    bounds: Sequence[Bound],
    count: QueryCount,
    loaded: Loaded,
    *,
    report: LabelReport,
    provenance: Provenance,
    target: float | None,
    cost_usd: float,
    look: Look,
) -> list[Certificate]:
    """One certificate a label: those that are certified, were named, or have half the votes. The first is charged."""
    found: list[Certificate] = []
    count = replace(count, last_error=report.broken or count.last_error)
    for bound in [*bounds, *_unreported(bounds, count, report.named, target)]:
        (key,) = bound.counts
        name = f"not: {key.label}" if isinstance(key, Absent) else str(key)
        if isinstance(key, Absent) and bound.label is not None and report.unseen(str(key.label)):
            bound = _unproved(bound, target)
        told = bound.label is not None or name in report.named or isinstance(key, Absent)
        if not told and bound.votes < _WORTH_TELLING * bound.n:
            continue
        sure = bound.label is not None
        bound = replace(bound, label=name if sure else None, counts={name: bound.votes})
        shared = QueryCount(cached=bound.n, version=count.version, unconfirmed=count.unconfirmed)
        spent = shared if found else count
        made = certificate(
            bound,
            spent,
            loaded,
            provenance=provenance,
            target=target,
            cost_usd=0.0 if found else cost_usd,
            look=look,
            kind="absent" if isinstance(key, Absent) else "present",
            threshold=report.threshold(str(key.label if isinstance(key, Absent) else key)),
        )
        found.append(made if sure else replace(made, reason=": ".join(filter(None, (name, made.reason)))))
    if not found:  # an image never leaves without a line, and what it cost
        blank = _blank(count, target)
        if blank.stopped == "futile" and bounds:
            blank = replace(blank, reason="no label is in more than half of the answers")
        found = [
            certificate(
                blank,
                count,
                loaded,
                provenance=provenance,
                target=target,
                cost_usd=cost_usd,
                look=look,
                kind="present",
                threshold=report.threshold(None),
            )
        ]
    return found


def _unproved(bound: Bound, target: float | None) -> Bound:
    """`bound` without its claim, about a name that the provider may not know."""
    return replace(
        bound,
        label=None,
        radius=0.0,
        p_lower=0.0,
        reached=None if target is None else False,
        reason="no answer had this label at any score, so it may be called otherwise here; if not, say unseen_ok",
    )


def _broken(count: QueryCount) -> bool:
    return count.counted.get(FAILED, 0) > MAX_FAILED * count.n


def _blank(count: QueryCount, target: float | None) -> Bound:
    """An abstention on the votes of `count`."""
    failed = count.counted.get(FAILED, 0)
    stopped: Stopped | None = "futile"
    reason = "no answer reports it"
    if _broken(count):
        stopped, reason = "failed", f"{failed} of {count.n} answers failed"
    elif count.out_of_budget:
        stopped, reason = None, ""
    return Bound(
        label=None,
        radius=0.0,
        p_lower=0.0,
        votes=0,
        n=count.n,
        n0=0,
        counts={},
        failed=failed,
        runner_up=None,
        reached=None if target is None else False,
        stopped=stopped,
        method="sequential",
        reason=reason,
    )


def _unreported(
    bounds: Sequence[Bound], count: QueryCount, named: Collection[str], target: float | None
) -> list[Bound]:
    """Abstentions for the labels that were named and that no answer reported."""
    seen = {key for bound in bounds for key in bound.counts}
    blank = _blank(count, target)
    return [replace(blank, counts={name: 0}) for name in named if name not in seen]
