"""A certified image answers for its neighbours: which one, and what of its radius is left at their distance.

If the smoothed label is the same everywhere within R of x, then it is within R − d of every x′ at distance d < R: the
ball around x′ lies in that around x. No query, no further error: x′ is wrong only where x is. The distance is that of
the images as they enter the noise, in whole grid steps, so it is exact; it is rounded up once, in rational arithmetic.

The nearest image that was asked about answers, whatever came of it: choosing by radius would choose the luckiest. An
image waits while its nearest is open, so what is reused does not depend on time. Candidates are found by the sums of
at most 8×8 blocks a channel: by Cauchy and Schwarz (the triangle inequality in ℓ1) their distance is never more than
that of the images, so none is missed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.certify import Spec
from api_smoothing.certify.radius import linf_from_l2, radius, threshold
from api_smoothing.images import Loaded
from api_smoothing.results import Certificate

MEMORY: Final = 256 * 2**20  # bytes of images kept, the latest ones
_BLOCKS: Final = 8
_BITS: Final = 60  # of the square root, below the step of the grid


@dataclass(eq=False, slots=True)
class _Kept:
    """An image that was asked about, or is being."""

    run: object
    stream: str
    grid: NDArray[Any]
    sums: NDArray[np.float64]
    certificate: Certificate | None = None

    @property
    def nbytes(self) -> int:
        return self.grid.nbytes + self.sums.nbytes


class Neighbours:
    """The images that were asked about with one object, by their settings; `memory` bounds the bytes of them."""

    def __init__(self, *, stands: Callable[[str], bool] = lambda stream: True, memory: int = MEMORY) -> None:
        """`stands` says of a stream whether its answers still count: not where the model was seen to change."""
        self._stands, self._memory, self._bytes = stands, memory, 0
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()
        self._versions: dict[str, str] = {}

    def visit(
        self, loaded: Loaded, spec: Spec, *, run: object, settings: str, stream: str, new: bool = True
    ) -> Visit:
        """An image of a `run`, whose neighbours have the same `settings`: all that the answers of its `stream` depend
        on but the image, and how they are read. One that is not `new` has votes of its own, which answer for it.
        """
        return Visit(self, loaded, spec, run=run, settings=settings, stream=stream, new=new)

    def recall(self, loaded: Loaded, found: Certificate, *, settings: str, stream: str) -> None:
        """An image that was asked about before, with what came of it; nobody waits for it."""
        key, run = (settings, loaded.digest), None
        self._enter(key, _Kept(run, stream, _compact(loaded.grid, loaded.sub), _sums(loaded.grid)))
        self._done(key, found)

    def _enter(self, key: tuple[str, bytes], kept: _Kept) -> None:
        if key in self._kept:
            return  # asked again: its certificate is replaced when there is another
        self._kept[key] = kept
        self._bytes += kept.nbytes
        while self._bytes > self._memory and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, bytes]) -> None:
        self._bytes -= self._kept.pop(key).nbytes

    def _done(self, key: tuple[str, bytes], found: Certificate) -> None:
        """Of several answers about one image the largest radius is kept, with what bounds the error of them all."""
        if found.model_version is not None:
            self._versions[key[0]] = found.model_version
        if (kept := self._kept.get(key)) is None:
            return
        if (before := kept.certificate) is not None and before.radius > found.radius:
            found = replace(
                before, looks=found.looks, alpha_total=found.alpha_total, exploratory=found.exploratory
            )
        kept.certificate = found

    def _counts(self, kept: _Kept, settings: str) -> bool:
        """Whether the model is still the one that was asked about this image, as far as anybody knows."""
        assert kept.certificate is not None
        version = kept.certificate.model_version
        return self._stands(kept.stream) and version in (None, self._versions.get(settings))

    def _others(self, key: tuple[str, bytes]) -> list[_Kept]:
        return [kept for other, kept in list(self._kept.items()) if other[0] == key[0] and other != key]


class Visit:
    """One image among those that were asked about. Its nearest is looked for once, when all before it are entered."""

    def __init__(
        self,
        all_: Neighbours,
        loaded: Loaded,
        spec: Spec,
        *,
        run: object,
        settings: str,
        stream: str,
        new: bool,
    ) -> None:
        self._all, self._loaded, self._spec = all_, loaded, spec
        self._key = settings, loaded.digest
        self._me = _Kept(run, stream, _compact(loaded.grid, loaded.sub), _sums(loaded.grid))
        self._found: tuple[_Kept, Fraction] | None = None
        self._looked = not new

    def ready(self) -> bool:
        """Whether it is known if a neighbour answers."""
        near = self._nearest()
        if near is None or self._spec.radius is not None:  # images of one run reach its target, and no more
            return True
        return near[0].certificate is not None or near[0].run is not self._me.run

    def enter(self) -> None:
        """It is asked about itself, and answers for others from now on."""
        self._all._enter(self._key, self._me)

    def done(self, certificate: Certificate) -> None:
        """What came of asking."""
        self._all._done(self._key, certificate)

    def leave(self) -> None:
        """Its run has ended: nobody waits for it any more."""
        kept = self._all._kept.get(self._key)
        if kept is self._me and kept.certificate is None:
            self._all._drop(self._key)

    def answer(self, *, slack: float) -> Certificate | None:
        """The certificate that the nearest image gives, where it gives what is asked for."""
        near = self._nearest()
        if (
            near is None
            or (of := near[0].certificate) is None
            or not self._all._counts(near[0], self._key[0])
        ):
            return None
        left = _down(Fraction(of.radius) - near[1])
        if of.label is None or left <= 0.0 or (self._spec.radius is not None and left < self._spec.radius):
            return None
        return self._certificate(of, left, near[1], slack)

    def _certificate(self, of: Certificate, left: float, distance: Fraction, slack: float) -> Certificate:
        loaded, spec = self._loaded, self._spec
        least = threshold(left, sigma=spec.sigma, noise=spec.noise) * (1.0 - 1e-12) - slack
        target = spec.radius
        return replace(
            of,
            radius=left,
            radius_original=loaded.radius_original(left, norm=of.norm),
            linf_radius=linf_from_l2(left, loaded.grid.size) if of.norm == "l2" else None,
            p_lower=max(0.0, least),
            target_radius=target,
            reached=None if target is None else True,
            stopped="n" if target is None else "target",
            reason=f"no query: {float(distance):.4g} from {of.image}, certified to {of.radius:.4g}",
            queries=0,
            cached=0,
            cost_usd=0.0,
            image=loaded.source,
            image_sha256=loaded.digest.hex(),
            space_original=loaded.original_size,
            original=loaded.original.name,
            unbounded=loaded.original.unbounded,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            parent=of.image_sha256,
            item=None,
            extra={},
        )

    def _nearest(self) -> tuple[_Kept, Fraction] | None:
        """The nearest of the others within reach, and its distance; of several the earliest."""
        if not self._looked:
            self._looked = True
            self._found = self._search()
        return self._found

    def _search(self) -> tuple[_Kept, Fraction] | None:
        others, norm, steps = self._all._others(self._key), self._spec.norm, 255 * self._loaded.sub
        if not others or self._key in self._all._kept:  # it has votes of its own by now
            return None
        best: tuple[_Kept, int] | None = None
        apart = _apart(np.array([kept.sums for kept in others]), self._me.sums, norm)
        radii = [kept.certificate.radius for kept in others if kept.certificate is not None]
        reach = max(_reach(self._spec), *radii, 0.0)
        limit = reach * steps if norm == "l1" else (reach * steps) ** 2
        for at in np.argsort(apart, kind="stable"):
            bound = limit if best is None else min(limit, best[1])
            if apart[at] * (1.0 - 1e-9) > bound:
                break
            found = _measure(others[at].grid, self._me.grid, norm)
            if best is None or found < best[1]:
                best = others[at], found
        if best is None or best[1] > limit:
            return None
        return best[0], _length(best[1], norm) / steps


def distance(one: Loaded, other: Loaded, norm: str) -> Fraction:
    """The ℓ2 or ℓ1 distance of two images of one grid as they enter the noise, in [0,1] units, rounded up by 2⁻⁶⁰ of a
    grid step at most.
    """
    return _length(_measure(one.grid, other.grid, norm), norm) / (255 * one.sub)


def _measure(one: NDArray[Any], other: NDArray[Any], norm: str) -> int:
    """The squared ℓ2 distance, or the ℓ1 distance, in whole grid steps: below 2⁶³ for every image there can be."""
    difference = (one.astype(np.int64) - other).ravel()
    return int(np.abs(difference).sum()) if norm == "l1" else int(difference @ difference)


def _length(measured: int, norm: str) -> Fraction:
    """The distance in grid steps, no less than it is."""
    if norm == "l1":
        return Fraction(measured)
    root = math.isqrt(measured << (2 * _BITS))
    return Fraction(root + (root * root != measured << (2 * _BITS)), 1 << _BITS)


def _down(value: Fraction) -> float:
    """The largest float that is not above `value`."""
    near = float(value)
    return near if Fraction(near) <= value else math.nextafter(near, -math.inf)


def _reach(spec: Spec) -> float:
    """No image of the same run is certified further: its target, or what unanimous votes prove."""
    if spec.radius is not None or spec.most is None:
        return 0.0 if spec.radius is None else spec.radius
    return radius(spec.alpha ** (1.0 / spec.most), sigma=spec.sigma, noise=spec.noise)


def _compact(grid: NDArray[np.int32], sub: int) -> NDArray[Any]:
    return grid.astype(np.uint8 if sub == 1 else np.uint16 if sub <= 257 else np.int32)


def _cuts(length: int) -> NDArray[np.int64]:
    blocks = min(_BLOCKS, length)
    return np.arange(blocks, dtype=np.int64) * length // blocks


def _sums(grid: NDArray[np.int32]) -> NDArray[np.float64]:
    """The sums over blocks, whole numbers, each divided by the root of how many values it has; flat."""
    height, width = grid.shape[:2]
    rows, columns = _cuts(height), _cuts(width)
    sums = np.add.reduceat(np.add.reduceat(grid.astype(np.int64), rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))[..., None]
    return np.asarray(sums / np.sqrt(counts), dtype=np.float64).ravel()


def _apart(many: NDArray[np.float64], one: NDArray[np.float64], norm: str) -> NDArray[np.float64]:
    """No more than the measures of the images with these sums: ℓ2 squared, or ℓ1, which is at least ℓ2."""
    squared = np.square(many - one).sum(axis=1)
    return np.asarray(np.sqrt(squared) if norm == "l1" else squared)
