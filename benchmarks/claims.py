"""What many images' certificates say together: error and price of a claim, the gate, and one budget over many images.

    python benchmarks/claims.py [--replay DIR] [--quick]

Claim and gate need no data. `--replay DIR` (see `replay.py`) compares ways to spend one budget on published vote
shares: an equal split (exact α-spending within the answers that each image gets), one cap for all that the prior and
the budget choose, and the most promising image next. The prior is the three other logs. The figures are exact, but for
those of the last way, which is simulated.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from replay import read_log
from rows import Plan, Row
from scipy.special import ndtr

from api_smoothing.certify.mixture import divergence
from api_smoothing.certify.plan import expected_of_many
from api_smoothing.claims import caps, intervals, paired
from api_smoothing.claims.course import boundaries, course, worst_null
from api_smoothing.engine.estimate.shares import CIFAR10, CONCENTRATION

ALPHA = 0.001
POPULATION, AT_LEAST = 500, 0.4
SETS = 10_000
PAIRS = 1000
AWS_USD = 0.001  # an answer of AWS Rekognition's DetectLabels, the first million a month
RIGHT = 0.87  # of the bundled classifier's certificates at radius 0.25 are for the true class, about

Floats = npt.NDArray[np.float64]


def false_claims(sets: int, rng: np.random.Generator) -> tuple[int, int]:
    """How many of `sets` simulated sets prove the claim where one image too few is right, and refute it wrongly.

    Set by set: certificates of the images that are right, false ones of the others, a random order. The second sets are
    those in which certifying all would count exactly what is claimed.
    """
    proves, refutes = boundaries(AT_LEAST, POPULATION, alpha=ALPHA)
    right = math.ceil(AT_LEAST * POPULATION) - 1
    looked = np.arange(1, POPULATION + 1)
    proved = refuted = 0
    for begin in range(0, sets, 1000):
        number = min(1000, sets - begin)
        for ones in (right, right + 1):
            images = np.zeros((number, POPULATION), dtype=bool)
            images[:, :ones] = True
            if ones == right:
                images[:, ones:] = rng.random((number, POPULATION - ones)) < ALPHA
            so_far = np.cumsum(rng.permuted(images, axis=1), axis=1)
            proved += int((so_far >= proves).any(axis=1).sum()) if ones == right else 0
            refuted += int((looked - so_far >= refutes).any(axis=1).sum()) if ones > right else 0
    return proved, refuted


def level(sets: int) -> list[Row]:
    """The error of proving and refuting: exact, and simulated with its interval."""
    proves, refutes = boundaries(AT_LEAST, POPULATION, alpha=ALPHA)
    never = np.full(POPULATION, POPULATION + 1, dtype=np.int64)
    exact = course(proves, never, *worst_null(AT_LEAST, POPULATION, alpha=ALPHA)).proved
    count = math.ceil(AT_LEAST * POPULATION)
    wrongly = course(never, refutes, [count], np.ones(1)).refuted
    proved, refuted = false_claims(sets, np.random.default_rng(0))
    rows = []
    for name, number, probability in (("proved", proved, exact), ("refuted", refuted, wrongly)):
        low, high = intervals.exact(number, sets)
        note = f"{number} of {sets:,} sets, 95 % interval {low:.4f} to {high:.4f}; exact {probability:.4f}"
        limit = 0.05 if sets >= SETS else None  # of fewer sets the interval is too wide to tell
        rows.append(Row(name=f"claims: error of {name}, upper end", figure=high, limit=limit, note=note))
    return rows


def images(shares: tuple[float, ...] = (0.43, 0.46, 0.5, 0.55, 0.6, 0.7, 0.34, 0.3)) -> list[Row]:
    """The images that a claim takes, against certifying all."""
    proves, refutes = boundaries(AT_LEAST, POPULATION, alpha=ALPHA)
    rows = []
    for share in shares:
        ran = course(proves, refutes, [round(share * POPULATION)], np.ones(1))
        q = AT_LEAST + (1.0 - AT_LEAST) * ALPHA if share > AT_LEAST else AT_LEAST
        limit = math.log(20.0) / float(divergence(share, q))
        note = f"of {POPULATION}; proved {ran.proved:.3f}, refuted {ran.refuted:.3f}; ln 20/KL {limit:.0f}"
        name = f"claims: images for ≥ {AT_LEAST:g} at {share:g}"
        rows.append(Row(name=name, figure=ran.looked, limit=float(POPULATION), note=note))
    return rows


def claim_caps() -> list[Row]:
    """Images, answers and dollars of the claim on the bundled model, against certifying all with a cap of 1,000."""
    p0 = float(ndtr(0.25 / 0.25))
    shares = np.array(CIFAR10[0.25])
    weights = np.full(shares.size, 1.0 / shares.size)
    found = caps.for_claim(
        shares, weights, p0=p0, at_least=AT_LEAST, population=POPULATION, right=RIGHT, alpha=ALPHA
    )
    best = found[0]
    usual = caps.for_claim(
        shares,
        weights,
        p0=p0,
        at_least=AT_LEAST,
        population=POPULATION,
        right=RIGHT,
        alpha=ALPHA,
        caps=[1000],
    )[0]
    everything = POPULATION * usual.each
    note = (
        f"cap {best.cap}: {best.certified:.3f} certified, {best.images:.0f} images, {best.answers:,.0f} answers, "
        f"${best.answers * AWS_USD:.2f}, proved {best.proved:.3f}; with cap 1,000 {usual.images:.0f} images, "
        f"{usual.answers:,.0f} answers; all {POPULATION} with cap 1,000 {everything:,.0f} answers, "
        f"${everything * AWS_USD:.2f}"
    )
    return [
        Row(
            name="claims: answers over certifying all", figure=best.answers / everything, limit=0.5, note=note
        )
    ]


def replayed(folder: Path, orders: int = 200) -> list[Row]:
    """The claim on published vote shares, its cap chosen by the other logs: answers, over certifying all.

    Whether an image is certified, and its mean answers, are exact for its share; sets and orders are drawn.
    """
    rng = np.random.default_rng(3)
    proves, refutes = boundaries(AT_LEAST, POPULATION, alpha=ALPHA)
    looked = np.arange(1, POPULATION + 1)
    ratios, told = [], []
    logs = logged(folder)
    for log in logs:
        p0 = float(ndtr(0.25 / log.sigma))
        others = [other for other in logs if other is not log]
        prior = np.concatenate([other.top for other in others])
        cap = caps.for_claim(
            prior,
            np.full(prior.size, 1.0 / prior.size),
            p0=p0,
            at_least=AT_LEAST,
            population=POPULATION,
            right=float(np.mean([other.right_above(p0) for other in others])),
            concentration=CONCENTRATION,
            alpha=ALPHA,
        )[0].cap
        answers, power = expected_of_many(log.truth, p0, alpha=ALPHA, cap=cap)
        usual = float(expected_of_many(log.truth, p0, alpha=ALPHA, cap=1000)[0].sum())
        spent, images, proved = 0.0, 0, 0
        for _ in range(orders):
            order = rng.permutation(POPULATION)
            so_far = np.cumsum(rng.random(POPULATION) < power[order])
            ends = (so_far >= proves) | (looked - so_far >= refutes)
            stop = int(ends.argmax()) if ends.any() else POPULATION - 1
            spent += float(answers[order[: stop + 1]].sum())
            images += stop + 1
            proved += bool(so_far[stop] >= proves[stop])
        ratios.append(spent / orders / usual)
        told.append(
            f"{log.name}: cap {cap}, {power.mean():.3f} certified, {images / orders:.0f} images, "
            f"{spent / orders:,.0f} of {usual:,.0f} answers, proved {proved / orders:.3f}"
        )
    name = f"claims: answers for ≥ {AT_LEAST:g} on published logs, over certifying all"
    return [Row(name=name, figure=float(np.mean(ratios)), limit=0.5, note="; ".join(told))]


def gates(pairs: int) -> list[Row]:
    """How often a gate fails a model that is 5 points worse, and one that is the same, by images and margin."""
    rng = np.random.default_rng(1)
    rows = []
    for n, most in ((500, 0.0), (1000, 0.0), (1000, 0.02), (2000, 0.02)):
        for worse in (0.0, 0.05):
            # Votes are fresh, so that 3 % of the images change sides each way by chance alone.
            changed = rng.multinomial(n, [0.03 + worse, 0.03, 0.94 - worse], size=pairs)[:, :2]
            failed = sum(paired.drop_p_value(int(b), int(c), n, most) <= paired.LEVEL for b, c in changed)
            low, high = intervals.exact(failed, pairs)
            note = f"{failed} of {pairs:,} pairs of runs, 95 % interval {low:.3f} to {high:.3f}"
            name = f"gate: {n} images, max drop {most:g}, {'5 points worse' if worse else 'the same'}"
            limit = None if worse else 0.05
            rows.append(Row(name=name, figure=failed / pairs if worse else low, limit=limit, note=note))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A log: σ, the share of the top class of each image, that of the true class, and where they are the same."""

    name: str
    sigma: float
    top: Floats
    truth: Floats
    right: npt.NDArray[np.bool_]

    def right_above(self, p0: float) -> float:
        """How often the top class is the true one where its share is above `p0`."""
        return float(self.right[self.top > p0].mean())


