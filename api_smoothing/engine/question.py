"""What is to be certified and how: one question, put to every image of a call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from api_smoothing import certify
from api_smoothing.certify import plan
from api_smoothing.certify.base import Bound, Certifier
from api_smoothing.certify.radius import Noise, threshold
from api_smoothing.errors import UnreachableRadiusError

Method = Literal["auto", "sequential", "fixed", "clopper-pearson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A target `radius`, a number of queries `n`, or both, and the settings of the answer."""

    radius: float | None
    n: int | None
    n0: int
    sigma: float
    alpha: float
    method: Method
    noise: Noise

    @property
    def fixed(self) -> int | None:
        """The number of queries an image costs whatever its answers; None when that depends on them."""
        if self.n is None or (self.radius is not None and self.method in ("auto", "sequential")):
            return None
        return self.n + (self.n0 if self.method == "clopper-pearson" else 0)

    def certifier(self, *, slack: float = 0.0, cap: int | None = None) -> Certifier:
        """A fresh certifier; `cap` is what the budget allows. Raises UnreachableRadiusError."""
        return certify.certifier(
            method=self.method,
            target=self.radius,
            n=self.n,
            n0=self.n0,
            alpha=self.alpha,
            sigma=self.sigma,
            noise=self.noise,
            slack=slack,
            cap=cap,
        )

    def calls(self, share: float) -> float:
        """Expected queries in target mode for an image whose top class has this share of the votes."""
        assert self.radius is not None
        p0 = threshold(self.radius, sigma=self.sigma, noise=self.noise)
        return plan.expected_queries(share, p0, alpha=self.alpha, cap=self.n).calls


def within_budget(question: Question, answers: int, *, slack: float) -> Certifier:
    """A certifier for an image that can get at most `answers` answers, cached ones included.

    Where those cannot decide the image, nothing is asked and the image is reported as stopped by the budget.
    Raises UnreachableRadiusError for what no budget could reach.
    """
    certifier = question.certifier(slack=slack)
    if question.fixed is not None:
        if answers >= question.fixed:
            return certifier
        return Unaffordable(
            certifier, f"the budget allows {answers} of the {question.fixed} queries an image takes"
        )
    try:
        return (
            question.certifier(slack=slack, cap=answers)
            if answers
            else Unaffordable(certifier, "no budget is left")
        )
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
        from dataclasses import replace

        return replace(self._empty, stopped="budget", reason=self._reason)
