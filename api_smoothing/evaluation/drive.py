"""A data set on its way through a provider: planned, asked about, written down; it may stop at any line."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from api_smoothing import evidence
from api_smoothing.datasets import DataSet, Example, Truths
from api_smoothing.errors import DriftError, ImageError
from api_smoothing.evaluation.question import Question
from api_smoothing.events import Event, ImagesRead
from api_smoothing.images import LATER, Later
from api_smoothing.recorded.run import CLAIM, CLEAN, UNREADABLE, Run
from api_smoothing.recorded.summary import GIVEN, certified_at
from api_smoothing.results import Certificate, Item
from api_smoothing.runs import RunFile

if TYPE_CHECKING:
    from api_smoothing.claims.claim import Claim
    from api_smoothing.images import ImageLike
    from api_smoothing.smoothed import SmoothedAPI

_TOGETHER: Final = 64  # images whose unsmoothed answers are asked for at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An image as the run is committed to it: `truth` is the provider's class, `given` the data set's own word.

    `image_sha256` is None of one that could not be read, and `reason` says why.
    """

    example: Example
    truth: str | None
    image_sha256: str | None
    reason: str = ""

    @property
    def item(self) -> Item:
        """As certificates have it."""
        return {"id": self.example.id, "path": self.example.path, "truth": self.truth}

    @property
    def line(self) -> dict[str, Any]:
        """As the commitment has it."""
        return {**self.item, "image_sha256": self.image_sha256}


def plan(api: SmoothedAPI, data: DataSet, truths: Truths, tell: Callable[[Event], object]) -> list[Planned]:
    """Read every image once, for its digest. One that cannot be read is planned with the reason."""
    found = []
    for count, example in enumerate(data, 1):
        digest, reason = None, ""
        try:
            digest = api.digest(example.read())
        except ImageError as error:
            reason = str(error)
        truth = truths.of(example)
        found.append(Planned(example=example, truth=truth, image_sha256=digest, reason=reason))
        tell(ImagesRead(read=count, images=len(data)))
    return found


