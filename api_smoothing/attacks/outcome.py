"""What attacks came to: attempts on an image, and over all images what they say of the certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from api_smoothing.attacks.ball import Norm, Pixels
from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.predict import two_sided_p_value
from api_smoothing.claims import intervals

#: So unlikely a number of turned images contradicts the certificates' α.
LEVEL: Final = 0.001
#: Probability that the votes on an attacked image say "turned" of one that is not.
ERROR: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Fresh votes on an attacked image: `k` of `n` for what was certified, `other` for the best other class."""

    k: int
    other: int
    n: int

    def is_turned(self, *, error: float, runner_up: bool = False) -> bool:
        """Whether it is proved, but for a probability `error`, that what was certified is no longer so.

        That is a share of at most ½; of a certificate against the runner-up, that another class is more probable.
        """
        if runner_up:
            return self.other > self.k and two_sided_p_value(self.k, self.other) <= error
        return self.n > 0 and bool(clopper_pearson.upper(self.k, self.n, error) < 0.5)

    def is_kept(self, *, error: float, runner_up: bool = False) -> bool:
        """Whether it is proved, but for a probability `error`, that what was certified still is so."""
        if runner_up:
            return self.k > self.other and two_sided_p_value(self.k, self.other) <= error
        return self.n > 0 and bool(clopper_pearson.lower(self.k, self.n, error) > 0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """The worst image that was found within `radius` of the original, and what fresh votes said of it.

    `radius` is `factor` times the certified one, in [0,1] units of the original; `factor` is None where it was given.
    `distance` ≤ `radius` is how far the image is. Without a `votes` nothing could be changed within the radius.
    """

    factor: float | None
    radius: float
    distance: float
    votes: Votes | None
    turned: bool
    image: Pixels | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the image, as plain JSON values."""
        return {
            "factor": self.factor,
            "radius": self.radius,
            "distance": self.distance,
            "votes": None if self.votes is None else asdict(self.votes),
            "turned": self.turned,
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Attempt:
        """What `to_dict` gave, without the image."""
        return cls(**{**facts, "votes": None if facts["votes"] is None else Votes(**facts["votes"])})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """An image of a data set under attack, in the space it was given in.

    `label` is what held before: the certified one, or the answer to the image as it is; None where there is none, and
    nothing to attack: `reason` says why. `certified` is the ℓ2 radius of the certificate, None where none was asked
    for, `alpha` the probability that it is wrong. `distance` is that of the nearest image that turned the answer (None:
    none was found), in the attack's `norm`, and `image` that image. `right` says whether `label` is the truth, None
    where that is not known. `gradients` says which were followed, if any.
    """

    id: str
    path: str | None
    label: str | None
    right: bool | None
    norm: Norm
    certified: float | None = None
    alpha: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    distance: float | None = None
    queries: int = 0
    reason: str = ""
    gradients: str = ""
    image: Pixels | None = field(default=None, repr=False)

    @property
    def inside(self) -> Attempt | None:
        """The attempt within the certified radius, which no attack may turn."""
        if self.certified is None:
            return None
        within = [one for one in self.attempts if one.radius <= self.certified and one.votes is not None]
        return max(within, key=lambda one: (one.turned, one.radius), default=None)

    @property
    def outside(self) -> Attempt | None:
        """The attempt at the largest radius beyond the certified one: what shows that the attack has power."""
        if self.certified is None:
            return None
        beyond = [one for one in self.attempts if one.radius > self.certified]
        return max(beyond, key=lambda one: one.radius, default=None)

    def to_dict(self) -> dict[str, Any]:
        """All but the images, as plain JSON values."""
        return {
            "id": self.id,
            "path": self.path,
            "label": self.label,
            "right": self.right,
            "norm": self.norm,
            "certified": self.certified,
            "alpha": self.alpha,
            "distance": self.distance,
            "queries": self.queries,
            "attempts": [one.to_dict() for one in self.attempts],
            **({"gradients": self.gradients} if self.gradients else {}),
            **({"reason": self.reason} if self.reason else {}),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Attacked:
        """What `to_dict` gave, without the images."""
        attempts = tuple(Attempt.from_dict(one) for one in facts["attempts"])
        return cls(**{**facts, "attempts": attempts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What attacks inside certified radii say of the certificates.

    `turned` of `images` certificates were broken. Each may be wrong with probability at most `level`: its own α and
    the error of the votes that say "turned". `p_value` is the probability of so many or more, were that so; below
    `LEVEL` the certificates do not hold. `low` and `high` are the exact 95 % interval of the share. `power` of
    `outside` were turned by the same attack at the largest radius beyond: without power it would say nothing.
    """

    images: int
    turned: int
    level: float
    p_value: float
    low: float
    high: float
    power: int
    outside: int

    @property
    def holds(self) -> bool:
        """Whether α is not contradicted."""
        return self.p_value >= LEVEL

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, and whether it holds."""
        return {**asdict(self), "holds": self.holds}


def verdict(attacked: Sequence[Attacked], *, error: float = ERROR) -> Verdict:
    """The count against α, over the images that were attacked inside a certified radius.

    The images' noise is independent, so the number of wrong certificates is at most Binomial(images, level).
    """
    tried = [one for one in attacked if one.inside is not None]
    turned = sum(one.inside.turned for one in tried if one.inside is not None)
    level = min(1.0, max((one.alpha for one in tried), default=0.0) + error)
    low, high = intervals.exact(turned, len(tried))
    beyond = [one.outside for one in tried if one.outside is not None]
    return Verdict(
        images=len(tried),
        turned=turned,
        level=level,
        p_value=intervals.at_least(turned, len(tried), level),
        low=low,
        high=high,
        power=sum(one.turned for one in beyond),
        outside=len(beyond),
    )
