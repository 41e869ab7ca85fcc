"""When a run will stop: the exact distribution of its answers, for every share of votes in one pass.

Among the runs that have k votes in their first t answers, every order of those is equally likely, whatever the
class's share p. So the chance that such a run is still going does not depend on p, and one recursion serves all p:

    P(T > t | p) = Σ_k going(t, k) · Bin(k; t, p),
    going(t, k) = k/t · going(t−1, k−1) + (t−k)/t · going(t−1, k)   where (t, k) is not a stop, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import gammaln

from api_smoothing.certify import Spec, certifier_of, plan
from api_smoothing.certify.anytime import ConfidenceSequence
from api_smoothing.certify.cohen import ClopperPearsonCertifier
from api_smoothing.certify.crossing import Counts, Floats, running
from api_smoothing.certify.fixed import FixedCertifier
from api_smoothing.certify.futility import futility_boundary, hopeless_share, spare
from api_smoothing.certify.radius import threshold

#: Answers to which a run without a cap is followed exactly.
HORIZON: Final = 20_000
_EVERY = 1024  # up to here each number of answers counts for itself, then they come in bins
_BIN = 1.02
_TAIL_BIN = 1.2
_LONGEST = 1e8
_LOOKED = 64  # numbers of answers at which the sequence is asked for its boundary, which is smooth in between
_GONE = 1e-9  # a share whose runs have all but surely stopped is followed no further


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Stop at n answers, n = 1 …, with `upper[n-1]` votes or more, or `lower[n-1]` or fewer.

    `ends` says that nothing goes on after the last n. The first `skip` answers of a run are not counted.
    """

    upper: Counts
    lower: Counts
    ends: bool
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The answers T that are still to come, as bins `low[j]` ≤ T ≤ `high[j]` (both ascending).

    `chance[s, j]` is the probability of bin j for the s-th share, and `mean[s]` the expectation, where a run
    without a cap counts HORIZON answers at most. `open_end[s]` is the probability of more than that. Beyond the
    horizon it falls as 1/√T, as for a mixture of shares spread around the critical one.
    """

    low: Counts
    high: Counts
    chance: Floats
    mean: Floats
    open_end: Floats


def stopping_rules(spec: Spec) -> list[Rule]:
    """Those by which the certifier of a spec decides each of its radii; it stops with the last.

    Raises UnreachableRadiusError.
    """
    if not spec.radii:
        return [_rule(spec)]
    certifier_of(spec)
    return [_by_the_sequence(spec, radius) for radius in spec.radii]


def _by_the_sequence(spec: Spec, radius: float) -> Rule:
    sequence, p0 = ConfidenceSequence(spec.alpha), threshold(radius, sigma=spec.sigma, noise=spec.noise)
    last = spec.n or HORIZON
    n = np.arange(1, last + 1)
    looked = np.unique(np.append(np.geomspace(1, last, _LOOKED).astype(np.int64), last))
    upper = np.interp(n, looked, [sequence.least_votes(p0, int(t)) for t in looked]).round().astype(np.int64)
    lower = n - futility_boundary(p0).counts(n.size)
    if spec.n is not None:
        lower = np.maximum(lower, n - 1 - (last - int(upper[-1])))
    return Rule(upper=upper, lower=lower, ends=spec.n is not None)


def _rule(spec: Spec) -> Rule:
    made = certifier_of(spec)
    if isinstance(made, FixedCertifier | ClopperPearsonCertifier):
        decision = made.decision
        lower = np.arange(1, decision.n + 1) - 1 - decision.n + decision.floor
        skip = spec.n0 if isinstance(made, ClopperPearsonCertifier) else 0
        return Rule(upper=np.full(decision.n, decision.enough), lower=lower, ends=True, skip=skip)
    assert spec.radius is not None
    p0 = threshold(spec.radius, sigma=spec.sigma, noise=spec.noise)
    upper = plan.target_boundary(p0, alpha=spec.alpha, cap=spec.n)
    n = np.arange(1, (spec.n or HORIZON) + 1)
    lower = n - futility_boundary(hopeless_share(upper, p0)).counts(n.size)
    allowed = spare(upper, spec.n)
    if allowed is not None:
        lower = np.maximum(lower, n - allowed - 1)
    return Rule(upper=upper.counts(n.size), lower=lower, ends=spec.n is not None)


def outlook(rule: Rule, shares: Floats, *, n: int = 0, votes: int = 0) -> Outlook:
    """What a run still takes that has `votes` among its first n counted answers, for each of `shares`."""
    times, going = _going(rule, shares, n, votes)
    steps = np.diff(times)
    mean = steps @ (going[1:] + going[:-1]) / 2.0 + (going[0] - going[-1]) / 2.0
    open_end = going[-1]
    if not rule.ends:
        growth = np.arange(1.0, max(1.0, np.log(_LONGEST / times[-1]) / np.log(_TAIL_BIN)))
        later = (times[-1] * _TAIL_BIN**growth).astype(np.int64)
        going = np.concatenate([going, open_end * np.sqrt(times[-1] / later)[:, None]])
        times = np.concatenate([times, later])
    chance = np.maximum(0.0, -np.diff(going, axis=0)).T
    chance[:, -1] += going[-1]
    return Outlook(low=times[:-1] + 1, high=times[1:], chance=chance, mean=mean, open_end=open_end)


def last_of(outlooks: Sequence[Outlook]) -> Outlook:
    """Of rules that share their times, what is to come until the last has stopped: for each share the longest.

    A share is close to one threshold at most, and waits for that.
    """
    means = np.stack([seen.mean for seen in outlooks])
    longest, rows = means.argmax(axis=0), np.arange(means.shape[1])
    return replace(
        outlooks[0],
        chance=np.stack([seen.chance for seen in outlooks])[longest, rows],
        mean=means[longest, rows],
        open_end=np.stack([seen.open_end for seen in outlooks])[longest, rows],
    )


def _going(rule: Rule, shares: Floats, n: int, votes: int) -> tuple[Counts, Floats]:
    """Times t from 0 on, and P(T > t) at each of them for each share."""
    times = _times(rule.upper.size - n)
    if times[-1] <= _EVERY:  # then following every share by itself takes less than the logarithms
        going = running(rule.upper[n:] - votes, shares, rule.lower[n:] - votes)
        going[-1] *= not rule.ends
        return times, going
    going = np.zeros((times.size, shares.size))
    going[0] = 1.0
    p = np.clip(shares, 1e-12, 1.0 - 1e-12)
    log_vote, log_other = np.log(p), np.log1p(-p)
    rows, row = np.arange(shares.size), 1
    same = np.ones(1)  # going(t, k) for k = first, first + 1, …
    first = 0
    tops, floors = (rule.upper[n:] - votes).tolist(), (rule.lower[n:] - votes).tolist()
    for t, (top, floor) in enumerate(zip(tops, floors, strict=True), 1):
        k = np.arange(first, first + same.size + 1)
        step = np.zeros(k.size)
        step[1:] = same * (k[1:] / t)
        step[:-1] += same * ((t - k[:-1]) / t)
        under = max(0, floor + 1 - first)
        same, first = step[under : max(under, top - first)], first + under
        if same.size == 0:
            break
        if t == times[row]:
            k = np.arange(first, first + same.size)
            with np.errstate(divide="ignore"):
                ways = gammaln(t + 1) - gammaln(k + 1) - gammaln(t - k + 1) + np.log(same)
            paths = np.outer(log_vote[rows], k) + np.outer(log_other[rows], t - k) + ways
            going[row, rows] = np.exp(paths).sum(axis=1)
            rows, row = rows[going[row, rows] > _GONE], row + 1
            if rows.size == 0:
                break
    if rule.ends:
        going[-1] = 0.0
    return times, going


def _times(last: int) -> Counts:
    times = list(range(min(last, _EVERY) + 1))
    while times[-1] < last:
        times.append(min(last, int(times[-1] * _BIN)))
    return np.array(sorted({*times, max(0, last - 1)}), dtype=np.int64)  # np.unique would import numpy.ma