class Drive:
    """One session of a run over `planned`; what `before` has decided is not asked again.

    `claim` is fed with every image in order, and ends the run once it is decided. `left` counts the images that the
    session did not come to, `out_of_budget` says that it was for want of money. `engine` is as for `certify_many`.
    """

    def __init__(
        self,
        api: SmoothedAPI,
        planned: Sequence[Planned],
        question: Question,
        *,
        clean: bool,
        before: Run,
        claim: Claim | None = None,
        engine: Any = None,
    ) -> None:
        self._api, self._planned, self._question, self._clean = api, planned, question, clean
        self._engine = engine
        again = api.retries_failures  # what had no label may have failed; a kept answer costs nothing
        self._known = {item: label for item, label in before.clean.items() if label is not None or not again}
        self._certificates = before.by_item()
        self._told = set(before.unreadable)
        self._retried = set[str]()  # in this session, of those that failed
        self._version = next((one.model_version for one in before.certificates if one.model_version), None)
        self._claim = claim
        self._by_truth = any(one.truth is not None or one.example.truth is not None for one in planned)
        self._place = 0  # images that the claim has been fed with, or that are written down
        self.out_of_budget = False

    @property
    def left(self) -> int:
        """How many of the last images this run has not come to."""
        return len(self._planned) - self._place

    @property
    def undecided(self) -> int:
        """How many images are to be asked about."""
        return sum(map(self._is_to_be_asked, self._planned))

    def run(self, file: RunFile) -> None:
        """Ask until all is decided, the claim is, or the budget is spent; every line is on the disk when it counts."""
        began = time.monotonic()
        self._recall()
        with evidence.Writer(file) as writer, self._api.observed(writer):
            self._ask_what_was_left_out(file)
            self._ask(file)
            self._write_what_is_known(file)
        if self._claim is not None:
            line = claim_line(
                self._claim, self._question.radii[0], "truth" if self._by_truth else "unsmoothed"
            )
            file.append_line(line, sync=False)
        evidence.finish(
            file,
            seconds=round(time.monotonic() - began, 3),
            left=self.left,
            stopped="budget" if self.out_of_budget else "claim" if self.left else None,
        )

    def _recall(self) -> None:
        """Have the images that are decided answer for those within their radius, where that is asked for."""
        if self._api.settings().get("reuse") is None:
            return
        for one in self._planned:
            if self._is_done(one):
                self._api.recall(self._read(one), self._certificates[one.example.id])

    def _ask(self, file: RunFile) -> None:
        """Ask about the images, as many as can be asked about together."""
        self._write_what_is_known(file)
        if not self._reach:
            return
        asked = deque[Planned]()
        images: Iterable[Any] = self._images(asked, file)
        results = self._api.certify_many(images, **self._question.arguments, engine=self._engine)
        with closing(results):  # type: ignore[type-var]
            for found in results:
                one = asked.popleft()
                if found.stopped == "budget" and not (found.n or found.n0 or found.queries):
                    self.out_of_budget = True
                    return
                self._append(file, one, found)
                self.out_of_budget |= found.stopped == "budget"
                self._write_what_is_known(file)

    @property
    def _reach(self) -> int:
        """How many of the next images are sure to be needed; 0 where all is decided, or open whatever they are."""
        if self._claim is None:
            return self.left
        return min(self.left, self._claim.need)

    def _append(self, file: RunFile, one: Planned, found: Certificate) -> None:
        self._check_version(found)
        extra = found.extra
        if one.example.truth is not None and one.example.truth != one.truth:
            extra = {**extra, GIVEN: one.example.truth}
        found = replace(found, item=one.item, extra=extra)
        file.append(found)
        self._certificates[one.example.id] = found
        self._retried.add(one.example.id)

    def _check_version(self, found: Certificate) -> None:
        """One table speaks of one model. Raises DriftError where this certificate is of another than those before."""
        if found.model_version is None:
            return
        if self._version not in (None, found.model_version):
            raise DriftError(
                f"the model is {found.model_version} now, and {self._version} has the certificates of this run: choose "
                "another output and an epoch, such as --epoch 2027-01, which asks all images afresh"
            )
        self._version = found.model_version

    def _write_what_is_known(self, file: RunFile) -> None:
        """Pass over what is decided, in order, feeding the claim; images that cannot be read are told once."""
        while self._place < len(self._planned) and not self._is_claimed():
            one = self._planned[self._place]
            if one.image_sha256 is None:
                if one.example.id not in self._told:
                    file.append_line(_unreadable(one))
                    self._told.add(one.example.id)
            elif not self._is_done(one):
                return
            self._place += 1
            if self._claim is not None:
                self._feed(self._claim, one)

    def _is_done(self, one: Planned) -> bool:
        found = self._certificates.get(one.example.id)
        if found is None or found.stopped == "budget":
            return False
        again = self._api.retries_failures and one.example.id not in self._retried
        return found.stopped != "failed" or not again

    def _is_to_be_asked(self, one: Planned) -> bool:
        return one.image_sha256 is not None and not self._is_done(one)

    def _is_claimed(self) -> bool:
        return self._claim is not None and self._claim.state != "open"

    def _feed(self, claim: Claim, one: Planned) -> None:
        found = self._certificates.get(one.example.id)
        right = one.truth if self._by_truth else self._known.get(one.example.id)
        at = None if found is None else certified_at(found, self._question.radii[0])
        total = 0.0 if found is None or found.alpha_total is None else found.alpha_total
        claim.add(right is not None and at == right, total)

    def _ask_what_was_left_out(self, file: RunFile) -> None:
        """The unsmoothed answers of decided images: by --no-clean, for want of money, or because they failed."""
        decided = [one for one in self._planned if self._is_done(one)]
        for first in range(0, len(decided) if self._clean else 0, _TOGETHER):
            self._ask_unsmoothed(decided[first : first + _TOGETHER], file)

    def _images(self, asked: deque[Planned], file: RunFile) -> Iterator[ImageLike | Later]:
        """The images to be asked about, noting them in `asked`; LATER while it is not sure that more are needed."""
        number = known = self._place  # what the service says without noise is known of those before `known`
        while reach := self._reach:
            if number >= self._place + reach:
                if self.out_of_budget:
                    return
                yield LATER
                continue
            one, number = self._planned[number], number + 1
            if not self._is_to_be_asked(one):
                continue
            if self._clean and number > known:
                known = self._place + reach
                ahead = [one for one in self._planned[number - 1 : known] if self._is_to_be_asked(one)]
                if len(ahead) > _TOGETHER:
                    known = self._planned.index(ahead[_TOGETHER])
                self._ask_unsmoothed(ahead[:_TOGETHER], file)
            asked.append(one)
            yield self._read(one)

    def _read(self, one: Planned) -> ImageLike:
        """The image that the run is committed to. Raises ImageError, before it is asked about, for another one."""
        image = one.example.read()
        if self._api.digest(image) != one.image_sha256:
            raise ImageError(
                f"{one.example.id} has changed since this run has read it: put it back as it was, or choose another "
                "output"
            )
        return image

    def _ask_unsmoothed(self, these: Sequence[Planned], file: RunFile) -> None:
        """What the provider says of these images as they are, where that is not known."""
        new = [one for one in these if one.example.id not in self._known]
        if not new:
            return
        for one, found in zip(new, self._api.unsmoothed(map(self._read, new)), strict=True):
            if not found.answered and not found.failed:
                break  # the budget is spent
            self._known[one.example.id] = found.label
            file.append_line(
                {
                    "schema": CLEAN,
                    "created": _now(),
                    "item": one.example.id,
                    "image_sha256": found.image_sha256,
                    "label": found.label,
                    "failed": found.failed,
                    "queries": found.queries,
                    "cached": found.cached,
                    "cost_usd": found.cost_usd,
                },
                sync=False,
            )
        file.flush()


def claim_line(claim: Claim, radius: float, reference: Literal["truth", "unsmoothed"]) -> Mapping[str, Any]:
    """The state of a claim, as the run file has it; `reference` is what labels were compared with."""
    return {
        "schema": CLAIM,
        "created": _now(),
        "at_least": claim.at_least,
        "radius": radius,
        "confidence": claim.confidence,
        "population": claim.population,
        "reference": reference,
        "state": claim.state,
        "lower": claim.lower,
        "upper": claim.upper,
        "looked": claim.looked,
        "certified": claim.certified,
        "statement": claim.statement,
    }


def _unreadable(one: Planned) -> Mapping[str, Any]:
    return {
        "schema": UNREADABLE,
        "created": _now(),
        "item": one.example.id,
        "path": one.example.path,
        "reason": one.reason,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
