"""What a budget that is nearly spent still decides: nothing is asked about an image it cannot pay to the end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from api_smoothing.certify import Spec, certifier_of
from api_smoothing.certify.base import Bound, Certifier
from api_smoothing.errors import UnreachableRadiusError


def within_budget(spec: Spec, answers: int) -> Certifier:
    """A certifier for an image that can get at most `answers` answers, cached ones included.

    Where those cannot decide the image, nothing is asked and the image is reported as stopped by the budget.
    Raises UnreachableRadiusError for what no budget could reach.
    """
    certifier = certifier_of(spec)
    if spec.fixed is not None:
        if answers >= spec.fixed:
            return certifier
        return Unaffordable(
            certifier, f"the budget allows {answers} of the {spec.fixed} queries an image takes"
        )
    if not answers:
        return Unaffordable(certifier, "no budget is left")
    try:
        return certifier_of(replace(spec, cap=answers))
    except UnreachableRadiusError as error:
        return Unaffordable(certifier, f"of the budget {answers} queries are left: {error}")


class Unaffordable:
    """A certifier that asks for nothing, because the budget could not pay for any decision."""

    def __init__(self, certifier: Certifier, reason: str) -> None:
        self._empty = certifier.result()
        self._reason = reason

    def need(self) -> int:
        return 0

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        raise AssertionError("an unaffordable image is not asked about")

    def result(self) -> Bound:
        return replace(self._empty, stopped="budget", reason=self._reason)
