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


def passage(upper: Counts, p: float, lower: Counts | None = None) -> Passage:
    """First passage of a Bernoulli(`p`) count to `upper` or above, or to `lower` or below.

    `upper[n-1]` is the smallest count that stops at n (n+1 or more: none does); `lower[n-1]` the largest one
    that stops from below (−1: none does). Answers after the horizon are not looked at.
    """
    tops = upper.tolist()
    floors = None if lower is None else lower.tolist()
    mass = np.ones(1)
    first = 0
    crossed = fallen = calls = dropped = 0.0
    for i, top in enumerate(tops):
        calls += 1.0 - crossed - fallen - dropped
        step = np.empty(mass.size + 1)
        step[0] = 0.0
        np.multiply(mass, p, out=step[1:])
        mass *= 1.0 - p
        step[:-1] += mass
        over = first + step.size - top
        if over > 0:
            over = min(over, step.size)
            crossed += float(step[-1] if over == 1 else step[step.size - over :].sum())
            step = step[: step.size - over]
        if floors is not None and floors[i] >= first:
            under = min(floors[i] - first + 1, step.size)
            fallen += float(step[0] if under == 1 else step[:under].sum())
            step = step[under:]
            first += under
        if i % _TRIM == 0 and step.size > 1:
            low = 0 if step[0] >= _TINY else int(np.searchsorted(np.cumsum(step), _TINY))
            above = 0 if step[-1] >= _TINY else int(np.searchsorted(np.cumsum(step[::-1]), _TINY))
            high = step.size - above
            if low >= high:
                dropped += float(step.sum())
                step = step[:0]
            else:
                dropped += float(step[:low].sum() + step[high:].sum())
                step = step[low:high]
                first += low
        mass = step
        if mass.size == 0:
            break
    return Passage(upper=crossed, lower=fallen, calls=calls, first=first, alive=mass, dropped=dropped)


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
