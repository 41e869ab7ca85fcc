"""Attacks that only see answers: what they ask, what it costs, and the nearest image that was answered otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from api_smoothing.attacks.ball import Norm, Pixels, distance
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from api_smoothing.smoothed import SmoothedAPI


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is said of an image: the class, None for "no label"; the scores of the classes that are named, if any.

    `failed` says that there is no answer, and there will be none.
    """

    label: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    failed: bool = False


#: 8-bit images → a reply each, in order; fewer where the budget is spent.
Ask = Callable[[Sequence[Pixels]], Sequence[Reply]]


class Spent(Exception):
    """No further query may be asked."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What an attack by answers came to.

    `image` is the nearest one (uint8, in the attack's norm) that was answered with another class than `label`, and
    `distance` how far it is, in [0,1] units; both None where there was none. `queries` is how many images were asked
    about; `spent` says that the attack ended for want of budget or queries, `unpaid` that it was the budget.
    """

    label: str
    image: Pixels | None
    distance: float | None
    queries: int
    spent: bool
    unpaid: bool = False


class Search:
    """Asks about changes of `clean` (uint8, (H,W) or (H,W,C)), `most` times at most, and keeps the nearest success."""

    def __init__(self, ask: Ask, clean: Pixels, label: str, *, most: int, norm: Norm) -> None:
        check_queries(most)
        self._ask, self._left, self._unpaid = ask, most, False
        self.clean, self.label, self.norm = clean, label, norm
        self.queries = 0
        self.image: Pixels | None = None
        self.distance: float | None = None

    def replies(self, images: Sequence[Pixels]) -> list[Reply]:
        """What is said of each. Raises Spent when not all can be asked; what was answered is taken note of."""
        asked = list(images[: self._left])
        found = list(self._ask(asked)) if asked else []
        self._left -= len(asked)
        self.queries += len(found)
        self._unpaid |= len(found) < len(asked)
        for image, reply in zip(asked, found, strict=False):
            if self.is_wrong(reply):
                self._note(image)
        if len(found) < len(images):
            raise Spent
        return found

    def wrong(self, images: Sequence[Pixels]) -> NDArray[np.bool_]:
        """Whether each is answered otherwise (N,). Raises Spent."""
        return np.array([self.is_wrong(reply) for reply in self.replies(images)], dtype=bool)

    def is_wrong(self, reply: Reply) -> bool:
        """Whether it names another class, or none; no answer at all is no success."""
        return not reply.failed and reply.label != self.label

    def found(self, *, spent: bool) -> Found:
        """What it has come to."""
        return Found(
            label=self.label,
            image=self.image,
            distance=self.distance,
            queries=self.queries,
            spent=spent,
            unpaid=self._unpaid,
        )

    def _note(self, image: Pixels) -> None:
        far = distance(self.clean, image, self.norm)
        if self.distance is None or far < self.distance:
            self.image, self.distance = image.copy(), far


def check_queries(most: int) -> None:
    """Raise ConfigurationError unless an attack can ask so many."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigurationError(f"the queries of an attack must be a whole number from 1 on, not {most!r}")


def on_levels(x: NDArray[Any]) -> Pixels:
    """Values in steps of 1/255, clipped and rounded to 8 bits."""
    return np.asarray(np.rint(np.clip(x, 0, 255)), dtype=np.uint8)


def draws(name: str, clean: Pixels, seed: int) -> np.random.Generator:
    """The random numbers of an attack: a function of its name, the image and `seed`."""
    told = f"{name} {seed} {clean.shape}\0".encode() + np.ascontiguousarray(clean).tobytes()
    return np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(told).digest()[:16], "little")))


def through(api: SmoothedAPI) -> Ask:
    """Asks `api` about images as they are: paid on its budget, each image once, answers kept."""

    def ask(images: Sequence[Pixels]) -> list[Reply]:
        replies = []
        for found in api.unsmoothed(images):
            if not found.answered and not found.failed:
                break  # the budget is spent
            replies.append(Reply(label=found.label, scores=found.scores, failed=found.failed))
        return replies

    return ask
