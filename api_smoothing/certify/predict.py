"""Cohen's PREDICT: the class of the smoothed classifier, or no answer.

Source: Cohen et al. 2019, PREDICT and Prop. 2: the class returned is the most probable one, except with
probability at most α.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from scipy.special import betainc

from api_smoothing.certify.tally import Tally


def two_sided_p_value(first: int, second: int) -> float:
    """P-value of the exact two-sided binomial test that two classes are equally probable, rounded up.

    `first` and `second` are their counts, in any order.
    """
    if first < 0 or second < 0:
        raise ValueError("counts must not be negative")
    most, total = max(first, second), first + second
    if most == min(first, second):
        return 1.0
    return min(1.0, 2.0 * float(betainc(most, total - most + 1, 0.5)) * (1.0 + 1e-12))


def predict(answers: Sequence[Hashable | None], alpha: float) -> Hashable | None:
    """The class with the most votes if the test against the runner-up rejects at `alpha`, else None.

    "No label" and failed answers compete together as one more outcome, which can win only to make this
    abstain.
    """
    tally = Tally()
    for answer in answers:
        tally.add(answer)
    second = tally.runner_up(tally.leader)
    other = max(tally.counts.get(second, 0), tally.unlabelled + tally.failed)
    if tally.leader is None or other >= tally.top:
        return None
    return tally.leader if two_sided_p_value(tally.top, other) <= alpha else None