def logged(folder: Path) -> list[Images]:
    """The logs; where the top class is not the true one that has what the top class leaves."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        log = read_log(path)
        with path.open(encoding="utf-8", newline="") as file:
            right = np.array([row["label"] == row["predict"] for row in csv.DictReader(file)])
        truth = np.where(right, log.share, np.minimum(log.share, 1.0 - log.share))
        found.append(Images(name=log.name, sigma=log.sigma, top=log.share, truth=truth, right=right))
    return found


def budgets(folder: Path, quick: bool) -> list[Row]:
    """Certified accuracy of an equal split, and of one cap for all."""
    logs = logged(folder)
    gained, rows = [], []
    for log in logs[:1] if quick else logs:
        prior = np.concatenate([other.top for other in logs if other is not log])
        weights = np.full(prior.size, 1.0 / prior.size)
        p0 = float(ndtr(0.25 / log.sigma))
        print(f"\n{log.name}  r=0.25  p0={p0:.4f}  images with p above p0: {np.mean(log.truth > p0):.3f}")
        print("  answers an image   equal split   one cap for all")
        for each in (20, 50, 100) if quick else (10, 20, 30, 50, 100, 200):
            budget = each * log.truth.size
            least = math.ceil(math.log(ALPHA) / math.log(p0))
            equal = (
                float(expected_of_many(log.truth, p0, alpha=ALPHA, cap=each)[1].mean())
                if each >= least
                else 0.0
            )
            cap = caps.for_budget(prior, weights, p0=p0, images=log.truth.size, budget=budget, alpha=ALPHA)[
                0
            ].cap
            answers, power = expected_of_many(log.truth, p0, alpha=ALPHA, cap=cap)
            capped = min(1.0, each / float(answers.mean())) * float(power.mean())
            print(f"  {each:16d}   {equal:11.3f}   {capped:7.3f} (cap {cap:5d})", flush=True)
            if equal > 0.0:  # an equal split into parts that certify nothing is no comparison
                gained.append(capped - equal)
    note = f"over {len(gained)} logs and budgets, gains from {min(gained):+.3f} to {max(gained):+.3f}"
    name = "one budget: certified accuracy beyond an equal split"
    rows.append(Row(name=name, figure=float(np.mean(gained)), than="≥", limit=0.01, note=note))
    return rows


def rows(plan: Plan) -> Iterator[Row]:
    """What `python -m benchmarks claims` tells."""
    yield from level(1000 if plan.quick else SETS)
    yield from images()
    yield from claim_caps()
    yield from gates(200 if plan.quick else PAIRS)
    if plan.replay is not None:
        yield from replayed(plan.replay)
        yield from budgets(plan.replay, plan.quick)
    else:
        name = "one budget: certified accuracy beyond an equal split"
        yield Row(name=name, figure=None, note="needs --replay DIR")


def main() -> None:
    """Print the rows as they come."""
    parser = argparse.ArgumentParser(description="Error and price of claims, gates and shared budgets.")
    parser.add_argument("--replay", type=Path, default=None, help="folder of published logs")
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulated sets, one log")
    options = parser.parse_args()
    began = time.perf_counter()
    for row in rows(Plan(quick=options.quick, replay=options.replay)):
        kept = "" if row.limit is None else f"  ({row.than} {row.limit:g}: {'yes' if row.met else 'NO'})"
        print(
            f"{row.name}: {'–' if row.figure is None else f'{row.figure:.4g}'}{kept}\n    {row.note}",
            flush=True,
        )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
