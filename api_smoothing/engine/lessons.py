"""Which learned prior each image of a run gets: by the order of the images, never by time.

An image is taught by the first 8, 32, 128, … images, the most of these that come before it, and waits until they are
done. So a run gives the same certificates however many images are open at once, and a new prior, whose calibration
takes about half a second, is made only a few times. What an image has taught is left out of its own prior: a picture
that comes twice is not judged by its own votes (see `certify.prior`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api_smoothing.certify.prior import Prior, PriorLearner
from api_smoothing.results import Certificate

_FIRST: Final = 8
_FACTOR: Final = 4

Lesson = tuple[str, int, int]  # the image's digest, votes of its top class, all n of its votes


def lesson_of(found: Certificate) -> Lesson:
    """What an image that is done teaches; one that a neighbour has answered for has no votes of its own."""
    return found.image_sha256, max(found.counts.values(), default=0), 0 if found.parent else found.n


def teachers(place: int) -> int:
    """How many images, the first ones, teach the one at `place`, from 0 on."""
    count, further = 0, _FIRST
    while further <= place:
        count, further = further, further * _FACTOR
    return count


class Lessons:
    """What the images of one run teach one another, after those done `before` it."""

    def __init__(self, before: Sequence[Lesson] = ()) -> None:
        """`before` has the images done earlier, in order."""
        self._known = list(before)
        self._before = len(self._known)
        self._done: dict[int, Lesson] = {}
        self._learners: dict[int, PriorLearner] = {}
        self._priors: dict[int, Prior | None] = {}

    def ready(self, index: int) -> bool:
        """Whether all that teach the run's image `index` are done."""
        while (lesson := self._done.get(len(self._known) - self._before)) is not None:
            self._known.append(lesson)
        return teachers(self._before + index) <= len(self._known)

    def prior(self, index: int, image_digest: str) -> Prior | None:
        """The prior for the image `index`, which must be ready; None while nothing is learnt."""
        count = teachers(self._before + index)
        taught = self._known[:count]
        if count not in self._priors:
            self._learners[count] = learner = PriorLearner()
            for digest, votes, n in taught:
                if n:
                    learner.add(digest, votes, n)
            self._priors[count] = learner.without("")
        if any(digest == image_digest for digest, _, _ in taught):
            return self._learners[count].without(image_digest)
        return self._priors[count]

    def done(self, index: int, lesson: Lesson) -> None:
        """The image `index` is done. Thread-safe."""
        self._done[index] = lesson


class Handed(Lessons):
    """Priors that come with the images: a worker has some of a run's, and others taught them."""

    def __init__(self) -> None:
        super().__init__()
        self._handed = list[Prior | None]()

    def put(self, prior: Prior | None) -> None:
        """The prior of the next image."""
        self._handed.append(prior)

    def ready(self, index: int) -> bool:
        """Always: it came when its teachers were done."""
        return True

    def prior(self, index: int, image_digest: str) -> Prior | None:
        """As it was handed in."""
        return self._handed[index]

    def done(self, index: int, lesson: Lesson) -> None:
        """Teaches nobody here."""
