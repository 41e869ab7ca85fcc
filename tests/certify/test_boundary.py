"""The counts at which a class is certified."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.certify import mixture
from api_smoothing.certify.boundary import CappedBoundary, OpenBoundary


@settings(deadline=None, max_examples=30)
@given(p0=st.floats(0.5, 0.99), alpha=st.sampled_from([0.05, 0.001]), n=st.integers(1, 3000), data=st.data())
def test_reach_is_the_first_unanimous_meeting(p0: float, alpha: float, n: int, data: st.DataObject) -> None:
    """`reach` is the smallest m with count+m ≥ K(n+m), for open and capped boundaries; K grows by 0 or 1."""
    made = mixture.tuned_mixture(p0, alpha)
    count = data.draw(st.integers(max(0, int(n * p0) - 50), n))
    unlimited = OpenBoundary(made, math.log(1 / alpha))
    counts = unlimited.counts(n + 6000)
    assert set(np.diff(counts).tolist()) <= {0, 1}
    later = np.arange(0, 6000)
    met = np.nonzero(count + later >= counts[n - 1 + later])[0]
    expected = int(met[0]) if met.size else None
    fresh = OpenBoundary(made, math.log(1 / alpha))  # nothing tabulated yet
    if expected is not None:
        assert unlimited.reach(count, n) == fresh.reach(count, n) == expected
    capped = CappedBoundary(counts[: n + 500])
    assert capped.reach(count, n) == (expected if expected is not None and expected <= 500 else None)
