"""When the next turn comes, by quotas and the turns that were taken: the arithmetic of the rate limiter."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from typing import Final

from api_smoothing.adapters.base import Quota

MARGIN: Final = 0.02
LONGEST: Final = 512  # turns remembered for a quota


@dataclass(slots=True)
class Lane:
    """A quota and the times in seconds, ascending, of the units it last let through."""

    quota: Quota
    past: array[float] = field(default_factory=lambda: array("d"))

    @property
    def window(self) -> float:
        """The quota's seconds, with the margin."""
        return self.quota.seconds * (1.0 + MARGIN)

    def next(self, images: int, start: float) -> float:
        """The first time from `start` on at which a request with `images` images keeps to the quota."""
        count, past = self.quota.count, self.past
        units = min(self._units(images), count)
        if len(past) >= count - units + 1:
            start = max(start, past[units - 1 - count] + self.window)
        if past:  # an even flow instead of a burst a window
            start = max(start, past[-1] + self.window / count / 2)
        return start

    def take(self, images: int, at: float) -> None:
        """Note that the request leaves at `at`."""
        self.past.extend(self._entries(images, at))
        del self.past[:-LONGEST]

    def give_back(self, images: int, at: float) -> None:
        """Note that it did not, after all."""
        for entry in self._entries(images, at):
            if entry in self.past:
                self.past.remove(entry)

    def _units(self, images: int) -> int:
        return images if self.quota.unit == "image" else 1

    def _entries(self, images: int, at: float) -> list[float]:
        """A batch larger than the quota fills some windows, and counts as in the last of them."""
        wanted, count = self._units(images), self.quota.count
        return [at + (-(-wanted // count) - 1) * self.window] * min(wanted, count)


@dataclass(slots=True)
class Flow:
    """Turns that keep to several quotas at once; `lanes` by name."""

    lanes: dict[str, Lane] = field(default_factory=dict)

    def copy(self) -> Flow:
        """One that takes turns of its own."""
        return Flow({name: Lane(lane.quota, lane.past[:]) for name, lane in self.lanes.items()})

    def next(self, images: int, start: float) -> float:
        """The first time from `start` on at which a request with `images` images may leave."""
        # What one quota delays the others allow: with time they only become laxer.
        return max((lane.next(images, start) for lane in self.lanes.values()), default=start)

    def take(self, images: int, at: float) -> None:
        """Note that the request leaves at `at`."""
        for lane in self.lanes.values():
            lane.take(images, at)

    def give_back(self, images: int, at: float) -> None:
        """Note that it did not, after all."""
        for lane in self.lanes.values():
            lane.give_back(images, at)

    def pass_by(self, images: int, at: float) -> None:
        """Count a request that left earlier as one of `at`, too."""
        last = max((lane.past[-1] for lane in self.lanes.values() if lane.past), default=at)
        self.take(images, max(at, last))


def fine(quota: Quota) -> Quota:
    """A large quota as one of a window so much shorter that its turns can be remembered; never a laxer one."""
    parts = -(-quota.count // LONGEST)
    if parts == 1:
        return quota
    return replace(quota, count=quota.count // parts, seconds=quota.seconds / parts)
