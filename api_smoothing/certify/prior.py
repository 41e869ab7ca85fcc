"""What images that are done teach about the next one: a prior over the share of votes.

The e-process of a target run mixes alternatives q > p0. Any weights fixed before an image's first vote make a test
supermartingale under p ≤ p0 (`mixture`), and the boundary drawn from them is calibrated to the exact error α
(`sequential`, `spending`). So they may be learned from whatever came before, other images, a surrogate, even an
adversary: a bad prior costs answers, never soundness. Proof: given the prior, the image's votes are still independent
draws with P(vote for c) = p_c, as every image has a noise stream of its own. So the error given the prior is at most α,
and its mean over priors is. ∎ Weights learned from the image's own votes, under whatever σ, would void this: a learner
knows images by their digest and leaves one out of the prior it gives for it. A prior is a value with a digest: a
run with several workers hands it out with the image, and a question goes on under the prior it was begun with.

An image with k of n votes counts as its posterior over a fixed grid of shares, not as the point k/n, which chance has
moved. That grid prior does not depend on the other images, so what is learnt does not depend on their order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np
from scipy.special import ndtr

from api_smoothing.certify.crossing import Floats

SCHEMA: Final = "api-smooth/prior/1"
_UNIT: Final = 1000  # an image is worth so much: whole numbers, so that a digest does not hang on rounding

#: Shares in steps of 0.1 of Φ⁻¹, that is of 0.1σ of Gaussian radius, from Φ(−2) to Φ(4.5), and 1.
GRID: Final[Floats] = np.append(ndtr(np.arange(-20, 46) / 10.0), 1.0)


@dataclass(frozen=True)
class Prior:
    """Weights over `GRID`, in thousandths of an image. Raises ValueError unless there is one for each point."""

    weights: tuple[int, ...]

    #: The usual weights of a target run count as so many images, and never for less than a quarter: however wrong the
    #: prior, an image pays ln 4 nats more, a fifth at α = 0.001.
    STRENGTH: ClassVar[float] = 10.0
    MOST: ClassVar[float] = 0.75

    def __post_init__(self) -> None:
        if len(self.weights) != GRID.size or min(self.weights) < 0 or not any(self.weights):
            raise ValueError(f"a prior has {GRID.size} weights, none negative and not all 0")

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of what the prior says."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> float:
        """How many images it has been learnt from."""
        return sum(self.weights) / _UNIT

    def blend(self, q: Floats, p0: float, usual: Floats) -> Floats:
        """Weights for the alternatives `q` > `p0`, falling, from the `usual` ones and the images; both sum to 1.

        Each point of the grid above p0 gives its weight to the two alternatives around it, in proportion to their
        distance on the scale of Φ⁻¹(q) − Φ⁻¹(p0), logarithmically, as the answers needed go with its square.
        """
        learned = np.zeros(q.size)
        above = p0 + 1e-9 < GRID
        for share, images in zip(GRID[above], np.array(self.weights)[above] / _UNIT, strict=True):
            if images:
                learned += images * _around(q, float(share), p0)
        images = float(learned.sum())
        if images == 0.0:
            return usual
        part = min(self.MOST, images / (images + self.STRENGTH))
        return np.asarray((1.0 - part) * usual + part * learned / images)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"schema": SCHEMA, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises ValueError where it is no prior of this version."""
        weights = values.get("weights")
        if values.get("schema") != SCHEMA or not isinstance(weights, list):
            raise ValueError(f"not a prior: its schema is {values.get('schema')!r}, not {SCHEMA!r}")
        if not all(isinstance(weight, int) for weight in weights):
            raise ValueError("not a prior: its weights are not whole numbers")
        return cls(tuple(weights))


class PriorLearner:
    """Collects the votes of images that are done, by image, and gives priors for others."""

    def __init__(self) -> None:
        """Nothing learnt yet."""
        self._seen: dict[str, tuple[int, int]] = {}  # n, votes

    def add(self, image_digest: str, votes: int, n: int) -> None:
        """An image had `votes` of `n` ≥ 1 answers for its top class; of two reports on one image the longer counts."""
        if not 0 <= votes <= n or n < 1:
            raise ValueError(f"{votes} of {n} votes: they must lie in 0…n, with n at least 1")
        self._seen[image_digest] = max(self._seen.get(image_digest, (0, 0)), (n, votes))

    def without(self, image_digest: str) -> Prior | None:
        """What the other images teach about this one; None while they teach nothing."""
        return learnt((k, n) for digest, (n, k) in self._seen.items() if digest != image_digest)


def learnt(images: Iterable[tuple[int, int]]) -> Prior | None:
    """The prior from (votes, n) of images that are done, in any order; None from no images."""
    total = np.zeros(GRID.size, dtype=np.int64)
    for votes, n in images:
        total += np.rint(_UNIT * _posterior(votes, n)).astype(np.int64)
    return Prior(tuple(total.tolist())) if total.any() else None


def _posterior(votes: int, n: int) -> Floats:
    """Over GRID, every point as likely beforehand."""
    share = np.clip(GRID, 1e-300, 1.0 - 1e-12)
    log = votes * np.log(share) + (n - votes) * np.log1p(-share)
    weight = np.exp(log - log.max())
    return np.asarray(weight / weight.sum())


def _around(q: Floats, share: float, p0: float) -> Floats:
    """Weight 1 for an image of that share, given to the nearest of the alternatives `q`, which fall."""
    at = int(np.searchsorted(-q, -share))  # q[at-1] ≥ share ≥ q[at], nearly
    weight = np.zeros(q.size)
    if at in (0, q.size):
        weight[min(at, q.size - 1)] = 1.0
        return weight
    high, middle, low = (np.log(v - p0) for v in (q[at - 1], share, q[at]))
    weight[at - 1] = (middle - low) / (high - low)
    weight[at] = 1.0 - weight[at - 1]
    return weight
