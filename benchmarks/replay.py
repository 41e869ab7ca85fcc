"""Query counts of the stopping rules on published certification logs, without a model.

    python benchmarks/replay.py --replay DIR [--nulls 100000] [--quick] [--version 1] [--learn]

DIR holds one CSV a model with the columns image, label, predict, radius and vote_share (empty: abstained, replayed
with 0.45). An image is a Bernoulli stream of its top class. Means and decisions are exact (dynamic programming over
the counts of all images at once), so they carry no simulation error; only the null replays are drawn at random.
`--quick` takes every tenth image, follows runs for 10,000 answers and has no null replays: minutes in place of half
an hour. `--version` is that of the rules. `--learn` gives every rule a prior learned from 40 other images of the log,
50 votes of each.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rows import Plan as Options
from rows import Row
from scipy.special import ndtr

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.boundary import Boundary
from api_smoothing.certify.crossing import passage, passages
from api_smoothing.certify.futility import LEVEL, futility_boundary, hopeless_share, spare
from api_smoothing.certify.mixture import divergence
from api_smoothing.certify.plan import target_boundary
from api_smoothing.certify.prior import Prior, learnt

ALPHA = 0.001
HORIZON = 100_000  # a run without a cap is followed this far, and the information limit cut off there
CAPS = (None, 10_000, 100_000)
TARGETS = {0.25: (0.125, 0.25, 0.5), 0.5: (0.25, 0.5, 1.0)}
ABSTAINED = 0.45

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One model's log: σ, each image's vote share, and the radius the n = 100,000 protocol certified."""

    name: str
    sigma: float
    share: Floats
    radius: Floats


def read_log(path: Path) -> Log:
    """Read one CSV; σ is taken from the file's name."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = re.search(r"sigma([0-9.]+[0-9])", path.stem)
    if found is None:
        raise SystemExit(f"{path}: the file name does not say sigma<number>")
    share = np.array([float(row["vote_share"] or ABSTAINED) for row in rows])
    return Log(
        name=path.stem,
        sigma=float(found[1]),
        share=share,
        radius=np.array([float(r["radius"]) for r in rows]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is computed: the version of the rules (None: the newest), their prior, the caps, and the horizon."""

    version: int | None
    prior: Prior | None
    caps: tuple[int | None, ...]
    horizon: int


def learned(log: Log, images: int = 40, votes: int = 50) -> Prior | None:
    """What `images` of a log teach that are not among every tenth, of which so many votes were seen."""
    others = np.setdiff1d(np.arange(log.share.size), np.arange(0, log.share.size, 10))
    drawn = np.random.default_rng(0).choice(others, images, replace=False)
    return learnt((round(votes * share), votes) for share in log.share[drawn])


def rule(p0: float, cap: int | None, plan: Plan) -> tuple[Counts, Counts]:
    """K(n) and the largest count that gives up, for n = 1 … cap (or the horizon)."""
    upper: Boundary = target_boundary(p0, alpha=ALPHA, cap=cap, version=plan.version, prior=plan.prior)
    n = np.arange(1, (cap or plan.horizon) + 1)
    floors = n - futility_boundary(hopeless_share(upper, p0)).counts(n.size)
    allowed = spare(upper, cap)
    return upper.counts(n.size), floors if allowed is None else np.maximum(floors, n - allowed - 1)


def limits(p: Floats, p0: float, horizon: int) -> Floats:
    """The information limit of each image, at most `horizon`: ln(1/α)/KL(p‖p0) above p0, ln(1/0.01)/KL below."""
    evidence = np.where(p > p0, math.log(1.0 / ALPHA), math.log(1.0 / LEVEL))
    with np.errstate(divide="ignore"):
        return np.minimum(horizon, evidence / divergence(p, p0))


def false_certificates(upper: Counts, p0: float, replays: int, rng: np.random.Generator) -> int:
    """How many of `replays` independent streams at p = `p0`, never given up, meet the boundary.

    The rules spend all of α, so the rate is about α and not far below it.
    The streams are followed together: how many of them stand at each count is all that matters.
    """
    standing = np.array([replays], dtype=np.int64)
    first, certified = 0, 0
    for top in upper.tolist():
        hits = rng.binomial(standing, p0)
        step = np.zeros(standing.size + 1, dtype=np.int64)
        step[1:] = hits
        step[:-1] += standing - hits
        width = max(0, top - first)
        certified += int(step[width:].sum())
        step = step[:width]
        filled = np.nonzero(step)[0]
        if filled.size == 0:
            break
        standing = step[filled[0] : filled[-1] + 1]
        first += int(filled[0])
    return certified


