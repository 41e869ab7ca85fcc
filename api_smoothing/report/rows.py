"""A run as columns: one entry an image, in numpy where arithmetic follows, so that 10,000 images are nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.report.words import common_folder, short

if TYPE_CHECKING:
    from api_smoothing.evaluation.summary import Run
    from api_smoothing.results import Certificate

NEVER: Final = -1.0  # below every radius: nothing is certified

#: What became of an image. The order is that of the page's filter.
RIGHT, WRONG, UNJUDGED, ABSTAINED, FAILED, UNREADABLE = range(6)
OUTCOMES: Final = (
    "certified, right",
    "certified, wrong",
    "certified, truth unknown",
    "abstained",
    "cut short",
    "unreadable",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """One run's images, in the order of its file, those that could not be read last.

    `ids` are as the data set has them, `names` fit to be shown. `reach` is the largest radius at which a label is
    certified, −1 where none is; `right` whether that label is the truth (where no truth is known: the unsmoothed
    answer). `certificates` has None for an image that was not read.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    truths: tuple[str | None, ...]
    labels: tuple[str | None, ...]
    clean: tuple[str | None, ...]
    outcomes: NDArray[np.int8]
    reach: NDArray[np.float64]
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
        """The largest radius at which the right label is certified; −1 where it is not."""
        return np.where(self.right, self.reach, NEVER)


def reach_of(certificate: Certificate) -> float:
    """The largest radius at which its label counts as certified.

    Its own radius, but for several asked at once: then one that was not reached bounds it, and where the votes stopped
    as radii were decided those alone count, as what else they prove depends on where they stopped.
    """
    if certificate.label is None:
        return NEVER
    reached = [one["radius"] for one in certificate.radii if one["reached"]]
    open_ones = [one["radius"] for one in certificate.radii if not one["reached"]]
    own = 0.0 if certificate.radii and certificate.method == "sequential" else certificate.radius
    reach = max([own, *reached])
    if open_ones and reach >= min(open_ones):
        return math.nextafter(min(open_ones), NEVER)
    return reach


def rows_of(run: Run) -> Rows:
    """The columns of a run."""
    certificates = list(run.certificates)
    unreadable = [_unread(line) for line in run.unreadable]
    paths = [*map(_path, certificates), *(path for _, path in unreadable)]
    folder = common_folder(path for path in paths if path.startswith(("/", "\\")) or path[1:3] == ":\\")
    named = [*map(_id, certificates), *(name for name, _ in unreadable)]
    clean = [run.clean.get(name) for name in named]
    truths = [None if c.item is None else c.item["truth"] for c in certificates] + [None] * len(unreadable)
    judged = [truth if truth is not None else plain for truth, plain in zip(truths, clean, strict=True)]
    empty: list[Certificate | None] = [None] * len(unreadable)
    every = [*certificates, *empty]
    reach = np.array([NEVER if c is None else reach_of(c) for c in every], dtype=np.float64)
    labels = [None if c is None else c.label for c in every]
    right = np.array(
        [label is not None and label == true for label, true in zip(labels, judged, strict=True)], dtype=bool
    )
    outcomes = [_outcome(c, truth) for c, truth in zip(every, judged, strict=True)]
    whole = _integers(every)
    return Rows(
        ids=tuple(named),
        names=tuple(short(name.removeprefix(folder)) for name in named),
        digests=tuple("" if c is None else c.image_sha256 for c in every),
        truths=tuple(truths),
        labels=tuple(labels),
        clean=tuple(clean),
        outcomes=np.array(outcomes, dtype=np.int8),
        reach=reach,
        right=right,
        votes=whole[:, 0],
        answers=whole[:, 1],
        queries=whole[:, 2],
        usd=np.array([0.0 if c is None else c.cost_usd for c in every], dtype=np.float64),
        certificates=tuple(every),
    )


def _outcome(certificate: Certificate | None, truth: str | None) -> int:
    if certificate is None:
        return UNREADABLE
    if certificate.label is None:
        return FAILED if certificate.stopped in ("failed", "budget") else ABSTAINED
    if truth is None:
        return UNJUDGED
    return RIGHT if certificate.label == truth else WRONG


def _integers(certificates: Sequence[Certificate | None]) -> NDArray[np.int64]:
    """(images, 3): votes, answers counted, and answers used, from the cache or sent."""
    told = [(0, 0, 0) if c is None else (c.votes, c.n, c.queries + c.cached) for c in certificates]
    return np.array(told, dtype=np.int64).reshape(-1, 3)


def _id(certificate: Certificate) -> str:
    return certificate.image if certificate.item is None else certificate.item["id"]


def _path(certificate: Certificate) -> str:
    item = certificate.item
    return (item["path"] or item["id"]) if item is not None else certificate.image


def _unread(line: Mapping[str, Any]) -> tuple[str, str]:
    name = str(line.get("item", ""))
    return name, str(line.get("path") or name)
