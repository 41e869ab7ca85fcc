"""Several radii from one image's votes: each is decided as soon as the confidence sequence decides it.

The sequence of `anytime` holds at every n for every class and every p0 at once, so reading many radii off it costs no
error beyond its one α, and it may stop when all are decided. A radius is reached when the proved bound is at least its
p0; it is given up, which certifies nothing, as in `futility`. Both are monotone in the radius: what is open lies
between the reached ones and those given up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final, Literal

from api_smoothing.certify.anytime import ConfidenceSequence, leader_lower
from api_smoothing.certify.base import Bound, ReadRadius, Stopped
from api_smoothing.certify.futility import futility_boundary, until_likely
from api_smoothing.certify.radius import Noise, radius, threshold
from api_smoothing.certify.tally import Tally, bound, most_failed, refuse_surplus
from api_smoothing.errors import ConfigurationError

_LEAST: Final = 1e-9  # stands for radius 0: a majority that is proved


class RadiiCertifier:
    """Decides every one of `radii`, for whichever class reaches it; ends at `limit` answers (None: no limit)."""

    method = "sequential"

    def __init__(
        self,
        radii: Sequence[float],
        *,
        limit: int | None,
        limit_name: Literal["n", "budget"],
        alpha: float,
        sigma: float,
        noise: Noise = "gaussian",
        slack: float = 0.0,
    ) -> None:
        """Raises ConfigurationError for none, UnreachableRadiusError where no answers could reach the largest."""
        self._radii = tuple(sorted({float(r) for r in radii}))
        if not self._radii:
            raise ConfigurationError("give one radius at least")
        self._limit, self._limit_name, self._alpha = limit, limit_name, alpha
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        null = partial(threshold, sigma=sigma, noise=noise, slack=slack)
        self._p0 = [null(max(r, _LEAST)) for r in self._radii]
        self._lower = [futility_boundary(p0) for p0 in self._p0]
        self._sequence = ConfidenceSequence(alpha)
        self._floor = [None if limit is None else self._sequence.least_votes(p0, limit) for p0 in self._p0]
        self._tally = Tally()
        self._reached = 0  # so many of the smallest are
        self._open = len(self._radii)  # so many of the smallest are not given up
        self._at: dict[int, int] = {}  # the answers after which each was decided
        self._unpaid: set[int] = set()  # given up for want of answers that a budget may yet pay
        self._stopped: Stopped | None = None
        self._give_up()

    def need(self) -> int:
        """See Certifier: until some radii may be reached and all larger ones given up, in either order.

        Until the first of the two nothing is shorter than answers of one kind, and from there on neither.
        """
        if self._stopped:
            return 0
        top, n = self._tally.top, self._tally.n
        ways = [None if self._limit is None else self._limit - n]
        for number in range(self._reached, self._open + 1):
            ways.append(
                self._then(self._until_reached(number, top, n), self._until_given_up, number, agree=True)
            )
            ways.append(
                self._then(self._until_given_up(number, top, n), self._until_reached, number, agree=False)
            )
        return max(1, min((way for way in ways if way is not None), default=1))

    def _then(
        self, first: int | None, second: Callable[[int, int, int], int | None], number: int, *, agree: bool
    ) -> int | None:
        """The answers until `first` has come, which all agree or none, and the `second` after that."""
        if first is None:
            return None
        rest = second(number, self._tally.top + (first if agree else 0), self._tally.n + first)
        return None if rest is None else first + rest

    def _until_reached(self, number: int, top: int, n: int) -> int | None:
        """The fewest further answers, all for one class, with which `number` radii are reached."""
        return 0 if number == self._reached else self._sequence.reach(self._p0[number - 1], top, n)

    def _until_given_up(self, number: int, top: int, n: int) -> int | None:
        """The fewest further answers, all for others, with which no more than `number` radii are left."""
        if number == self._open:
            return 0
        likely, floor = until_likely(self._lower[number], top, n), self._floor[number]
        if self._limit is None or floor is None:
            return likely
        certain = max(0, self._limit - n - (floor - top) + 1)
        return certain if likely is None else min(likely, certain)

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond the decision."""
        for i, answer in enumerate(answers):
            if self._stopped == "failed":
                return
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            self._tally.add(answer)
            if answer in self._tally.counts:
                self._sequence.look(answer, self._tally.counts[answer], self._tally.n)
            self._decide()

    def _decide(self) -> None:
        if self._limit is not None and self._tally.failed > most_failed(self._limit):
            self._stopped = "failed"
            return
        lower = self._sequence.lower(self._sequence.best)
        while self._reached < self._open and lower >= self._p0[self._reached]:
            self._at[self._reached] = self._tally.n
            self._reached += 1
        if self._reached == len(self._radii):
            self._stopped = "target"
            return
        self._give_up()
        if self._stopped is None and self._tally.n == self._limit:
            self._stopped = self._limit_name

    def _give_up(self) -> None:
        """Give up the largest radii that are out of reach, certainly or in all likelihood."""
        while self._reached < self._open:
            number = self._open - 1
            certain = self._is_out_of_reach(number)
            if not certain and not self._is_unlikely(number):
                return
            self._open = number
            self._at[number] = self._tally.n
            # What the budget cannot decide is not futile: with more money it might be certified.
            if certain and self._limit_name == "budget" and not self._is_unlikely(number):
                self._unpaid.add(number)
        if self._open < len(self._radii):
            self._stopped = "budget" if self._unpaid else "futile"

    def _is_out_of_reach(self, number: int) -> bool:
        floor, top = self._floor[number], self._tally.top
        return self._limit is not None and floor is not None and top + self._limit - self._tally.n < floor

    def _is_unlikely(self, number: int) -> bool:
        n = self._tally.n
        return n > 0 and n - self._tally.top >= self._lower[number].at(n)

    def result(self) -> Bound:
        """The best radius proved so far, and what became of each that was asked about."""
        label = self._sequence.best
        p_lower = self._sequence.lower(label)
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=label,
            radius=self._radius(p_lower),
            p_lower=p_lower,
            reached=None,
            reason=self._reason(),
            leader_lower=leader_lower(self._tally.top, self._tally.n, self._alpha),
            radii=self._read(),
        )

    def _reason(self) -> str:
        if self._stopped == "target":
            return "every radius is certified"
        if self._stopped in (None, "failed"):
            return ""
        given_up = ", ".join(f"{r:g}" for r in self._radii[self._reached :])
        return f"{self._tally.top} of {self._tally.n} votes do not certify {given_up}"

    def _read(self) -> tuple[ReadRadius, ...]:
        ended = self._stopped not in (None, "budget")
        found = []
        for number, r in enumerate(self._radii):
            reached: bool | None = True if number < self._reached else None
            if number >= self._reached and number not in self._unpaid and (ended or number >= self._open):
                reached = False
            at = self._at.get(number, self._tally.n)
            found.append(ReadRadius(r, self._sequence.best if reached else None, reached, at))
        return tuple(found)
