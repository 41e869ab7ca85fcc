"""One-sided Clopper-Pearson bounds on a binomial probability, sound in floating point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

#: betaincinv is above the exact bound by rounding in about half the cases (6e-14 relative); this covers it.
ROUNDING = 1e-12


def lower(k: npt.ArrayLike, n: npt.ArrayLike, alpha: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The p with P(Bin(n, p) ≥ k) = `alpha`, rounded down; 0 at k = 0. Broadcasts.

    The true p is below it with probability at most `alpha`, provided n was fixed before the first vote.
    Source: Clopper and Pearson 1934; used as LowerConfBound in Cohen et al. 2019, §3.2.
    """
    votes, answers, level = _checked(k, n, alpha)
    raw = betaincinv(np.maximum(votes, 1.0), answers - votes + 1.0, level)
    return np.where(votes > 0, raw * (1.0 - ROUNDING), 0.0)


def upper(k: npt.ArrayLike, n: npt.ArrayLike, alpha: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The p with P(Bin(n, p) ≤ k) = `alpha`, rounded up; 1 at k = n. Broadcasts."""
    votes, answers, level = _checked(k, n, alpha)
    return 1.0 - lower(answers - votes, answers, level)


def runner_up(k_a: int, k_b: int, n: int, alpha: float, share: float = 0.9) -> tuple[float, float]:
    """p_A↓ = CP(k_A, n, λα) and p_B↑ = min(CP-upper(k_B, n, (1−λ)α), 1 − p_A↓), λ = `share`."""
    p_a = float(lower(k_a, n, share * alpha))
    return p_a, min(float(upper(k_b, n, (1.0 - share) * alpha)), 1.0 - p_a)


def _checked(
    k: npt.ArrayLike, n: npt.ArrayLike, alpha: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    votes, answers, level = (np.asarray(v, dtype=np.float64) for v in (k, n, alpha))
    if np.any(votes < 0) or np.any(votes > answers) or np.any(answers < 1):
        raise ValueError("votes must lie in 0…n, with n at least 1")
    if np.any(level <= 0) or np.any(level >= 1):
        raise ValueError("alpha must lie strictly between 0 and 1")
    return votes, answers, level
