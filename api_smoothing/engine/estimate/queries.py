"""How many queries images will take: low, expected and high, from the votes they have and the shares they may have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from api_smoothing.certify import Spec, certifier_of
from api_smoothing.certify.crossing import Floats
from api_smoothing.certify.radius import threshold
from api_smoothing.engine.estimate import shares
from api_smoothing.engine.estimate.shares import Prior
from api_smoothing.engine.estimate.stopping import HORIZON, Rule, last_of, outlook, stopping_rules

TAIL: Final = 0.025  # of the runs take fewer than low, and as many more than high
_RUNS = 2000
_SEED = 0  # drawn runs are the same ones every time: equal questions get equal answers

Votes = Sequence[Hashable | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries of a whole run, canaries included, and the assumptions behind them, a line each."""

    low: int
    expected: int
    high: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An image's `votes` for its top class among n counted answers; `skip` uncounted ones are still to come."""

    n: int
    votes: int
    skip: int


def to_come(
    known: Sequence[Votes],
    spec: Spec,
    *,
    affordable: int | None,
    extra: int,
    each: int = 1,
    prior: Prior = shares.UNKNOWN,
) -> Queries:
    """The queries still to come for one image per entry of `known`, the votes it has already.

    `affordable` is what the budget has left (None: no limit), `extra` what an image costs beside its votes, once it
    costs anything, `each` what a vote costs; `prior` is what is known of shares. Raises UnreachableRadiusError for a
    radius no answers can certify.
    """
    if spec.fixed is not None and spec.radius is None:
        return _fixed(known, spec.fixed, affordable, extra, each)
    return _to_target(known, spec, affordable, extra, each, prior)


def _fixed(known: Sequence[Votes], fixed: int, affordable: int | None, extra: int, each: int) -> Queries:
    """All that is missing, image after image; one that the budget cannot complete is not begun."""
    total, left_out = 0, 0
    for missing in (each * max(0, fixed - len(votes)) for votes in known):
        left = missing + extra if affordable is None else affordable - total
        left_out += missing > left
        total += min(missing + extra, left) if 0 < missing <= left else 0
    lines = [
        f"{fixed * each:,} queries an image, less those in the cache; fewer if no majority can be proved any more"
    ]
    if left_out:
        lines.append(
            f"the budget of {affordable:,} queries is too small for {left_out} of {len(known)} images"
        )
    return Queries(low=total, expected=total, high=total, lines=tuple(lines))


def _to_target(
    known: Sequence[Votes], spec: Spec, affordable: int | None, extra: int, each: int, prior: Prior
) -> Queries:
    """The answers until the target is decided, summed over the images of many drawn runs."""
    rules = stopping_rules(spec)
    rule = rules[0]
    fresh = _stand((), spec, rule)
    images = [_stand(votes, spec, rule) if votes else fresh for votes in known]
    asked = [image for image, _ in images if image.n]
    ahead = Counter(image for image, decided in images if not decided)
    model = prior.model((image.n, image.votes) for image in asked)
    lows, highs, expected, endless = _totals(ahead, prior, model, rules)
    lows, highs, expected = each * lows, each * highs, each * expected
    canaries = extra * ahead.total()
    middle = round(expected) + canaries
    low = min(middle, math.floor(_quantile(lows, TAIL)) + canaries)
    high = max(middle, math.ceil(_quantile(highs, 1.0 - TAIL)) + canaries)
    lines = (
        [f"{len(asked)} images by their answers in the cache, which speak for the others as well"]
        if asked
        else []
    )
    lines += [
        prior.told,
        "19 of 20 runs cost between low and high; more if most images have shares near the "
        f"{_needed(spec)} that the radius takes",
    ]
    if endless > 0.0005 and affordable is None:
        lines.append(
            f"{endless:.1%} of the images take more than {HORIZON * each:,} queries, a few of them millions; "
            f"the expectation counts {HORIZON * each:,} for those; n left out, and not None, would be a cap"
        )
    if affordable is not None and affordable < high:
        fewest = each * (rule.skip + 1 + int(np.argmax(rule.upper <= np.arange(1, rule.upper.size + 1))))
        if affordable < fewest and not asked:
            refusal = (
                f"the budget of {affordable:,} queries will be refused: the radius takes at least {fewest:,}"
            )
            return Queries(low=0, expected=0, high=0, lines=(refusal,))
        lines.append(
            f"the budget stops the run after {affordable:,} queries, or where the rest decides no image"
        )
        within = np.minimum((lows + highs) / 2.0 + canaries, affordable)
        low, high = min(low, max(0, affordable - fewest + 1)), affordable
        middle = min(high, max(low, round(float(within.mean()))))
    return Queries(low=low, expected=middle, high=high, lines=tuple(lines))


