"""What is to be certified, and how: one settings value, put whole to every image of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from api_smoothing.certify.radius import Noise

Method = Literal["auto", "sequential", "fixed", "clopper-pearson", "runner-up"]
Norm = Literal["l2", "l1"]

#: Answers that an image gets its best radius for, where nobody has set a number.
USUAL: Final = 100

#: The norm in which noise certifies a radius.
NORMS: Final[dict[str, Norm]] = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A target `radius`, a number of answers `n` fixed beforehand, or both, and everything that decides the proof.

    `radius` is in [0,1] pixel units, in the norm of the `noise`. `n0` separate answers choose the class with the
    methods "clopper-pearson" and "runner-up". `sigma` is the noise's standard deviation, `alpha` the error of the
    certificate, `slack` the total-variation distance charged to every bound. `cap` is what a budget allows, which may
    be raised later. `max_classes` is the most classes one answer may vote for (above 1: sequential rules only).
    `later` says that the same answers have been asked something before: then this is answered from the confidence
    sequence, whatever rule it asks for, as only that holds for questions made up after seeing votes.

    Nothing is checked here: `certify.certifier_of` refuses what is out of range or out of reach.
    """

    radius: float | None = None
    n: int | None = None
    n0: int = 100
    sigma: float
    alpha: float = 0.001
    method: Method = "auto"
    noise: Noise = "gaussian"
    slack: float = 0.0
    cap: int | None = None
    max_classes: int = 1
    later: bool = False

    @property
    def norm(self) -> Norm:
        """The norm of the radius."""
        return NORMS[self.noise]

    @property
    def sequential(self) -> bool:
        """Whether the rule may stop at any answer: then the number of queries depends on what they say."""
        return self.radius is not None and (self.later or self.method in ("auto", "sequential"))

    @property
    def rule(self) -> str:
        """The stopping and bounding rule, with its version: `NAME/VERSION`.

        Two certificates of one rule may be compared, and their votes serve the same question. A rule that becomes
        sharper is another one: its version is raised, so that what was kept under the old one stays decidable.

        "open" is the e-process without a cap, "capped" exact α-spending within n, "anytime" the confidence sequence
        after n answers, "no-split" all n choose and bound, "cohen" the paper's two samples, "runner-up" those with
        the second class bounded as well.
        """
        if self.later:
            return "anytime/1"
        if self.sequential:
            return "open/1" if self.n is None else "capped/1"
        if self.method == "sequential" or self.n is None or (self.method == "auto" and self.max_classes > 1):
            return "anytime/1"
        return {"clopper-pearson": "cohen/1", "runner-up": "runner-up/1"}.get(self.method, "no-split/1")

    @property
    def fixed(self) -> int | None:
        """The number of votes an image costs whatever its answers; None when that depends on them."""
        return None if self.sequential else self.most

    @property
    def most(self) -> int | None:
        """The most votes an image may cost; None without an `n`."""
        if self.n is None:
            return None
        return self.n + (self.n0 if self.method in ("clopper-pearson", "runner-up") else 0)
