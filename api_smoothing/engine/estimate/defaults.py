"""What holds where nobody has set a number: the cap of a question with a radius, and the dollars of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.certify.spec import USUAL
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError
from api_smoothing.results import Budget

if TYPE_CHECKING:
    from api_smoothing.certify.radius import Noise
    from api_smoothing.engine.estimate.pricing import Price

#: Queries an image that a question with a radius may cost: where they cost money, or nobody says so, and elsewhere.
CAPS: Final = {"paid": 1_000, "unknown": 1_000, "free": 10_000}
#: US dollars a run may spend.
USD: Final = 5.0

#: Images of one estimate.
MOST_IMAGES: Final = 10_000_000

Terms: TypeAlias = Literal["paid", "unknown", "free"]

_FAR: Final = 20_000  # answers of one image that nobody spends unasked
_SLACK: Final = 1e-9  # more than the noise of any image is charged
_SANDBOX: Final = "sandbox"
_WHERE: Final = {
    "paid": "where queries cost money",
    "unknown": "where their price is unknown",
    "free": "where they are free",
}


def terms_of(card: AdapterCard, price: Price) -> Terms:
    """Whether queries cost money: each of them, or the time in which they are answered.

    A service that is in no price table and states no price does not say. A sandbox has the terms of the service that it
    stands for.
    """
    if price.micro_usd or price.usd_per_hour:
        return "paid"
    stated = card.price is not None or card.usd_per_query is not None
    return "unknown" if card.accepts == "png" and not stated else "free"


def answers_for(
    radius: float | None, n: int | Literal["auto"] | None, *, method: str, cap: Callable[[float], int]
) -> int | None:
    """The number of answers meant by `n`; "auto" is USUAL without a radius, and `cap` of it with one.

    None is no cap, which a radius needs. A `method` of a fixed n has none unless it is given. Refuses a certification
    without a question, or with an impossible one.
    """
    if radius is not None and not (math.isfinite(radius) and radius > 0):
        raise ConfigurationError(f"radius must be positive, in [0,1] pixel units, not {radius:g}")
    if n == "auto" and radius is None:
        return USUAL
    if n == "auto":
        assert radius is not None
        return cap(radius) if method in ("auto", "sequential") else None
    if n is None and radius is None:
        raise ConfigurationError(
            "without a number of queries n a radius has to say when to stop: give a radius, n, or both"
        )
    if n is not None and (isinstance(n, str) or n < 1):
        raise ConfigurationError(f'n must be at least 1, None, or "auto", not {n!r}')
    return n


def by_the_sequence(
    radius: float | None, radii: Sequence[float], n: int | Literal["auto"] | None, method: str
) -> tuple[float, ...]:
    """Those of several `radii` that the confidence sequence decides: all, unless a number of answers is given.

    Then they are read from its one bound. Refuses what is no question.
    """
    found = tuple(sorted({float(r) for r in radii}))
    if not found:
        return ()
    if radius is not None:
        raise ConfigurationError("give one radius, or several radii to be read from the same votes, not both")
    if not all(math.isfinite(r) and r >= 0 for r in found):
        raise ConfigurationError(f"radii must be 0 or more, in [0,1] pixel units, not {min(found):g}")
    return found if n in ("auto", None) and method in ("auto", "sequential") else ()


def usual_cap(
    radius: float,
    terms: Terms,
    *,
    sigma: float,
    alpha: float,
    noise: Noise,
    max_classes: int = 1,
    by_sequence: bool = False,
) -> int:
    """The most answers an image may take before `radius` is given up: CAPS, or as few as can certify it at all.

    `by_sequence` says that the confidence sequence decides, as where several radii are asked about.

    Raises UnreachableRadiusError for a radius out of reach, or one that takes more answers than anybody means unasked.
    """
    from api_smoothing.certify.fallback import RESERVE
    from api_smoothing.certify.plan import min_queries, target_boundary
    from api_smoothing.certify.radius import threshold

    cap, level = CAPS[terms], alpha * (1.0 - RESERVE) / max_classes
    of = {"sigma": sigma, "noise": noise, "slack": _SLACK}
    least = min_queries(radius, alpha=level, **of)  # type: ignore[arg-type]
    if 2 * least <= cap:
        return cap
    if least > _FAR:
        raise UnreachableRadiusError(
            f"radius {radius:g} takes at least {least:,} answers an image at σ={sigma:g} and α={alpha:g}: ask for a "
            f"smaller one, raise sigma, or say how many you mean (n, at least {least}; or none: no cap)"
        )
    p0 = threshold(radius, **of)  # type: ignore[arg-type]
    cap = max(cap, least)
    if by_sequence:
        from api_smoothing.certify.anytime import ConfidenceSequence

        return max(cap, ConfidenceSequence(alpha).reach(p0, 0, 0) or cap)
    while target_boundary(p0, alpha=alpha, cap=cap, max_classes=max_classes).reach(0, 0) is None:
        cap += 1
    return cap


def usual_budget(card: AdapterCard, price: Price) -> Budget:
    """The budget of whoever gave none: USD where each query has a price, and is charged."""
    return Budget(usd=USD if price.micro_usd and card.place != _SANDBOX else None)


def about_the_cap(cap: int, terms: Terms) -> str:
    """The cap in words."""
    usual = _WHERE[terms] if cap == CAPS[terms] else "as the radius needs so many"
    return f"at most {cap:,} queries an image, the cap {usual}"


def about_the_money(card: AdapterCard, price: Price, *, given: bool) -> Sequence[str]:
    """What one has to know of the dollars of a run before it begins; `given` says whether it has a budget."""
    if card.place == _SANDBOX:
        return []
    if price.usd_per_hour:
        return [f"{card.provider} is billed by the hour while the model runs, which no budget limits"]
    if terms_of(card, price) == "unknown":
        return [f"the price of {card.provider} is unknown, so that no dollars are counted"]
    if price.micro_usd and not given:
        return [f"this run may cost ${USD:.2f}, the limit where no budget is given"]
    return []