def _needed(spec: Spec) -> str:
    """The shares of votes that the radii take."""
    radii = spec.radii if spec.radius is None else (spec.radius,)
    return " or ".join(f"{threshold(r, sigma=spec.sigma, noise=spec.noise):.1%}" for r in radii)


def _stand(votes: Votes, spec: Spec, rule: Rule) -> tuple[Standing, bool]:
    """Where its votes take an image, and whether they decide it."""
    certifier, left = certifier_of(spec), list(votes)
    while left and (need := certifier.need()):
        certifier.add(left[:need])
        del left[:need]
    bound = certifier.result()
    standing = Standing(n=bound.n, votes=max(bound.counts.values(), default=0), skip=rule.skip - bound.n0)
    return standing, certifier.need() == 0


def _quantile(values: Floats, share: float) -> float:
    """As np.quantile, which would import numpy.ma."""
    return float(np.interp(share * (values.size - 1), np.arange(values.size), np.sort(values)))


def _totals(
    ahead: Counter[Standing], prior: Prior, model: Floats, rules: Sequence[Rule]
) -> tuple[Floats, Floats, float, float]:
    """Sums over the images for each drawn run, from below and from above; their mean; how many images never end.

    Every run draws a model, and from it the images that nothing is known of. For a single image that comes to the mean
    model, of which the runs are then the quantiles.
    """
    if ahead.total() == 1:
        (image,) = ahead
        return _of_one(image, prior, model, rules)
    rng = np.random.default_rng(_SEED)
    models = shares.draw(model, _RUNS, rng)
    lows, highs, expected, endless = np.zeros(_RUNS), np.zeros(_RUNS), 0.0, 0.0
    for image, count in ahead.items():
        weights = prior.posterior(image.n, image.votes) if image.n else model / model.sum()
        seen = last_of([outlook(rule, prior.nodes, n=image.n, votes=image.votes) for rule in rules])
        chance = (weights[None] if image.n else models) @ seen.chance
        drawn = rng.multinomial(count, chance / chance.sum(axis=1, keepdims=True), size=_RUNS)
        lows += drawn @ seen.low + count * image.skip
        highs += drawn @ seen.high + count * image.skip
        expected += count * (float(weights @ seen.mean) + image.skip)
        endless += count * float(weights @ seen.open_end) / ahead.total()
    return lows, highs, expected, endless


def _of_one(
    image: Standing, prior: Prior, model: Floats, rules: Sequence[Rule]
) -> tuple[Floats, Floats, float, float]:
    """`_totals` for one image, without drawing anything."""
    weights = prior.posterior(image.n, image.votes) if image.n else model / model.sum()
    seen = last_of([outlook(rule, prior.nodes, n=image.n, votes=image.votes) for rule in rules])
    reached = np.cumsum(weights @ seen.chance)
    bins = np.searchsorted(reached, (np.arange(_RUNS) + 0.5) / _RUNS * reached[-1])
    mean = float(weights @ seen.mean) + image.skip
    return seen.low[bins] + image.skip, seen.high[bins] + image.skip, mean, float(weights @ seen.open_end)
