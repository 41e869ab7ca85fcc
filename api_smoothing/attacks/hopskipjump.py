"""HopSkipJump: an attack that sees the answer's class alone (Chen, Jordan and Wainwright 2020), in ℓ2.

From an image of another class it walks along the boundary towards the clean one: bisection to the boundary, the
boundary's normal from the answers about random steps (equation 16, with the mean answer taken off), a step along it,
halved until it is on the other side, and so on. What differs here: every image asked about has 8 bits, so steps for the
normal are at least a level a value long, where the paper's would round to nothing; and what is returned is the nearest
image that was asked about and answered otherwise, not the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api_smoothing.attacks.ball import Norm, Pixels
from api_smoothing.attacks.search import Ask, Found, Search, Spent, check_queries, draws, on_levels

Levels: TypeAlias = NDArray[np.float64]

_FIRST: Final = 50  # random images that may be asked about for one of another class
_TOGETHER: Final = 10  # of them at once
_STEPS: Final = 100  # B₀ of the paper: steps for the first normal
_MOST_STEPS: Final = 2_000  # for a later one; their number grows with the root of how many there were
_AT_ONCE: Final = 4_000_000  # values of the steps that are asked about together
_HALVINGS: Final = 12  # of a step along the normal


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSkipJump:
    """At most `queries` answers an image; what is random is a function of the image and `seed`."""

    queries: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number."""
        check_queries(self.queries)

    @property
    def norm(self) -> Norm:
        """ℓ2."""
        return "l2"

    def __call__(self, clean: Pixels, label: str, ask: Ask, /) -> Found:
        """The nearest image found that is answered with another class than `label`; `clean` is uint8."""
        search = Search(ask, clean, label, most=self.queries, norm=self.norm)
        try:
            self._walk(search, draws("hopskipjump", clean, self.seed))
        except Spent:
            return search.found(spent=True)
        return search.found(spent=False)

    def _walk(self, search: Search, draw: np.random.Generator) -> None:
        x = _first(search, draw)
        if x is None:
            return
        clean = search.clean.astype(np.float64)
        x = _to_the_boundary(search, clean, x)
        step = 0
        while (far := float(np.linalg.norm(x - clean))) > 1:
            step += 1
            count = min(_MOST_STEPS, round(_STEPS * math.sqrt(step)))
            normal = _normal(search, x, count, max(far / x.size, 1.0) * math.sqrt(x.size), draw)
            x = _to_the_boundary(search, clean, _along(search, x, normal, far / math.sqrt(step)))


def _first(search: Search, draw: np.random.Generator) -> Levels | None:
    """A random image of another class; None where none was found."""
    for _ in range(_FIRST // _TOGETHER):
        tried = [draw.integers(0, 256, search.clean.shape, dtype=np.uint8) for _ in range(_TOGETHER)]
        wrong = search.wrong(tried)
        if wrong.any():
            return tried[int(wrong.argmax())].astype(np.float64)
    return None


def _to_the_boundary(search: Search, clean: Levels, x: Levels) -> Levels:
    """The point on the way from `x`, which is answered otherwise, to `clean`, to a level, that still is."""
    low, high, far = 0.0, 1.0, float(np.linalg.norm(x - clean))
    while (high - low) * far > 1:
        middle = (low + high) / 2
        if search.wrong([on_levels(clean + middle * (x - clean))])[0]:
            high = middle
        else:
            low = middle
    return clean + high * (x - clean)


def _normal(search: Search, x: Levels, count: int, length: float, draw: np.random.Generator) -> Levels:
    """The direction (of length 1) in which answers turn wrong, from `count` steps of `length`.

    The sum over steps of (answer less the mean answer)·step, gathered in parts: a photograph's steps fill no memory.
    """
    weighed, plain, total = np.zeros(x.shape), np.zeros(x.shape), 0.0
    together = max(1, _AT_ONCE // x.size)
    for first in range(0, count, together):
        ways = draw.standard_normal((min(together, count - first), *x.shape), dtype=np.float32)
        tried = [on_levels(x + length / float(np.linalg.norm(way)) * way) for way in ways]
        signs = np.where(search.wrong(tried), 1.0, -1.0)
        for sign, image in zip(signs, tried, strict=True):
            taken = image - x  # what was asked about, after 8 bits
            weighed, plain, total = weighed + sign * taken, plain + taken, total + sign
    mean = total / count
    found = weighed - mean * plain if abs(mean) < 1 else weighed
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12))


def _along(search: Search, x: Levels, normal: Levels, length: float) -> Levels:
    """`x` moved along `normal` by `length`, halved until the answer is another; `x` itself where it never is."""
    for _ in range(_HALVINGS):
        moved = np.clip(x + length * normal, 0, 255)
        if search.wrong([on_levels(moved)])[0]:
            return np.asarray(moved)
        length /= 2
    return x
