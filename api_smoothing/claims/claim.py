"""The claim "certified accuracy is at least X", looked at after every image, and true with the confidence it states.

What is counted. An image is *right* where the smoothed classifier's label is the truth and stays so within the
radius; θ is the share of right images. Nobody sees it: what is seen is whether an image gets a *certificate* for
the truth. Of an image that is not right that happens with probability at most α, its certificate's `alpha_total`.
So certificates may be too many as well as too few, and the bound from below is on θ, with α paid for. The other way
round nothing is known: an image without a certificate may be right. What is bounded from above is the share of
certificates that *all* images would get under the same plan, which is "certify all, then count".

*Proved*: the lower bound on θ has reached X. *Refuted*: the upper bound on what certifying all would count is below
X. Each is wrong with probability at most 1 − confidence, over the random order and the noise together, however
often one looks, and whenever one stops for want of money.

*A finite set of N.* For each m of a grid, from below, the e-process of `finite` tests "at most m are right" until
that is rejected. The lower bound is one more than the last m rejected; it only grows. *Proof.* Let M be right, and
g the first point of the grid with g ≥ M. A bound above M takes that g is rejected, and it is true: probability ≤ δ,
at any time. ∎ The grid has every m up to 400 images; beyond, steps of N/400, and always the one below X. From above
the same is done with what is not certified, and no error to be paid: the certificates that all N would get are a
fixed number once the noise is given.

*Images drawn from a population without end.* The null θ ≤ g has P(certificate | past) ≤ q = g + (1−g)α, and every
component p > q of the Beta(½, ½) mixture of `certify.mixture` has expectation ≤ 1 under it. The grid is steps of
1/400, and X.

The order must be random: drawn after X, the set and the settings were fixed, and results are taken in that order.
An image that is not done holds up those after it: taking them as they finish would take the easy ones first.

Nothing is assumed of how the certificates come about, but that one of an image that is not right has probability at
most α given the order and the images before it. It holds for streams of noise of one's own for each image, and with
a prior learned from the others; not where a neighbour's certificate answers for an image (`reuse="ball"`). Refuting
further takes that an image's outcome does not depend on its place in the order, which such a prior would make it
do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Final, Literal

from api_smoothing.certify.mixture import log_e_beta
from api_smoothing.claims.finite import Finite
from api_smoothing.claims.intervals import error_of
from api_smoothing.errors import ConfigurationError

State = Literal["open", "proved", "refuted"]

_STEPS: Final = 400  # of the grids
_FAR: Final = 2**24  # images that nobody has

_UP: Final = 1.0 + 1e-14  # rounding of q

#: Log evidence after so many certificates among so many images.
LogE = Callable[[int, int], float]
#: The most that are right: a number of images, or a share.
Null = int | Fraction


class Claim:
    """Certified accuracy is at least `at_least`, over images in random order; a state machine without I/O."""

    def __init__(
        self,
        at_least: float,
        *,
        confidence: float = 0.95,
        population: int | None = None,
        alpha: float = 0.001,
    ) -> None:
        """`at_least` in (0, 1], read as the decimal that is written; `confidence` in [½, 1).

        `population` is the size of the set that the claim is about, drawn from without replacement; None: images
        drawn independently from a population without end. `alpha` in [0, ½): the largest `alpha_total` of a
        certificate. Raises ConfigurationError out of these ranges.
        """
        error = error_of(confidence)
        if not 0.0 < at_least <= 1.0:
            raise ConfigurationError(f"a claim is about a share in (0, 1], not {at_least!r}")
        if population is not None and population < 1:
            raise ConfigurationError(f"a claim needs one image at least, not {population}")
        if not 0.0 <= alpha < 0.5:
            raise ConfigurationError(f"alpha must lie in [0, 0.5), not {alpha!r}")
        self.at_least, self.confidence, self.population, self.alpha = at_least, confidence, population, alpha
        self.looked = self.certified = 0
        self._state: State = "open"
        if population is None:
            share = Fraction(repr(float(at_least)))
            self._below = _Bound(share, partial(endless, alpha=alpha), error)
            self._above = _Bound(1 - share, partial(endless, alpha=0.0), error)
        else:
            least = least_right(at_least, population)
            self._below = _Bound(
                least - 1, partial(whole, population=population, alpha=alpha), error, population
            )
            self._above = _Bound(
                population - least, partial(whole, population=population, alpha=0.0), error, population
            )

    @property
    def state(self) -> State:
        """What is decided; further images do not change it."""
        return self._state

    @property
    def lower(self) -> float:
        """At any time below the share of right images, with the confidence of the claim; it only grows."""
        return self._below.share

    @property
    def upper(self) -> float:
        """At any time above the share that certifying all would count, with the same confidence; it only falls."""
        return 1.0 - self._above.share

    @property
    def exhausted(self) -> bool:
        """Whether all images of a finite set have been looked at."""
        return self.population is not None and self.looked >= self.population

    def add(self, certified: bool, alpha_total: float = 0.0) -> State:
        """Take the next image of the order: whether it is certified at the radius with the true label.

        One that failed, could not be read or was given up is not certified. Nor is one whose `alpha_total` is more
        than the claim pays for. Raises ConfigurationError beyond the last image of a finite set.
        """
        if self.exhausted:
            raise ConfigurationError(f"all {self.population} images of the claim have been looked at")
        self.looked += 1
        self.certified += bool(certified) and alpha_total <= self.alpha
        self._below.look(self.certified, self.looked)
        self._above.look(self.looked - self.certified, self.looked)
        if self._state == "open":
            self._state = "proved" if self._below.met else "refuted" if self._above.met else "open"
        return self._state

    @property
    def need(self) -> int:
        """The fewest further images after which the state could change; 0 where it cannot any more.

        So many can be certified at once, and none in vain: if all are certified, or none is, the evidence for either
        grows with each.
        """
        if self._state != "open":
            return 0
        left = _FAR if self.population is None else self.population - self.looked
        missed = self.looked - self.certified
        ways = (
            self._below.reach(self.certified, self.looked, left),
            self._above.reach(missed, self.looked, left),
        )
        return min((way for way in ways if way is not None), default=0)

    @property
    def statement(self) -> str:
        """What is known, in one sentence."""
        of = "images like these" if self.population is None else f"the {self.population} images"
        told = f"{self.certified} of {self.looked} looked at are certified; confidence {self.confidence:.4g}"
        if self._state == "proved":
            return f"proved: at least {self.lower:.4g} of {of} are right and robust ({told})"
        if self._state == "refuted":
            return f"refuted: certifying all would count at most {self.upper:.4g} of {of} ({told})"
        return f"open: at least {self.lower:.4g} of {of} are right and robust; {self.at_least:g} is not shown ({told})"


class _Bound:
    """A lower bound on a share that only grows; `met` once the null `goal` is rejected, and all of the grid below it.

    Shares are of `population`, in images; without one they are fractions.
    """

    def __init__(
        self, goal: Null, evidence: Callable[[Null], LogE], error: float, population: int | None = None
    ) -> None:
        self._goal, self._evidence, self._whole = goal, evidence, population
        self._level = math.log(1.0 / error)
        self._grid = _grid(goal, population)
        self._place = 0
        self._proved: Null = 0
        self._null = evidence(self._grid[0])
        self.met = False

    @property
    def share(self) -> float:
        return float(self._proved if self._whole is None else Fraction(self._proved, self._whole))

    def look(self, count: int, looked: int) -> None:
        while self._place < len(self._grid) and self._null(count, looked) >= self._level:
            null = self._grid[self._place]
            self._proved = null if self._whole is None else null + 1
            self.met = self.met or null >= self._goal
            self._place += 1
            if self._place < len(self._grid):
                self._null = self._evidence(self._grid[self._place])

    def reach(self, count: int, looked: int, left: int) -> int | None:
        """The fewest of at most `left` further images, all counted, that the goal takes; None if they do not."""
        if self._goal not in self._grid:
            return None
        evidence = self._evidence(self._goal)

        def met(more: int) -> bool:
            return evidence(count + more, looked + more) >= self._level

        high = 1
        while not met(min(high, left)):
            if high >= left:
                return None
            high *= 2
        low, high = high // 2, min(high, left)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if met(middle) else (middle, high)
        return high


def least_right(at_least: float, population: int) -> int:
    """The fewest of `population` images that make a share of `at_least`, the decimal as it is written."""
    return math.ceil(Fraction(repr(float(at_least))) * population)


def whole(null: Null, *, population: int, alpha: float) -> LogE:
    """The evidence that more than `null` of the `population` are right; see `finite`."""
    return Finite(population, int(null), alpha).log_e


def endless(null: Null, *, alpha: float) -> LogE:
    """The evidence that more than the share `null` is right, of a population without end."""
    share = float(null)
    q = min(1.0, (share + (1.0 - share) * alpha) * _UP)

    def log_e(certified: int, looked: int) -> float:
        if q == 0.0:
            return math.inf if certified else -math.inf
        return float(log_e_beta(certified, looked, q))

    return log_e


def _grid(goal: Null, population: int | None) -> tuple[Null, ...]:
    """Nulls, rising, the `goal` among them unless it is the whole."""
    if population is None:
        steps: set[Null] = {Fraction(i, _STEPS) for i in range(_STEPS)}
    else:
        steps = (
            {i * population // _STEPS for i in range(_STEPS)}
            if population > _STEPS
            else set(range(population))
        )
    return tuple(sorted(steps | ({goal} if goal < (population or 1) else set())))
