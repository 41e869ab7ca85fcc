"""Exact first-passage probabilities of a count over a boundary, by dynamic programming.

A stopping rule for one class is a boundary K: stop at the first n with k_n ≥ K(n), where k_n counts the votes
for the class among the first n. Everything a rule promises (error, power, mean number of answers) is a sum
over the at most n+1 counts that are still alive at n, so it is computed, not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TINY = 1e-17  # mass dropped at either end of the band, per trim; all of it is charged to `dropped`
_TRIM = 16  # answers between two trims
_GONE = 1e-12
_MARKS = 32  # along a boundary, from which the next one is followed


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Where the count ends up: `upper` + `lower` + `alive.sum()` + `dropped` = 1 (up to rounding).

    `upper` is P(crossed K), `lower` P(stopped below), `calls` E[answers until either, or the horizon].
    `alive[i]` is P(still running at the horizon with count `first` + i). `dropped` is the mass that left the
    band; whoever needs an upper bound on an error adds it.
    """

    upper: float
    lower: float
    calls: float
    first: int
    alive: Floats
    dropped: float


_START = Passage(upper=0.0, lower=0.0, calls=0.0, first=0, alive=np.ones(1), dropped=0.0)


def passage(upper: Counts, p: float, lower: Counts | None = None) -> Passage:
    """First passage of a Bernoulli(`p`) count to `upper` or above, or to `lower` or below.

    `upper[n-1]` is the smallest count that stops at n (n+1 or more: none does); `lower[n-1]` the largest one
    that stops from below (−1: none does). Answers after the horizon are not looked at.
    """
    return _onward(_START, 0, upper, p, lower)


class Passages:
    """`passage` over the upper boundaries of a search, each followed from where it leaves the one before it.

    Those are mostly alike up to a late answer. Every figure is that of `passage`, bit for bit: the same operations on
    the same numbers.
    """

    def __init__(self) -> None:
        """Nothing has been followed yet."""
        self._followed: dict[float, tuple[Counts, list[tuple[int, Passage]]]] = {}

    def __call__(self, upper: Counts, p: float) -> Passage:
        """`passage(upper, p)`."""
        before, marks = self._followed.get(p, (upper, [(0, _START)]))
        both = min(upper.size, before.size)
        apart = np.flatnonzero(upper[:both] != before[:both])
        alike = int(apart[0]) if apart.size else both
        while marks[-1][0] > alike:
            marks.pop()
        since, ran = marks[-1]
        every = -(-upper.size // _MARKS)
        while since < upper.size:
            until = min(since + every, upper.size)
            ran = _onward(ran, since, upper[:until], p)
            marks.append((until, ran))
            since = until
        self._followed[p] = upper.copy(), marks
        return ran


def _onward(ran: Passage, since: int, upper: Counts, p: float, lower: Counts | None = None) -> Passage:
    """Where the count is after `upper.size` answers, from where it was after `since`."""
    tops = upper[since:].tolist()
    floors = None if lower is None else lower[since:].tolist()
    crossed, fallen, calls, dropped = ran.upper, ran.lower, ran.calls, ran.dropped
    base, low, high = ran.first, 0, ran.alive.size
    mass, hits = np.zeros(high + len(tops)), np.empty(high + len(tops))  # of the counts from `base` on
    mass[:high] = ran.alive  # the alive ones are mass[low:high], and there is none above
    hit, miss = np.array(p), np.array(1.0 - p)  # arrays, as numpy takes twice as long with a Python float
    for i, top in enumerate(tops):
        if low == high:
            break
        calls += 1.0 - crossed - fallen - dropped
        alive, more = mass[low:high], hits[low:high]
        np.multiply(alive, hit, more)
        np.multiply(alive, miss, alive)
        high += 1
        alive = mass[low + 1 : high]
        np.add(alive, more, alive)
        if base + high > top:
            met = max(low, top - base)
            crossed += _sum(mass[met:high])
            mass[met:high] = 0.0
            high = met
        if floors is not None and base + low <= floors[i]:
            left = min(high, floors[i] + 1 - base)
            fallen += _sum(mass[low:left])
            low = left
        if (since + i) % _TRIM == 0 and high - low > 1:
            step = mass[low:high]
            below, above = _negligible(step), _negligible(step[::-1])
            if below + above >= step.size:
                dropped += float(step.sum())
                high = low
            else:
                end = step.size - above
                dropped += float(step[:below].sum() + step[end:].sum())
                step[end:] = 0.0
                low, high = low + below, low + end
    alive = mass[low:high].copy()
    return Passage(upper=crossed, lower=fallen, calls=calls, first=base + low, alive=alive, dropped=dropped)


def _sum(mass: Floats) -> float:
    return float(mass[0] if mass.size == 1 else mass.sum())


def _negligible(mass: Floats) -> int:
    """How many of the first entries sum to less than `_TINY`."""
    return 0 if mass[0] >= _TINY else int(np.searchsorted(np.cumsum(mass), _TINY))


def passages(upper: Counts, p: Floats, lower: Counts) -> tuple[Floats, Floats]:
    """For each of the `p` the mean number of answers, and P(crossed `upper`): `passage` for many at once.

    A `p` is followed until at most 10⁻¹² of it is alive, so this plans and proves nothing.
    """
    calls, crossed = np.zeros(p.size), np.zeros(p.size)
    rows, running = np.arange(p.size), np.ones(p.size)
    hit, miss = p[:, None], 1.0 - p[:, None]
    mass = np.ones((p.size, 1))
    first = 0
    for top, floor in zip(upper.tolist(), lower.tolist(), strict=True):
        calls[rows] += running
        step = np.zeros((rows.size, mass.shape[1] + 1))
        np.multiply(mass, hit, out=step[:, 1:])
        step[:, :-1] += mass * miss
        width = max(0, top - first)
        if width < step.shape[1]:
            crossed[rows] += step[:, width:].sum(axis=1)
        below = max(0, floor + 1 - first)
        mass = step[:, below:width]
        first += below
        running = mass.sum(axis=1)
        if running.min() <= _GONE:
            alive = running > _GONE
            rows, mass, running, hit, miss = rows[alive], mass[alive], running[alive], hit[alive], miss[alive]
        if rows.size == 0 or mass.shape[1] == 0:
            break
    return calls, crossed


def running(upper: Counts, p: Floats, lower: Counts) -> Floats:
    """P(still running after t answers), t = 0 … horizon along the rows, for each of the `p` along the columns.

    A `p` is followed until at most 10⁻¹² of it is alive, so this plans and proves nothing.
    """
    found = np.zeros((upper.size + 1, p.size))
    found[0] = 1.0
    columns, hit, miss = np.arange(p.size), p, 1.0 - p
    mass, first = np.ones((1, p.size)), 0  # rows are counts, so that each is one stretch of memory
    for t, (top, floor) in enumerate(zip(upper.tolist(), lower.tolist(), strict=True), 1):
        step = np.empty((mass.shape[0] + 1, columns.size))
        step[0] = 0.0
        np.multiply(mass, hit, out=step[1:])
        mass *= miss
        step[:-1] += mass
        below = max(0, floor + 1 - first)
        mass = step[below : max(below, top - first)]
        first += below
        left = mass.sum(axis=0)
        found[t, columns] = left
        if left.min() <= _GONE:
            alive = left > _GONE
            columns, mass, hit, miss = columns[alive], mass[:, alive], hit[alive], miss[alive]
        if columns.size == 0:
            break
    return found
