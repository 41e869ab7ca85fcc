"""Giving up under a cap: early on what the cap cannot certify, and at next to no cost in power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import passage
from api_smoothing.certify.error_bounds import open_crossing
from api_smoothing.certify.futility import futility_boundary, hopeless_share, spare
from api_smoothing.certify.plan import expected_queries, target_boundary

P0, CAP = float(ndtr(1.0)), 1000


def against_p0(p: float) -> tuple[float, float]:
    """Mean answers and power when giving up only on what lies below p0, by dynamic programming."""
    upper = target_boundary(P0, alpha=0.001, cap=CAP)
    n = np.arange(1, CAP + 1)
    allowed = spare(upper, CAP)
    assert allowed is not None
    floors = np.maximum(n - futility_boundary(P0).counts(CAP), n - allowed - 1)
    ran = passage(upper.counts(CAP), p, floors)
    return ran.calls, ran.upper


def test_a_cap_raises_the_share_that_is_given_up() -> None:
    """Under a cap the hopeless share is K(N)/N, above p0; without one it is p0."""
    upper = target_boundary(P0, alpha=0.001, cap=CAP)
    assert P0 < hopeless_share(upper, P0) == upper.at(CAP) / CAP
    assert hopeless_share(target_boundary(P0, alpha=0.001), P0) == P0


def test_it_saves_half_the_answers_below_the_target_and_costs_no_power() -> None:
    """Just below the target a run takes under half the answers; above it power falls by at most 0.002."""
    assert expected_queries(0.7951, P0, alpha=0.001, cap=CAP).calls < 0.5 * against_p0(0.7951)[0]
    for p in (0.86, 0.88, 0.9, 0.93):
        assert expected_queries(p, P0, alpha=0.001, cap=CAP).power > against_p0(p)[1] - 0.002


@pytest.mark.parametrize("p0", [0.5, P0, 0.99])
def test_giving_up_on_a_good_image_is_rare(p0: float) -> None:
    """A class at p0 or above is put below p0 with probability at most 0.01, over an unlimited run."""
    boundary = futility_boundary(p0)
    at_p0 = open_crossing(boundary, 4096, 1.0 - p0)
    assert 0.009 < at_p0 <= 0.01 * (1 + 1e-9)
    assert open_crossing(boundary, 1024, (1.0 - p0) * 0.8) < at_p0
