"""What each image of a data set is asked, and the cap on its answers where nobody has set one."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from api_smoothing.certify import certifier_of
from api_smoothing.certify.plan import max_radius
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

if TYPE_CHECKING:
    from api_smoothing.smoothed import SmoothedAPI

RADII = (0.0, 0.1, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The `radii` asked about, `n` answers an image at most, and what was asked for, `asked`; `told` says why so many.

    One positive radius without a number has the rule that decides it with the fewest answers; several are read from one
    confidence sequence, and with a number all are read from its one bound.
    """

    radii: tuple[float, ...]
    n: int | None
    asked: int | str | None
    aims: bool
    told: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """For `SmoothedAPI.certify_many`."""
        if self.aims:
            return {"radius": self.radii[0], "n": self.n}
        return {"radii": self.radii, "n": self.n if isinstance(self.asked, int) else "auto"}

    @property
    def settings(self) -> dict[str, Any]:
        """For the header of the run file."""
        return {
            "question": "evaluate",
            "radius": self.radii[0] if self.aims else None,
            "radii": list(self.radii),
            "n": self.n,
            "n_asked": self.asked,
        }


def question(
    api: SmoothedAPI,
    radii: Sequence[float],
    n: int | Literal["auto"] | None,
    *,
    images: int,
    at_least: float | None = None,
    confidence: float = 0.95,
    before: int | None = None,
    capped_by_budget: bool = False,
    besides: int = 0,
) -> Question:
    """What is asked of `images` images; `before` is the number of answers of the run that is gone on with.

    With `capped_by_budget` the cap of a single radius is the one with which the budget, less the queries that are asked
    `besides`, goes furthest.

    Raises ConfigurationError for what is no question.
    """
    n = _number(n)
    found = tuple(sorted({float(r) for r in radii}))
    if not found or not all(math.isfinite(r) and r >= 0 for r in found):
        raise ConfigurationError(f"radii must be numbers from 0 on, in [0,1] pixel units, not {list(radii)}")
    if at_least is not None and len(found) != 1:
        raise ConfigurationError(
            "a claim is about one radius: give the one of --at-least alone, such as --radii 0.25"
        )
    aims = len(found) == 1 and found[0] > 0 and (at_least is not None or not isinstance(n, int))
    if not aims:
        taken = api.spec(radii=found, n=n).n
        return Question(radii=found, n=taken, asked=n, aims=False)
    if n != "auto":
        return Question(radii=found, n=n, asked=n, aims=True)
    usual = api.spec(radius=found[0], n="auto").n
    if before is not None:
        return Question(radii=found, n=before, asked=n, aims=True)
    cap = usual
    told: tuple[str, ...] = ()
    if at_least is not None:
        cap = _for_claim(api, found[0], at_least, confidence, images)
        told = (
            f"at most {cap:,} queries an image, with which the claim is likely cheapest; -n N sets another cap",
        )
    elif capped_by_budget and (budget := _affordable(api)) is not None and usual is not None:
        cap = min(usual, _for_budget(api, found[0], max(1, budget - besides), images))
        if cap < usual:
            told = (
                f"at most {cap:,} queries an image, so that the budget goes furthest over {images:,} images; "
                "-n N sets another cap",
            )
    return Question(radii=found, n=cap, asked=n, aims=True, told=told)


def check_reach(api: SmoothedAPI, asked: Question) -> None:
    """Raise UnreachableRadiusError where no answers could reach the largest radius, as asking would, but for free."""
    spec = api.spec(**asked.arguments)
    certifier_of(spec)
    if spec.fixed is None or asked.radii[-1] == 0:
        return
    if spec.method == "runner-up":  # a rule without a target
        best = max_radius(
            n=spec.n or 0, alpha=spec.alpha, sigma=spec.sigma, method=spec.method, slack=spec.slack
        )
        if asked.radii[-1] > best:
            raise UnreachableRadiusError(
                f"radius {asked.radii[-1]:g} cannot be certified with {spec.n} answers at σ={spec.sigma:g}, "
                f"α={spec.alpha:g}: if all agree they reach {best:.4g}; ask for less, or for more answers"
            )
    else:  # radii are read from the bound of n answers
        method = "fixed" if spec.method == "auto" else spec.method
        certifier_of(replace(spec, radius=asked.radii[-1], method=method))


def _number(n: Any) -> Any:
    """`n`, if it is one that an evaluation may be given; numbers as whole ones."""
    if n is None or n == "auto":
        return n
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 1:
        raise ConfigurationError(f'n must be at least 1, None, or "auto", not {n!r}')
    return operator.index(n)


def _for_claim(api: SmoothedAPI, radius: float, at_least: float, confidence: float, images: int) -> int:
    from api_smoothing.certify.radius import threshold
    from api_smoothing.claims.caps import for_claim

    shares = api.vote_shares
    ways = for_claim(
        shares.nodes,
        shares.weights,
        p0=threshold(radius, sigma=api.sigma, noise=api.noise),
        at_least=at_least,
        population=images,
        alpha=api.alpha,
        confidence=confidence,
        concentration=shares.concentration,
    )
    return ways[0].cap


def _for_budget(api: SmoothedAPI, radius: float, budget: int, images: int) -> int:
    from api_smoothing.certify.radius import threshold
    from api_smoothing.claims.caps import for_budget

    shares = api.vote_shares
    ways = for_budget(
        shares.nodes,
        shares.weights,
        p0=threshold(radius, sigma=api.sigma, noise=api.noise),
        images=images,
        budget=max(1, budget // api.queries_per_vote),
        alpha=api.alpha,
    )
    return ways[0].cap


def _affordable(api: SmoothedAPI) -> int | None:
    """The queries that the whole budget pays."""
    budget, price = api.budget, api.usd_per_query
    limits = [] if budget.queries is None else [budget.queries]
    if budget.usd is not None and price:
        limits.append(math.floor(budget.usd / price))
    return min(limits, default=None)
