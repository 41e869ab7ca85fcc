"""What is to be certified, and how: one settings value, put whole to every image of a call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Self

from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from api_smoothing.certify.prior import Prior
    from api_smoothing.certify.radius import Noise

Method = Literal["auto", "sequential", "fixed", "clopper-pearson", "runner-up"]
Norm = Literal["l2", "l1"]

#: The newest version of every rule. The older ones go on to be computed as they were.
RULES: Final[dict[str, int]] = {
    "open": 2,
    "capped": 2,
    "anytime": 1,
    "no-split": 1,
    "cohen": 1,
    "runner-up": 1,
}
_LEARNT: Final = ("open", "capped")  # rules with a mixture that a prior can shape
_DIGITS: Final = 16

#: Answers that an image gets its best radius for, where nobody has set a number.
USUAL: Final = 100
#: The methods of which n0 answers choose the class, and no more.
CHOOSING_APART: Final = ("clopper-pearson", "runner-up")

#: The norm in which noise certifies a radius.
NORMS: Final[dict[str, Norm]] = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A target `radius`, a number of answers `n` fixed beforehand, or both, and everything that decides the proof.

    `radius` is in [0,1] pixel units, in the norm of the `noise`. `n0` separate answers choose the class with the
    methods "clopper-pearson" and "runner-up". Several `radii` (ascending, 0 for a proved majority) in place of one are
    decided by the confidence sequence. `sigma` is the noise's standard deviation, `alpha` the error of the
    certificate, `slack` the total-variation distance charged to every bound. `cap` is what a budget allows, which may
    be raised later. `max_classes` is the most classes one answer may vote for (above 1: sequential rules only).
    `later` says that the same answers have been asked something before: then this is answered from the confidence
    sequence, whatever rule it asks for, as only that holds for questions made up after seeing votes. `version` is that
    of the rule, the newest where it is None. `prior`, learned from other images, shapes the rules "open" and "capped"
    from their version 2 on; it must be fixed before the first vote.

    Nothing is checked here: `certify.certifier_of` refuses what is out of range or out of reach.
    """

    radius: float | None = None
    radii: tuple[float, ...] = ()
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
    version: int | None = None
    prior: Prior | None = None

    @property
    def norm(self) -> Norm:
        """The norm of the radius."""
        return NORMS[self.noise]

    @property
    def sequential(self) -> bool:
        """Whether the rule may stop at any answer: then the number of queries depends on what they say."""
        one = self.radius is not None and (self.later or self.method in ("auto", "sequential"))
        return one or bool(self.radii)

    @property
    def rule(self) -> str:
        """The stopping and bounding rule, with its version: `NAME/VERSION`.

        Two certificates of one rule may be compared, and their votes serve the same question. A rule that becomes
        sharper is another one: its version is raised, so that what was kept under the old one stays decidable.

        "open" is the e-process without a cap, "capped" exact α-spending within n, "anytime" the confidence sequence
        after n answers, "no-split" all n choose and bound, "cohen" the paper's two samples, "runner-up" those with
        the second class bounded as well.

        The rules that learn name their prior as well: `NAME/VERSION+DIGEST`. A question goes on under the rule it was
        begun with, see `under`.
        """
        name = self._name
        version = RULES[name] if self.version is None or self.later else self.version
        return f"{name}/{version}" + (f"+{self.prior.digest[:_DIGITS]}" if self.learns and self.prior else "")

    @property
    def learns(self) -> bool:
        """Whether the rule is one that a prior shapes."""
        return self._name in _LEARNT

    def under(self, rule: str, prior: Prior | None = None) -> Self:
        """The same settings under the `rule` that a question was begun with, and the `prior` that its name tells of.

        Raises ConfigurationError where that is no rule these settings can have, in a version that is known here, or
        `prior` another one.
        """
        name, _, rest = rule.partition("/")
        version, _, digest = rest.partition("+")
        if name == self._name and version in map(str, range(1, RULES[name] + 1)):
            begun = replace(self, version=int(version), prior=prior if digest else None)
            if begun.rule == rule:
                return begun
        raise ConfigurationError(
            f"the question was begun under the rule {rule!r}, which cannot be gone on with here: use the version of "
            "api-smooth that began it, or fresh votes"
        )

    @property
    def _name(self) -> str:
        if self.later or self.radii:
            return "anytime"
        if self.sequential:
            return "open" if self.n is None else "capped"
        if self.method == "sequential" or self.n is None or (self.method == "auto" and self.max_classes > 1):
            return "anytime"
        return {"clopper-pearson": "cohen", "runner-up": "runner-up"}.get(self.method, "no-split")

    @property
    def fixed(self) -> int | None:
        """The number of votes an image costs whatever its answers; None when that depends on them."""
        return None if self.sequential else self.most

    @property
    def most(self) -> int | None:
        """The most votes an image may cost; None without an `n`."""
        if self.n is None:
            return None
        return self.n + (self.n0 if self.method in CHOOSING_APART else 0)
