"""Two runs on the same images: whether the second is worse, and worse by more than is allowed.

Of n images b were right in the first run only and c in the second only; the drop is (b − c)/n. The n pairs are
independent draws with P(first only) = p10 and P(second only) = p01.

*No margin* (`mcnemar`): under p10 ≤ p01 and given b + c, b is at most Bin(b + c, ½). The tail of that is an exact
p-value [McNemar 1947, in its exact form]. Images on which the runs agree say nothing of it. Of a fixed set, whose
images differ in how they change, it is exact for "no image is worse": each one that changed then did so for the
worse with probability ½ at most.

*A margin D* (`drop_p_value`): under p10 − p01 ≤ D the law of b − c depends on the share η = p10 + p01 of images
that change, which is not known. The p-value is the largest of P(b − c ≥ what was seen) over all η of a 1 − γ
interval from b + c (Clopper and Pearson), plus γ [Berger and Boos 1994]: with probability at most γ the interval
misses the true η, otherwise the largest is no smaller than the true tail. The maximum is over cells: raising p10
and lowering p01 raises b − c (one uniform variable for both), so p10 at the upper and p01 at the lower end of a
cell bound all of it. For D = 0 McNemar's test needs no γ and is used.

*The gate* fails a build only where the drop is larger than `most` *by the test* at level 0.05: chance fails at most
one build in twenty of a model that has not got worse by more, and what is not shown passes. A floor (`floor`)
likewise fails only where accuracy is below it by the exact binomial test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.special import bdtr, bdtrc

from api_smoothing.certify import clopper_pearson
from api_smoothing.claims.finite import log_binomial
from api_smoothing.errors import ConfigurationError

#: The level of a gate.
LEVEL: Final = 0.05

_MISSED: Final = 0.0025  # γ
_CELLS: Final = 60
_UP: Final = 1.0 + 1e-9  # rounding of sums of tails


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`passed`, one line `why`, and the `p_value` of the test that decides."""

    passed: bool
    why: str
    p_value: float


def mcnemar(only_before: int, only_after: int) -> float:
    """The exact one-sided p-value against "no worse", P(Bin(b + c, ½) ≥ b): b right before only, c after only."""
    _check(only_before, only_after, only_before + only_after)
    return _at_least(only_before, only_before + only_after, 0.5)


def mcnemar_two_sided(only_before: int, only_after: int) -> float:
    """The exact two-sided p-value against "the same": twice the smaller tail, at most 1."""
    return min(1.0, 2.0 * mcnemar(max(only_before, only_after), min(only_before, only_after)))


def drop_p_value(only_before: int, only_after: int, n: int, most: float = 0.0) -> float:
    """The p-value against "accuracy fell by at most `most`", 0 ≤ `most` < 1, from `n` paired images."""
    _check(only_before, only_after, n)
    if not 0.0 <= most < 1.0:
        raise ConfigurationError(f"a drop that is allowed lies in [0, 1), not {most!r}")
    if most == 0.0:
        return mcnemar(only_before, only_after)
    seen, changed = only_before - only_after, only_before + only_after
    if seen <= most * n:
        return 1.0
    low = max(most, float(clopper_pearson.lower(changed, n, _MISSED / 2)))
    high = max(low, float(clopper_pearson.upper(changed, n, _MISSED / 2)))
    ends = np.linspace((low - most) / 2.0, (high - most) / 2.0, _CELLS + 1)
    tails = [
        _difference_at_least(seen, n, min(1.0, right + most), left) for left, right in pairwise(ends.tolist())
    ]
    return min(1.0, max(tails) * _UP + _MISSED)


def gate(pairs: Iterable[tuple[bool, bool]], most: float = 0.0, level: float = LEVEL) -> Verdict:
    """Whether the second run passes beside the first: `pairs` are (right before, right after) of the same images.

    It fails where "the drop is at most `most`" is rejected at `level`.
    """
    before = after = only_before = only_after = n = 0
    for first, second in pairs:
        n += 1
        before += bool(first)
        after += bool(second)
        only_before += bool(first) and not second
        only_after += bool(second) and not first
    if not n:
        raise ConfigurationError("the two runs have no image in common: nothing can be compared")
    p_value = drop_p_value(only_before, only_after, n, most)
    told = (
        f"{before} of {n} before, {after} now: {only_before} lost, {only_after} gained "
        f"(exact paired test of a drop above {most:g}: p = {p_value:.2g})"
    )
    if p_value <= level:
        return Verdict(passed=False, why=f"accuracy fell by more than {most:g}: {told}", p_value=p_value)
    return Verdict(passed=True, why=f"no drop above {most:g} is shown: {told}", p_value=p_value)


def floor(k: int, n: int, at_least: float, level: float = LEVEL) -> Verdict:
    """Whether `k` of `n` images leave it open that the accuracy is `at_least`; it fails where that is rejected."""
    _check(k, 0, n)
    if not 0.0 <= at_least <= 1.0:
        raise ConfigurationError(f"a floor lies in [0, 1], not {at_least!r}")
    if not n:
        raise ConfigurationError("there is no image to hold against the floor")
    p_value = _at_least(n - k, n, 1.0 - at_least)
    told = f"{k} of {n} (exact binomial test: p = {p_value:.2g})"
    if p_value <= level:
        return Verdict(passed=False, why=f"accuracy is below {at_least:g}: {told}", p_value=p_value)
    return Verdict(
        passed=True, why=f"accuracy is not shown to be below {at_least:g}: {told}", p_value=p_value
    )


def _at_least(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) ≥ k), rounded up."""
    return 1.0 if k <= 0 else min(1.0, float(bdtrc(k - 1, n, p)) * _UP)


def _difference_at_least(seen: int, n: int, p10: float, p01: float) -> float:
    """P(b − c ≥ `seen`) of `n` pairs, b ~ Bin(n, `p10`) and, given b, c ~ Bin(n − b, p01/(1 − p10))."""
    if p10 >= 1.0:
        return 1.0
    # A larger b is counted as if it were always enough.
    far = min(n, max(seen, math.ceil(n * p10 + 10.0 * math.sqrt(n * p10) + 50.0)))
    b = np.arange(seen, far + 1, dtype=np.int64)
    most = np.minimum(b - seen, n - b)
    chance = np.exp(log_binomial(n, b, p10))
    near = float((chance * bdtr(most, n - b, min(1.0, p01 / (1.0 - p10)))).sum())
    return near + (float(bdtrc(far, n, p10)) if far < n else 0.0)


def _check(only_before: int, only_after: int, n: int) -> None:
    if min(only_before, only_after) < 0 or only_before + only_after > n:
        raise ConfigurationError(f"{only_before} and {only_after} of {n} images: the counts do not fit")
