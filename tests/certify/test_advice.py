"""Suggestions: what another question would likely certify."""

from __future__ import annotations

import random

import numpy as np
import pytest

from api_smoothing.certify import Spec, certifier_of
from api_smoothing.certify.advice import LIKELY, SIGMAS, advise, chance, elsewhere, prospect

ALPHA = 0.001


@pytest.mark.parametrize(("share", "target"), [(0.65, None), (0.75, 0.2), (0.9, 0.5), (1.0, 0.5)])
def test_who_follows_the_advice_certifies(share: float, target: float | None) -> None:
    """Images whose first 100 answers abstained certify what is advised, as the later question it is, 8 times of 10."""
    rng, followed, certified = random.Random(5), 0, 0
    for _ in range(30):
        p = min(1.0, max(0.0, share + rng.gauss(0, 0.03)))
        answers = ["a" if rng.random() < p else f"b{rng.randrange(50)}" for _ in range(10_000)]
        votes = answers[:100].count("a")
        told = advise(votes, 100, alpha=ALPHA, sigma=0.25, target=target)
        if told is None:
            continue
        followed += 1
        made = certifier_of(Spec(radius=told.radius, n=told.n, sigma=0.25, alpha=ALPHA, later=True))
        rest = iter(answers)
        while need := made.need():
            made.add([next(rest) for _ in range(need)])
        certified += made.result().reached is True
    assert followed >= 15
    assert certified >= 0.8 * followed


def test_what_is_hopeless_gets_no_advice() -> None:
    """Below a half no number of answers helps, and nothing is advised that is there already."""
    assert advise(45, 100, alpha=ALPHA, sigma=0.25, target=0.25) is None
    told = advise(90, 100, alpha=ALPHA, sigma=0.25, target=0.5, above=0.15)
    assert told is not None
    assert 0.15 < told.radius < 0.5
    assert told.chance >= LIKELY


def test_the_chance_is_one_for_what_is_proved_and_zero_for_what_cannot_be() -> None:
    """At its ends the beta-binomial is no estimate."""
    assert chance(900, 900, 1000, 0.6, ALPHA) == 1.0
    assert chance(0, 100, 200, 0.5, ALPHA) == 0.0
    assert 0.0 < chance(65, 100, 1000, 0.55, ALPHA) < 1.0


def test_a_rehearsal_tells_steady_images_from_others() -> None:
    """All copies agreeing is likelier to certify than half of them, within the cap, and costs fewer answers."""
    of = {"sigma": 0.25, "noise": "gaussian", "alpha": ALPHA, "cap": 1000}
    steady = prospect(20, 20, target=0.1, **of)  # type: ignore[arg-type]
    shaky = prospect(10, 20, target=0.1, **of)  # type: ignore[arg-type]
    assert (steady[0], shaky[0]) == (0.1, 0.1)
    assert steady[2] > 0.9 > 0.4 > shaky[2]
    assert steady[1] < 200
    assert prospect(20, 20, target=2.0, **of)[2] == 0.0, "out of reach at this σ"  # type: ignore[arg-type]
    assert prospect(20, 20, target=None, **of)[0] > prospect(15, 20, target=None, **of)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("distances", [(0.2, 0.3), (0.15, 0.15, 0.2), (0.2,)])
def test_votes_at_one_noise_tell_of_another_where_labels_end_at_planes(distances: tuple[float, ...]) -> None:
    """The share told for another σ is the leading class's there, and of the smaller σ that do the second is named."""
    rng, sigma, n = np.random.default_rng(3), 0.5, 100_000
    noise = rng.normal(size=(n, len(distances)))  # planes at right angles
    told = elsewhere(list((noise * sigma > distances).sum(axis=0)), n, sigma=sigma, target=None)
    assert told is not None
    assert told.sigma < sigma
    seen = 1.0 - (noise * told.sigma > distances).any(axis=1).mean()
    assert told.share - 0.002 <= seen <= told.share + 0.03  # where planes cross is counted once a plane
    do = [s for s in SIGMAS if s < sigma and (noise * s > distances).any(axis=1).mean() < 0.05]
    assert told.sigma in do
    assert do[-1] == told.sigma or do[-2] == told.sigma


def test_votes_that_no_noise_mends_name_none() -> None:
    """Half and half stays so at any σ; and a radius that is out of reach gives way to a smaller one."""
    assert elsewhere([50], 100, sigma=0.25, target=None) is None
    near = elsewhere([30], 100, sigma=0.25, target=0.5)
    assert near is not None
    assert near.radius is not None
    assert near.radius < 0.5
