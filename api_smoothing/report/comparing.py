"""Runs against the first of them: differences of certified accuracy at a radius, with exact tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from api_smoothing.claims.paired import mcnemar_two_sided
from api_smoothing.report.curves import CONFIDENCE, exact
from api_smoothing.report.rows import Rows

LEVEL: Final = 1.0 - CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Run `other` against run `base` (indices) at `radius`.

    Where `paired`, the `n_base` = `n_other` images are those that both have, and `only_base` and `only_other` count
    those certified right in one run alone. `difference` is other − base, in shares; `low` and `high` hold it with at
    least 95 % confidence. `p` is two-sided: McNemar's exact test where paired, else Fisher's. `significant` allows for
    all the comparisons made (Holm 1979) at a family-wise level of 5 %.
    """

    base: int
    other: int
    radius: float
    paired: bool
    n_base: int
    n_other: int
    k_base: int
    k_other: int
    only_base: int | None
    only_other: int | None
    difference: float
    low: float
    high: float
    p: float
    significant: bool = False


def compare(runs: Sequence[Rows], radii: Sequence[float]) -> list[Comparison]:
    """Every run but the first against the first, at every radius."""
    found = []
    for other in range(1, len(runs)):
        if not len(runs[0]) or not len(runs[other]):
            continue
        pairs = pairs_of(runs[0], runs[other])
        found += [_compared(runs, other, radius, pairs) for radius in radii]
    return _with_significance(found)


def pairs_of(a: Rows, b: Rows) -> NDArray[np.int64] | None:
    """(m, 2) indices of the same images in both runs: all images of the smaller one; None where that is not so.

    The same image has the same id in its data set, and the same pixels where both enter the noise at one size.
    """
    place = {name: i for i, name in enumerate(a.ids)}
    pairs = [
        (place[name], j) for j, name in enumerate(b.ids) if name in place and _same(a, place[name], b, j)
    ]
    whole = min(len(set(a.ids)), len(set(b.ids)))
    return np.array(pairs, dtype=np.int64) if len(pairs) == whole > 0 else None


def _same(a: Rows, i: int, b: Rows, j: int) -> bool:
    one, other = a.certificates[i], b.certificates[j]
    if one is None or other is None or not one.image_sha256 or not other.image_sha256:
        return True
    return one.space != other.space or one.image_sha256 == other.image_sha256


def _compared(runs: Sequence[Rows], other: int, radius: float, pairs: NDArray[np.int64] | None) -> Comparison:
    a, b = (run.right_reach >= radius for run in (runs[0], runs[other]))
    only_a: int | None = None
    only_b: int | None = None
    if pairs is not None:
        a, b = a[pairs[:, 0]], b[pairs[:, 1]]
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        low, high = _interval((only_b, len(a)), (only_a, len(a)))
        p = mcnemar_two_sided(only_a, only_b)
    else:
        low, high = _interval((int(b.sum()), len(b)), (int(a.sum()), len(a)))
        p = fisher(int(a.sum()), len(a), int(b.sum()), len(b))
    return Comparison(
        base=0,
        other=other,
        radius=radius,
        paired=pairs is not None,
        n_base=len(a),
        n_other=len(b),
        k_base=int(a.sum()),
        k_other=int(b.sum()),
        only_base=only_a,
        only_other=only_b,
        difference=float(b.mean() - a.mean()),
        low=low,
        high=high,
        p=p,
    )


def _interval(plus: tuple[int, int], minus: tuple[int, int]) -> tuple[float, float]:
    """Of plus − minus, two shares (k, n): each in its exact interval but for 2.5 %, so both but for 5 %."""
    half = 1.0 - LEVEL / 2.0
    (low_a,), (high_a,) = exact(np.array([plus[0]]), plus[1], half)
    (low_b,), (high_b,) = exact(np.array([minus[0]]), minus[1], half)
    return float(low_a - high_b), float(high_a - low_b)


def fisher(k_a: int, n_a: int, k_b: int, n_b: int) -> float:
    """Fisher's exact two-sided p-value: tables no likelier than k_a of n_a against k_b of n_b, margins held."""
    total = k_a + k_b
    k = np.arange(max(0, total - n_b), min(n_a, total) + 1)
    log = _choose(n_a, k) + _choose(n_b, total - k) - _choose(n_a + n_b, np.array(total))
    seen = log[k == k_a]
    return min(1.0, float(np.exp(log[log <= seen + 1e-7]).sum()))


def _choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return found


def _with_significance(found: Sequence[Comparison]) -> list[Comparison]:
    """Holm's step-down over all of them: the i-th smallest p is held against 5 % / (m − i)."""
    significant = set()
    for rank, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].p)):
        if found[i].p > LEVEL / (len(found) - rank):
            break
        significant.add(i)
    return [replace(one, significant=i in significant) for i, one in enumerate(found)]
