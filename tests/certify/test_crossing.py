"""The exact passage of a walk over a boundary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import passage
from api_smoothing.certify.fixed import tail
from api_smoothing.certify.futility import futility_boundary
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spending import constant_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))


def test_passage_adds_up() -> None:
    """Crossed, fallen, alive and dropped mass sum to 1, and a constant boundary gives the binomial tail."""
    n = np.arange(1, 401)
    run = passage(open_boundary(P0, ALPHA).counts(400), 0.85, n - futility_boundary(P0).counts(400))
    assert run.upper + run.lower + float(run.alive.sum()) + run.dropped == pytest.approx(1.0, abs=1e-12)
    assert run.dropped < 1e-13
    fixed_n = passage(constant_boundary(60, 100).counts(100), 0.5)
    assert fixed_n.upper == pytest.approx(tail(60, 100, 0.5), rel=1e-10)