def report(log: Log, target: float, plan: Plan) -> list[tuple[float, float]]:
    """Print one line a rule; returns (mean answers, mean limit) of each."""
    p0 = float(ndtr(target / log.sigma))
    limit = limits(log.share, p0, plan.horizon)
    above = log.share > p0
    protocol = log.radius >= target
    print(
        f"\n{log.name}  r={target:g}  p0={p0:.4f}  certified by n=100,000: {protocol.sum()}  "
        f"mean limit {limit.mean():.1f} (images above p0: {limit[above].mean():.1f})"
    )
    means = []
    for cap in plan.caps:
        upper, lower = rule(p0, cap, plan)
        shares, where = np.unique(log.share, return_inverse=True)
        calls, certified = (values[where] for values in passages(upper, shares, lower))
        missed = float((1.0 - certified)[protocol].sum())
        extra = float(certified[~protocol].sum())
        name = "no cap" if cap is None else f"cap {cap:,}"
        print(
            f"  {name:12s} mean answers {calls.mean():8.1f}  /limit {calls.mean() / limit.mean():.3f}"
            f"  above p0: {calls[above].mean():8.1f} /limit {calls[above].mean() / limit[above].mean():.3f}"
            f"  mean of ratios {np.mean(calls / limit):.3f} (above p0 {np.mean(calls[above] / limit[above]):.3f})"
            f"  decisions that differ {missed + extra:.1f} (missed {missed:.1f}, more {extra:.1f})",
            flush=True,
        )
        means.append((float(calls.mean()), float(limit.mean())))
    return means


def rows(options: Options) -> Iterator[Row]:
    """Mean answers over the mean limit, all logs and targets together."""
    if options.replay is None:
        yield Row(name="replay: answers over the information limit", figure=None, note="needs --replay DIR")
        return
    caps, horizon = ((None,), 10_000) if options.quick else ((None,), HORIZON)
    means = []
    for path in sorted(options.replay.glob("*.csv")):
        log = read_log(path)
        if options.quick:
            log = replace(log, share=log.share[::100], radius=log.radius[::100])
        for target in TARGETS.get(log.sigma, (log.sigma,)):
            means += report(log, target, Plan(version=None, prior=None, caps=caps, horizon=horizon))
    answers, limit = (sum(column) for column in zip(*means, strict=True))
    note = f"{len(means)} logs and targets, no cap, followed for {horizon:,} answers"
    yield Row(
        name="replay: answers over the information limit", figure=answers / limit, limit=1.15, note=note
    )


def main() -> None:
    """Report every log at every target, then the null replays."""
    parser = argparse.ArgumentParser(description="Query counts of the stopping rules on published logs.")
    parser.add_argument("--replay", type=Path, required=True, help="folder of the logs")
    parser.add_argument("--nulls", type=int, default=100_000, help="streams at p = p0 for each rule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", type=float, default=None, help="only this radius, in units of σ")
    parser.add_argument("--quick", action="store_true", help="every tenth image, 10,000 answers, no nulls")
    parser.add_argument("--version", type=int, default=None, help="of the rules; the newest if not given")
    parser.add_argument("--learn", action="store_true", help="a prior learned from other images of the log")
    options = parser.parse_args()
    caps, horizon = ((None, 1000), 10_000) if options.quick else (CAPS, HORIZON)
    began = time.perf_counter()
    ratios: dict[str, list[tuple[float, float]]] = {}
    thresholds: set[float] = set()
    for path in sorted(options.replay.glob("*.csv")):
        log = read_log(path)
        plan = Plan(
            version=options.version,
            prior=learned(log) if options.learn else None,
            caps=caps,
            horizon=horizon,
        )
        if options.quick:
            log = replace(log, share=log.share[::10], radius=log.radius[::10])
        targets = (
            TARGETS.get(log.sigma, (log.sigma,)) if options.target is None else (options.target * log.sigma,)
        )
        for target in targets:
            thresholds.add(round(target / log.sigma, 6))
            for cap, means in zip(plan.caps, report(log, target, plan), strict=True):
                ratios.setdefault("no cap" if cap is None else f"cap {cap:,}", []).append(means)
    print("\nall logs and targets, mean answers / mean limit:")
    for name, pairs in ratios.items():
        calls, limit = (sum(values) for values in zip(*pairs, strict=True))
        print(
            f"  {name:12s} {calls / limit:.3f}   (largest of a log and target: {max(c / m for c, m in pairs):.3f})"
        )
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.quick:
        return
    rng = np.random.default_rng(options.seed)
    print(f"\nnull replays at p = p0, {options.nulls:,} streams each, α={ALPHA:g}:")
    for scaled in sorted(thresholds):
        p0 = float(ndtr(scaled))
        for cap in (None, 10_000):
            upper = target_boundary(p0, alpha=ALPHA, cap=cap, version=options.version).counts(cap or HORIZON)
            wrong = false_certificates(upper, p0, options.nulls, rng)
            exact = passage(upper, p0).upper
            low = float(clopper_pearson.lower(wrong, options.nulls, 0.025)) if wrong else 0.0
            high = float(clopper_pearson.upper(wrong, options.nulls, 0.025))
            name = "no cap" if cap is None else f"cap {cap:,}"
            print(
                f"  r={scaled:g}σ {name:11s} {wrong} false certificates: {wrong / options.nulls:.2e} "
                f"(95 % interval {low:.2e} to {high:.2e}); exact probability {exact:.4e}",
                flush=True,
            )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
