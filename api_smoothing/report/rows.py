"""A run as columns: one entry an image, in numpy where arithmetic follows, so that 10,000 images are nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.report.words import common_folder, short

if TYPE_CHECKING:
    from api_smoothing.recorded.run import Run
    from api_smoothing.results import Certificate

NEVER: Final = -1.0  # below every radius: nothing is certified

#: What became of an image. The order is that of the page's filter.
RIGHT, WRONG, UNJUDGED, ABSTAINED, FAILED, UNREADABLE = range(6)
OUTCOMES: Final = (
    "certified, right",
    "certified, wrong",
    "certified, no truth to hold it to",
    "abstained",
    "cut short",
    "unreadable",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """One run's images, in the order of its file, those that could not be read last.

    `ids` are as the data set has them, `names` fit to be shown. `reach` is the largest radius at which a label is
    certified, −1 where none is, and `counted` what of it counts in a curve; `right` whether that label is the truth (of
    a run without any: the unsmoothed answer; where neither is known, any label will do). `certificates` has None for an
    image that was not read.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    truths: tuple[str | None, ...]
    labels: tuple[str | None, ...]
    clean: tuple[str | None, ...]
    outcomes: NDArray[np.int8]
    reach: NDArray[np.float64]
    counted: NDArray[np.float64]
    right: NDArray[np.bool_]
    votes: NDArray[np.int64]
    answers: NDArray[np.int64]
    queries: NDArray[np.int64]
    usd: NDArray[np.float64]
    certificates: tuple[Certificate | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def right_reach(self) -> NDArray[np.float64]:
        """Up to which radius an image counts as certified right; −1 where it does not."""
        return np.where(self.right, self.counted, NEVER)


def reach_of(certificate: Certificate) -> float:
    """The largest radius at which a label is certified, from its own radius and the several asked at once."""
    reached = [one["radius"] for one in certificate.radii if one["reached"]]
    own = [] if certificate.label is None else [certificate.radius]
    return max([*own, *reached], default=NEVER)


def counted_of(certificate: Certificate) -> float:
    """As `reach_of`, as a curve counts it.

    Votes that stopped as several radii were decided prove what they do in between by where they stopped; of those the
    radii asked about count alone, or the bare label below them.
    """
    reach = reach_of(certificate)
    if reach < 0.0 or not certificate.radii or certificate.method != "sequential":
        return reach
    return max((one["radius"] for one in certificate.radii if one["radius"] <= reach), default=0.0)


def rows_of(run: Run) -> Rows:
    """The columns of a run."""
    from api_smoothing.recorded.run import item_of
    from api_smoothing.recorded.summary import Judged, certified_at

    lost = list(run.unreadable)
    missing: list[None] = [None] * len(lost)
    every: list[Certificate | None] = [*run.certificates, *missing]
    ids = [*map(item_of, run.certificates), *lost]
    named = [*map(_name, run.certificates), *lost]
    labels = [None if c is None else certified_at(c, 0.0) for c in every]
    known = Judged(run)
    judged = [*known.right, *missing]
    is_judged = known.reference == "truth" or any(right is not None for right in judged)
    reach = [NEVER if c is None else reach_of(c) for c in every]
    whole = _integers(every)
    folder = common_folder(name for name in named if _is_absolute(name))
    return Rows(
        ids=tuple(ids),
        names=tuple(short(name.removeprefix(folder)) for name in named),
        digests=tuple("" if c is None else c.image_sha256 for c in every),
        truths=tuple(None if c is None or c.item is None else c.item["truth"] for c in every),
        labels=tuple(labels),
        clean=tuple(run.clean.get(name) for name in ids),
        outcomes=np.array([_outcome(*one) for one in zip(every, labels, judged, strict=True)], dtype=np.int8),
        reach=np.array(reach, dtype=np.float64),
        counted=np.array([NEVER if c is None else counted_of(c) for c in every], dtype=np.float64),
        right=np.array(
            [a is not None and (a == b or not is_judged) for a, b in zip(labels, judged, strict=True)],
            dtype=bool,
        ),
        votes=whole[:, 0],
        answers=whole[:, 1],
        queries=whole[:, 2],
        usd=np.array([0.0 if c is None else c.cost_usd for c in every], dtype=np.float64),
        certificates=tuple(every),
    )


def _outcome(certificate: Certificate | None, label: str | None, right: str | None) -> int:
    if certificate is None:
        return UNREADABLE
    if label is None:
        return FAILED if certificate.stopped in ("failed", "budget") else ABSTAINED
    if right is None:
        return UNJUDGED
    return RIGHT if label == right else WRONG


def _integers(certificates: Sequence[Certificate | None]) -> NDArray[np.int64]:
    """(images, 3): votes, answers counted, and answers used, from the cache or sent."""
    told = [(0, 0, 0) if c is None else (c.votes, c.n, c.queries + c.cached) for c in certificates]
    return np.array(told, dtype=np.int64).reshape(-1, 3)


def _name(certificate: Certificate) -> str:
    return certificate.image if certificate.item is None else certificate.item["id"]


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or name[1:3] in (":\\", ":/")
