"""Square: an attack that sees scores (Andriushchenko, Croce, Flammarion and Hein 2020), in ℓ∞ and ℓ2.

In ℓ∞ (algorithms 1 and 2) it begins with vertical stripes and then changes one random square at a time to ± the radius,
channel by channel, keeping what lowers the margin. In ℓ2 (algorithms 1 and 3) it begins with a grid of tiles, and moves
the change of one square into another: there it takes the shape of two bumps of opposite sign, and all of the radius
that is left over. What is asked about has 8 bits and is in the ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from api_smoothing.attacks.ball import Ball, Norm, Pixels
from api_smoothing.attacks.search import Ask, Found, Reply, Search, Spent, check_queries, draws
from api_smoothing.errors import ConfigurationError

Change: TypeAlias = NDArray[np.floating[Any]]

#: Shares of the queries after which the square's share of the image halves (the paper's, for 10,000 queries).
_HALVED: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
#: Of the image, at first: the values of the authors' code for ℓ∞, and of the paper for ℓ2.
_SHARE: Final = {"linf": 0.8, "l2": 0.1}
_TILES: Final = 5  # along a side, of the first change in ℓ2
_LEAST: Final = 3  # side of a square in ℓ2


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Within `radius` ([0,1] units, in `norm`), at most `queries` answers an image; random by the image and `seed`."""

    radius: float
    norm: Norm = "linf"
    queries: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ball and the number."""
        Ball(norm=self.norm, radius=self.radius)
        check_queries(self.queries)

    def __call__(self, clean: Pixels, label: str, ask: Ask, /) -> Found:
        """An image in the ball that is answered with another class than `label`, if one was found; `clean` is uint8.

        Raises ConfigurationError where answers have no scores.
        """
        search = Search(ask, clean, label, most=self.queries, norm=self.norm)
        kind = "square" if self.norm == "linf" else "square l2"
        try:
            self._walk(search, draws(kind, clean, self.seed))
        except Spent:
            return search.found(spent=True)
        return search.found(spent=False)

    def _walk(self, search: Search, draw: np.random.Generator) -> None:
        ball = Ball(norm=self.norm, radius=self.radius)
        clean = search.clean if search.clean.ndim == 3 else search.clean[..., None]
        change = self._first(draw, clean.shape, ball)
        x, best = clean, math.inf
        while search.image is None:
            tried = _brought(clean, change, ball)
            ball.check(clean, tried)
            (reply,) = search.replies([tried.reshape(search.clean.shape)])
            value = _margin(reply, search.label)
            if value < best:
                x, best = tried, value
            change = self._next(draw, x.astype(np.float64) - clean, search.queries, ball)

    def _first(self, draw: np.random.Generator, shape: tuple[int, ...], ball: Ball) -> Change:
        height, width, channels = shape
        if self.norm == "linf":
            return np.broadcast_to(_signs(draw, (1, width, channels)), shape) * float(ball.limit)
        tile, change = max(1, min(height, width) // _TILES), np.zeros(shape)
        for top in range((height % tile) // 2, height - tile + 1, tile):
            for left in range((width % tile) // 2, width - tile + 1, tile):
                signs = _signs(draw, (1, 1, channels))
                change[top : top + tile, left : left + tile] = _bumps(draw, tile)[..., None] * signs
        return change

    def _next(self, draw: np.random.Generator, change: Change, asked: int, ball: Ball) -> Change:
        side = self._side(asked, *change.shape[:2])
        if self.norm == "linf":
            change[_window(draw, change.shape, side)] = _signs(draw, (1, 1, change.shape[2])) * ball.limit
            return change
        here, there = (_window(draw, change.shape, side) for _ in range(2))
        both = np.zeros(change.shape[:2], dtype=bool)
        both[here] = both[there] = True
        left_over = max((255 * self.radius) ** 2 - float(np.square(change).sum()), 0.0) / change.shape[2]
        room = np.sqrt(np.square(change * both[..., None]).sum((0, 1)) + left_over)  # of each channel
        bumps = _bumps(draw, side)[..., None] * _signs(draw, (1, 1, change.shape[2]))
        moved = bumps + _unit(change[here])
        change[there] = 0
        change[here] = _unit(moved) * room
        return change

    def _side(self, asked: int, height: int, width: int) -> int:
        share = _SHARE[self.norm] / 2 ** sum(asked > part * self.queries for part in _HALVED)
        side = round(math.sqrt(share * height * width))
        if self.norm == "l2":
            side = max(side, _LEAST) + (max(side, _LEAST) % 2 == 0)
        return min(height, width, max(1, side))


def _brought(clean: Pixels, change: Change, ball: Ball) -> Pixels:
    """The 8-bit image of the ball in the direction of `change`; in ℓ2 as far as its edge."""
    if ball.norm == "linf":
        return np.clip(clean + np.rint(change), 0, 255).astype(np.uint8)
    length = float(np.linalg.norm(change))
    moved = clean + change * (255 * ball.radius / length if length else 0.0)
    pair = (torch.from_numpy(x[None].astype(np.float64) / 255) for x in (clean, np.clip(moved, 0, 255)))
    return np.asarray(ball.on_grid(*pair)[0].mul(255).round().to(torch.uint8).numpy())


def _window(
    draw: np.random.Generator, shape: tuple[int, ...], side: int
) -> tuple[slice[int, int, None], slice[int, int, None]]:
    top, left = (int(draw.integers(0, length - side + 1)) for length in shape[:2])
    return slice(top, top + side), slice(left, left + side)


def _unit(change: Change) -> Change:
    """Of length 1 in each channel, where there is any."""
    lengths = np.sqrt(np.square(change).sum((0, 1)))
    return np.asarray(change / np.maximum(lengths, 1e-10))


def _bumps(draw: np.random.Generator, side: int) -> Change:
    """η of the paper's section 3.3 (side, side), of length 1: a bump beside one of the other sign, in either direction.

    Of side 1 there is one value.
    """
    half = side // 2
    found = np.concatenate((_bump(half, side), -_bump(side - half, side)))
    found /= np.linalg.norm(found)
    return found.T if draw.random() > 0.5 else found


def _bump(height: int, width: int) -> Change:
    """Rectangles about the middle, one in the other, that weigh 1/k² by their number k from within."""
    found = np.zeros((height, width))
    for k in range(max(height, width) // 2 + 1):
        top, left = max(height // 2 - k, 0), max(width // 2 - k, 0)
        found[top : height // 2 + k + 1, left : width // 2 + k + 1] += 1 / (k + 1) ** 2
    return found / max(float(np.linalg.norm(found)), 1e-10)


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
