"""Sequential rules: e-processes, boundaries, and their exact error over all classes."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtr

from api_smoothing.certify.error_bounds import null_error, open_crossing
from api_smoothing.certify.plan import expected_queries, information_limit
from api_smoothing.certify.sequential import open_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))


@pytest.mark.parametrize("p0", [0.5, 0.52, 0.6554217416103242, P0, 0.9772498680518208])
@pytest.mark.parametrize("max_classes", [1, 5])
@pytest.mark.parametrize(("version", "used"), [(1, 0.9), (2, 0.75)])
def test_open_boundary_uses_its_error(p0: float, max_classes: int, version: int, used: float) -> None:
    """The calibrated error over all nulls is at most α, and most of it is spent."""
    boundary = open_boundary(p0, ALPHA, max_classes, version=version)
    error = null_error(lambda p: open_crossing(boundary, 4096, p), p0, max_classes)
    assert error <= ALPHA * (1 + 1e-9)
    assert error > used * ALPHA
    assert boundary.log_threshold <= math.log(max_classes / (ALPHA * p0)) + 1e-12


def test_near_unanimous_images_end_early() -> None:
    """At p = 0.999 and r = σ the mean is at most 1.12 times the information limit, where version 1 took 1.22 times."""
    limit = information_limit(0.999, P0, ALPHA)
    old, new = (expected_queries(0.999, P0, alpha=ALPHA, horizon=2000, version=v).calls for v in (1, 2))
    assert new <= 1.12 * limit
    assert old > 1.2 * limit


@pytest.mark.parametrize("p", [0.95, 0.97, 0.99])
def test_no_scale_pays_for_the_shorter_reach(p: float) -> None:
    """Images that need tens or hundreds of answers take fewer than under version 1 as well."""
    old, new = (expected_queries(p, P0, alpha=ALPHA, horizon=3000, version=v).calls for v in (1, 2))
    assert new <= 0.97 * old
