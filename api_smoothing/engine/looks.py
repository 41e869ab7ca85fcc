"""Questions about one stream of votes, and what their order makes of them.

The first question has α under the rule it asks for: it was chosen before its first vote was seen. Every later one,
chosen by somebody who saw votes, is answered from one confidence sequence of the stream at level α, whatever it asks.
So all answers hold together with probability 1 − 2α, and 1 − α where the first came from that sequence as well. A
reading of the same answers (label map, thresholds, labels present or absent) other than the first question's has no
such bound.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from api_smoothing.certify import Spec
from api_smoothing.results import Look

_ANYTIME: Final = "anytime/"
_UNKNOWN: Final = "unknown/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a stream: the `rule` with its version, the `radius` it aims at, `n` and the `n0` that choose the
    class, the error `alpha`, and the `reading`, which names how an answer becomes a vote. What a budget allows is no
    part of it: the same question goes on where a budget ended.
    """

    rule: str
    radius: float | None = None
    n: int | None = None
    n0: int = 0
    alpha: float
    reading: str

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


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
    return Look(
        later=later,
        rule=f"{_ANYTIME}1" if later else question.rule,
        looks=len(texts),
        alpha_total=None if exploratory else min(1.0, total),
        exploratory=exploratory,
    )


def about_the_label(spec: Spec, label_map: str | None) -> Question:
    """Which class the most answers are of, by `spec`, read with the label map of that name."""
    return Question(
        rule=spec.rule,
        radius=None if spec.radius is None else float(spec.radius),
        n=spec.n,
        n0=(spec.most or 0) - (spec.n or 0),
        alpha=spec.alpha,
        reading=label_reading(label_map),
    )


def about_the_prediction(n: int, alpha: float, label_map: str | None) -> Question:
    """The most probable class, without a radius."""
    return Question(rule="predict/1", n=n, alpha=alpha, reading=label_reading(label_map))


def about_labels(
    radius: float | None,
    n: int | None,
    alpha: float,
    *,
    label_map: str | None,
    thresholds: float | Mapping[str, float],
    absent: Collection[str],
    most: int,
) -> Question:
    """Which labels are reported, and which of `absent` are not, where a vote reports `most` at most."""
    rule = f"{_ANYTIME}1" if radius is None else "open/1" if n is None else "capped/1"
    named: object = thresholds
    if isinstance(thresholds, Mapping):
        named = {name: float(thresholds[name]) for name in sorted(thresholds)}
    reading = {"labels": label_map, "thresholds": named, "absent": sorted(absent), "most": most}
    aim = None if radius is None else float(radius)
    return Question(rule=rule, radius=aim, n=n, alpha=alpha, reading=json.dumps(reading))


def label_reading(label_map: str | None) -> str:
    """Names the reading by the best label, or by the class that a map gives."""
    return json.dumps({"label": label_map})


def unknown(facts: Mapping[str, Any], alpha: float) -> str:
    """Stands for what was asked of answers that are kept from before questions were."""
    told = facts.get("alpha", alpha)
    return str(Question(rule=_UNKNOWN, alpha=float(told), reading=label_reading(facts.get("label_map"))))
