"""Sequential rules: e-processes, boundaries, and their exact error over all classes."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtr

from api_smoothing.certify.error_bounds import null_error, open_crossing
from api_smoothing.certify.sequential import open_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))


@pytest.mark.parametrize("p0", [0.5, 0.52, 0.6554217416103242, P0, 0.9772498680518208])
@pytest.mark.parametrize("max_classes", [1, 5])
def test_open_boundary_uses_its_error(p0: float, max_classes: int) -> None:
    """The calibrated error over all nulls is at most α, and at least 0.9·α where one class carries it."""
    boundary = open_boundary(p0, ALPHA, max_classes)
    error = null_error(lambda p: open_crossing(boundary, 4096, p), p0, max_classes)
    assert error <= ALPHA * (1 + 1e-9)
    assert error > 0.9 * ALPHA
    assert boundary.log_threshold <= math.log(max_classes / (ALPHA * p0)) + 1e-12
