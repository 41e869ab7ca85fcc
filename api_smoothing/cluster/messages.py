"""What a driver and its workers say to one another. All of it can be sent to another process, or machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from api_smoothing.certify.prior import Prior
from api_smoothing.events import Event
from api_smoothing.images import Loaded
from api_smoothing.results import Certificate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """An image to be certified, the `index`-th of the run, under the prior that images before it have taught."""

    index: int
    image: Loaded
    prior: Prior | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded what it needs, and may be handed images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that an observer of the run is to hear about the image `index`; None where it is about none."""

    index: int | None
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The image `index` is certified."""

    index: int
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The worker has ended with an error: of the class `kind` of `errors`, or of another one where that is "".

    `index` is the first image that it had not done; None where it had none.
    """

    index: int | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker has ended, as it was asked to."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is no more, and nobody knows what it had under way."""

    reason: str


Message: TypeAlias = Ready | Told | Done | Failed | Ended | Lost


@dataclass(frozen=True, slots=True)
class Boundary:
    """What decides an image, as `ImageStarted.boundary` gives it, already looked at."""

    values: Mapping[str, Any]

    def __call__(self) -> Mapping[str, Any]:
        """The boundary."""
        return self.values
