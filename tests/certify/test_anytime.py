"""A bound that holds at every number of answers."""

from __future__ import annotations

import math

import pytest
from certifiers import ALPHA, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import anytime, certifier


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([0.6, 0.9]), stop=st.integers(1, 39))
def test_the_anytime_bound_resumes_and_only_grows(seed: int, p: float, stop: int) -> None:
    """Fed the same answers in any portions it ends the same, and a longer run never takes back a radius."""
    answers = [a for a, _ in zip(stream(seed, p), range(400), strict=False)]
    short = certifier(n=200, sigma=0.25, alpha=ALPHA, method="sequential")
    long = certifier(n=400, sigma=0.25, alpha=ALPHA, method="sequential")
    for made in (short, long):
        start = 0
        while need := made.need():
            made.add(answers[start : start + min(stop, need)])
            start += min(stop, need)
    assert long.result().radius >= short.result().radius


P0 = float(ndtr(1.0))


@pytest.mark.parametrize("p0", [0.5, P0])
def test_anytime_e_value_is_a_supermartingale(p0: float) -> None:
    """The Beta mixture with its share on unanimity starts at 1 and does not grow on average at p = p0."""
    assert anytime.log_e(0, 0, p0) == pytest.approx(0.0, abs=1e-12)
    for n, k in ((0, 0), (1, 1), (9, 9), (9, 8), (60, 50), (300, 200)):
        after = p0 * math.exp(anytime.log_e(k + 1, n + 1, p0)) + (1 - p0) * math.exp(
            anytime.log_e(k, n + 1, p0)
        )
        assert after <= math.exp(anytime.log_e(k, n, p0)) * (1 + 1e-9)
