"""Square: an attack that sees scores (Andriushchenko, Croce, Flammarion and Hein 2020, algorithms 1 and 2), in ℓ∞.

It begins with vertical stripes and then changes one random square at a time to ± the radius, channel by channel,
keeping what lowers the margin. All is done in whole levels: what is asked about is in the ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.attacks.ball import Ball, Norm, Pixels
from api_smoothing.attacks.search import Ask, Found, Reply, Search, Spent, draws
from api_smoothing.errors import ConfigurationError

#: Shares of the queries after which the square's share of the image halves (the paper's, for 10,000 queries).
_HALVED: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_SHARE: Final = 0.8  # of the image, at first: the value of the authors' code


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Within `radius` ([0,1] units), at most `queries` answers an image; random by the image and `seed`."""

    radius: float
    queries: int = 1_000
    seed: int = 0

    @property
    def norm(self) -> Norm:
        """ℓ∞."""
        return "linf"

    def __call__(self, clean: Pixels, label: str, ask: Ask, /) -> Found:
        """An image in the ball that is answered with another class than `label`, if one was found; `clean` is uint8.

        Raises ConfigurationError where answers have no scores.
        """
        search = Search(ask, clean, label, most=self.queries, norm=self.norm)
        try:
            self._walk(search, draws("square", clean, self.seed))
        except Spent:
            return search.found(spent=True)
        return search.found(spent=False)

    def _walk(self, search: Search, draw: np.random.Generator) -> None:
        ball = Ball(norm=self.norm, radius=self.radius)
        clean = search.clean if search.clean.ndim == 3 else search.clean[..., None]
        height, width, channels = clean.shape
        change = np.broadcast_to(_signs(draw, (1, width, channels)), clean.shape) * ball.limit
        x, best = clean, math.inf
        while search.image is None:
            tried = np.clip(clean.astype(np.int64) + change, 0, 255).astype(np.uint8)
            ball.check(clean, tried)
            (reply,) = search.replies([tried.reshape(search.clean.shape)])
            value = _margin(reply, search.label)
            if value < best:
                x, best = tried, value
            side = self._side(search.queries, height, width)
            top, left = draw.integers(0, height - side + 1), draw.integers(0, width - side + 1)
            change = x.astype(np.int64) - clean
            change[top : top + side, left : left + side] = _signs(draw, (1, 1, channels)) * ball.limit

    def _side(self, asked: int, height: int, width: int) -> int:
        share = _SHARE / 2 ** sum(asked > part * self.queries for part in _HALVED)
        return min(height, width, max(1, round(math.sqrt(share * height * width))))


def _signs(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    return 2 * draw.integers(0, 2, shape) - 1


def _margin(reply: Reply, label: str) -> float:
    """The label's score less the best other one; a class that is not among the answers has 0."""
    if reply.failed:
        return math.inf
    if not reply.scores and reply.label is not None:
        raise ConfigurationError(
            "these answers have no scores, which the square attack goes by: use hopskipjump"
        )
    others = [score for name, score in reply.scores.items() if name != label]
    return reply.scores.get(label, 0.0) - max(others, default=0.0)
