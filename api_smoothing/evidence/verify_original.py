"""How far an image's way into the noise stretches a distance: `verify.py` runs this file, which must lie beside it.

Standard library only. The image is scaled by a triangle filter to the smallest size that covers the one asked about,
in weights of 18 bits that sum to 1, and cut to its centre. In ℓ1 that stretches by the largest column sums of the two
axes, which are computed as they are; in ℓ2 by their largest singular values, of which iteration tells no more than
there is: so no radius that follows is too small, and a larger one is found to be.
"""

import math
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, pairwise

#: By how much grey, transparency and both stretch besides, in ℓ2 and ℓ1; of other kinds nothing follows.
KINDS = {"RGB": (1.0, 1.0), "grey": (3**0.5, 3.0), "RGBA": (2.0, 3.0), "grey with alpha": (6**0.5, 3.0)}
ITERATIONS = 100


def rows(source: int, to: int, kept: int) -> Iterator[tuple[int, list[float]]]:
    """First pixel and weights of the middle `kept` rows, from `source` pixels to `to`."""
    reach = 2 * max(source, to)
    for row in range((to - kept) // 2, (to - kept) // 2 + kept):
        centre = (2 * row + 1) * source
        first = max(0, (centre - reach) // (2 * to))
        pixels = range(first, min(source, (centre + reach) // (2 * to) + 1))
        heights = [max(0, reach - abs((2 * k + 1) * to - centre)) for k in pixels]
        total = sum(heights)
        edges = ((2**19 * so_far + total) // (2 * total) for so_far in accumulate(heights, initial=0))
        yield first, [(b - a) / 2**18 for a, b in pairwise(edges)]


@cache
def stretch(source: int, to: int, kept: int) -> tuple[float, float]:
    """Of one axis: at most its ‖A‖₂, and its ‖A‖₁."""
    matrix, sums, x = [*rows(source, to, kept)], [0.0] * source, [1.0] * source
    for first, weights in matrix:
        for k, weight in enumerate(weights, first):
            sums[k] += weight
    norm = 0.0
    for _ in range(ITERATIONS):  # x ← AᵀA·x
        y = [sum(w * v for w, v in zip(weights, x[first:], strict=False)) for first, weights in matrix]
        norm, x = math.hypot(*y) / math.hypot(*x), [0.0] * source
        for value, (first, weights) in zip(y, matrix, strict=True):
            for k, weight in enumerate(weights, first):
                x[k] += weight * value
    return norm * (1 - 1e-12), max(sums)


def carried(
    radius: float, norm: str, given: tuple[int, int], seen: tuple[int, int], kind: str | None
) -> float:
    """The most that `radius` at `seen` (height, width) is for an image of a `kind` that was `given` so large."""
    (h, w), (height, width), l1 = given, seen, norm == "l1"
    to = height, max(width, (2 * w * height + h) // (2 * h))
    if height * w < width * h:
        to = max(height, (2 * h * width + w) // (2 * w)), width
    by = math.prod(stretch(a, b, c)[l1] for a, b, c in zip(given, to, seen, strict=True))
    values = 3 * height * width
    rounded = min(h / height, w / width) != 1  # of a resized image, to 1/256 of a level
    moved = rounded * (0.5 + 1e-6) / 65280 * (values if l1 else math.sqrt(values))
    return max(0.0, radius - moved) / (by * KINDS.get(kind or "RGB", (math.inf, math.inf))[l1])
