"""The truncated mixture: an e-value, whatever the share."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify import mixture
from api_smoothing.certify.crossing import Counts, passage

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
ALPHA = 0.001
P0 = float(ndtr(1.0))


@pytest.mark.parametrize("row", GOLDEN["log_e_value"]["rows"])
def test_log_e_golden(row: list[float]) -> None:
    """The truncated mixture's log e-value is the published one."""
    k, n, p0, _, truncated = row
    assert float(mixture.log_e_beta(k, n, p0)) == pytest.approx(truncated, abs=1e-9)


@pytest.mark.parametrize("p0", [0.3, 0.5, P0, 0.99])
@pytest.mark.parametrize("alpha", [ALPHA, 0.05])
@pytest.mark.parametrize("version", [1, 2])
def test_mixture_is_a_supermartingale(p0: float, alpha: float, version: int) -> None:
    """From any state the expected e-value after one more answer is at most the present one, for every p ≤ p0."""
    made = mixture.tuned_mixture(p0, alpha, version=version)
    assert sum(made.weight) == pytest.approx(1.0)
    assert min(made.q) > p0
    n, k = (values.ravel() for values in np.meshgrid([0, 1, 7, 40, 300], [0, 1, 5, 30, 290]))
    n, k = n[k <= n], k[k <= n]
    here = np.exp(made.log_e(k, n))
    for p in np.linspace(0.0, p0, 6):
        after = p * np.exp(made.log_e(k + 1, n + 1)) + (1 - p) * np.exp(made.log_e(k, n + 1))
        assert np.all(after <= here * (1 + 1e-9))


@lru_cache
def beta_boundary(p0: float, log_threshold: float, horizon: int) -> Counts:
    """The textbook rule: the Beta mixture alone, no calibration."""
    counts, k = [], 0
    for n in range(1, horizon + 1):
        while k <= n and not (k >= n * p0 and float(mixture.log_e_beta(k, n, p0)) >= log_threshold):
            k += 1
        counts.append(k)
    return np.array(counts)


def test_the_factor_p0_is_needed() -> None:
    """Null sum over two classes at p0=½, N=3000: 7.4e-4 with α' = α·p0, but 1.54e-3, above α, without the factor."""
    with_factor = beta_boundary(0.5, math.log(1 / (ALPHA * 0.5)), 3000)
    without = beta_boundary(0.5, math.log(1 / ALPHA), 3000)
    assert 2 * passage(with_factor, 0.5).upper == pytest.approx(7.4e-4, abs=1e-5)
    assert 2 * passage(without, 0.5).upper == pytest.approx(1.54e-3, abs=1e-5)
