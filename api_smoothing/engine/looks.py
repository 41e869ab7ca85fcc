"""Questions about one stream of votes, and what their order makes of them.

The first question has α under the rule it asks for: it was chosen before its first vote was seen. Every later one,
chosen by somebody who saw votes, is answered from one confidence sequence of the stream at level α, whatever it asks.
So all answers hold together with probability 1 − 2α, and 1 − α where the first came from that sequence as well. A
reading of the same answers (label map, thresholds, labels present or absent) other than the first question's has no
such bound.

A rule that becomes sharper, or learns, does not make another question of one that was asked: that goes on under the
version and the prior it was begun with, see `begun`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from api_smoothing.certify import Spec
from api_smoothing.certify.spec import RULES
from api_smoothing.results import Look

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior

_ANYTIME: Final = "anytime/"
_UNKNOWN: Final = "unknown/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a stream: the `rule` with its version, the `radius` it aims at, `n` and the `n0` that choose the
    class, the error `alpha`, and the `reading`, which names how an answer becomes a vote. What a budget allows is no
    part of it: the same question goes on where a budget ended. Several `radii` stand in place of one. A rule that
    learns has its whole `prior` here, so that it is kept with the question.
    """

    rule: str
    radius: float | None = None
    n: int | None = None
    n0: int = 0
    alpha: float
    reading: str
    radii: tuple[float, ...] = ()
    prior: Prior | None = None

    def __str__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self.radii:
            del values["radii"]
        if self.prior is None:
            del values["prior"]
        else:
            values["prior"] = self.prior.to_dict()
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `str` gave. Raises TypeError or ValueError for a question of a kind that is not known here."""
        values = json.loads(text)
        if "radii" in values:
            values["radii"] = tuple(values["radii"])
        if "prior" in values:
            from api_smoothing.certify.prior import Prior

            values["prior"] = Prior.from_dict(values["prior"])
        return cls(**values)

    def continues(self, begun: Question) -> bool:
        """Whether this is the question that was `begun`, but for the version of its rule and the prior."""
        same_rule = begun.rule.partition("/")[0] == self.rule.partition("/")[0]
        return same_rule and replace(begun, rule=self.rule, prior=self.prior) == self


def begun(asked: Sequence[str], question: Question) -> Question:
    """What `question` goes on as: the one of those `asked` that it continues, or itself where it is a new one."""
    for text in asked:
        try:
            before = Question.from_text(text)
        except (TypeError, ValueError):
            continue
        if question.continues(before):
            return before
    return question


def look_of(asked: Sequence[str], question: Question) -> Look:
    """What `question` is after those that were `asked`, in order, it among them or not."""
    texts = list(asked) if str(question) in asked else [*asked, str(question)]
    questions = [json.loads(text) for text in texts]
    first = questions[0]
    same = [q for q in questions if q["reading"] == first["reading"]]
    exploratory = question.reading != first["reading"]
    sequence = [q["alpha"] for q in same if q is not first or q["rule"].startswith(_ANYTIME)]
    total = max(sequence, default=0.0) + (0.0 if first["rule"].startswith(_ANYTIME) else first["alpha"])
    later = texts.index(str(question)) > 0
    prior = None if later else question.prior
    return Look(
        later=later,
        rule=f"{_ANYTIME}{RULES['anytime']}" if later else question.rule,
        looks=len(texts),
        alpha_total=None if exploratory else min(1.0, total),
        exploratory=exploratory,
        prior=None if prior is None else prior.digest,
        learned=None if prior is None else prior.to_dict(),
    )


def about_the_label(spec: Spec, label_map: str | None) -> Question:
    """Which class the most answers are of, by `spec`, read with the label map of that name."""
    return Question(
        rule=spec.rule,
        radius=None if spec.radius is None else float(spec.radius),
        radii=spec.radii,
        n=spec.n,
        n0=(spec.most or 0) - (spec.n or 0),
        alpha=spec.alpha,
        reading=label_reading(label_map),
        prior=spec.prior if spec.learns else None,
    )


def about_the_prediction(n: int, alpha: float, label_map: str | None) -> Question:
    """The most probable class, without a radius."""
    return Question(rule="predict/1", n=n, alpha=alpha, reading=label_reading(label_map))


def about_labels(
    spec: Spec,
    *,
    label_map: str | None,
    thresholds: float | Mapping[str, float],
    absent: Collection[str],
    most: int,
) -> Question:
    """Which labels are reported, and which of `absent` are not, by `spec`, where a vote reports `most` at most."""
    named: object = thresholds
    if isinstance(thresholds, Mapping):
        named = {name: float(thresholds[name]) for name in sorted(thresholds)}
    reading = {"labels": label_map, "thresholds": named, "absent": sorted(absent), "most": most}
    aim = None if spec.radius is None else float(spec.radius)
    return Question(rule=spec.rule, radius=aim, n=spec.n, alpha=spec.alpha, reading=json.dumps(reading))


def label_reading(label_map: str | None) -> str:
    """Names the reading by the best label, or by the class that a map gives."""
    return json.dumps({"label": label_map})


def unknown(facts: Mapping[str, Any], alpha: float) -> str:
    """Stands for what was asked of answers that are kept from before questions were."""
    told = facts.get("alpha", alpha)
    return str(Question(rule=_UNKNOWN, alpha=float(told), reading=label_reading(facts.get("label_map"))))
