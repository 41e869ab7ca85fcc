"""What limits a run before its first query: queries an image, dollars, and a yes. What nobody has set is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.certify.spec import CHOOSING_APART, USUAL
from api_smoothing.cli.consent import agreed_to_range
from api_smoothing.cli.resume import dollars_left
from api_smoothing.cli.smoothing import card_of, complain, has_budget
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

if TYPE_CHECKING:
    import argparse

    from api_smoothing import SmoothedAPI
    from api_smoothing.adapters.base import AdapterCard
    from api_smoothing.cli.settings import Settings
    from api_smoothing.engine.estimate.pricing import Price

_MANY_LABELS: Final = 1000  # of one answer; more than any provider reports


def refuse_idle_n0(args: argparse.Namespace, method: str, *, labels: bool = False) -> None:
    """Refuse --n0 where no answers choose the class by themselves; a settings file may have it for other runs."""
    if args.n0 is not None and (labels or method not in CHOOSING_APART):
        asked = "--labels-present and --labels-absent have" if labels else f"the method {method} has"
        raise ConfigurationError(
            f"{asked} no use for --n0: leave it out, or choose --method {' or '.join(CHOOSING_APART)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A run's `settings` with the numbers that hold, and what is `unset`, in words with the flag that sets it.

    `card` and `price` are the provider's; None of a model that runs here.
    """

    settings: Settings
    unset: tuple[str, ...] = ()
    card: AdapterCard | None = None
    price: Price | None = None

    def told(self) -> None:
        """Say what is unset, a line each, before the first query."""
        for line in self.unset:
            complain(line)

    def agreed(self, api: SmoothedAPI, images: Sequence[str], *, fixed: int | None, yes: bool) -> bool:
        """Say what the run will cost, and ask where that may be much. `fixed` answers an image, or until decided."""
        if self.price is None or not self.price.micro_usd or not images or self.sandbox:
            return True
        low, high = self._range(api, images, fixed)
        return agreed_to_range(low, high, yes=yes)

    @property
    def sandbox(self) -> bool:
        """Whether nothing is charged."""
        return self.card is not None and self.card.place == "sandbox"

    @property
    def account(self) -> str:
        """Whose day the dollars count for."""
        return "" if self.card is None else self.card.quota_key or self.card.name

    def _range(self, api: SmoothedAPI, images: Sequence[str], fixed: int | None) -> tuple[float, float]:
        """The fewest and the most dollars to come."""
        settings, usd = self.settings, 0.0 if self.price is None else self.price.micro_usd / 1e6
        if fixed is None:
            more: dict[str, Any] = {} if settings.n0 is None else {"n0": settings.n0}
            try:
                found = api.estimate(images, radius=settings.radius, n=settings.n, **more)
            except UnreachableRadiusError:
                return 0.0, 0.0  # the run refuses it as well
            return found.usd_low, found.usd_high
        try:
            most = api.estimate(images, n=fixed, within_budget=False).usd_high
        except UnreachableRadiusError:  # too few to prove a label, which is not what is asked
            most = fixed * len(images) * usd
        most = min(most, dollars_left(settings, self.account, usd_each=usd))
        return most if settings.radius is None else min(most, usd), most


def limited(settings: Settings, *, sandbox: bool, labels: bool = False, refuses: bool = False) -> Limited:
    """The limits that hold for `settings`; `labels` for a question about the presence of labels.

    Raises ConfigurationError for a question without an end; with `refuses` UnreachableRadiusError for one about the
    best label that its number of answers cannot decide, before a word is said of it.
    """
    from api_smoothing.adapters import registry
    from api_smoothing.engine.estimate import defaults
    from api_smoothing.engine.estimate.pricing import price

    card, cost, terms = None, None, "free"
    if not registry.provider(settings.provider).local:
        card = card_of(settings, sandbox=sandbox)
        cost = price(card)
        terms = defaults.terms_of(card, cost)
    cap = partial(
        defaults.usual_cap,
        terms=terms,  # type: ignore[arg-type]
        sigma=settings.sigma,
        alpha=settings.alpha,
        noise=settings.noise,
        max_classes=_MANY_LABELS if labels else 1,
    )
    n = defaults.answers_for(
        settings.radius, settings.n, method="auto" if labels else settings.method, cap=cap
    )
    if settings.n != "auto" and not labels and refuses:
        _refuse(replace(settings, n=n))
    unset = []
    if settings.n == "auto" and settings.radius is None:
        unset.append(USUAL_TOLD)
    elif settings.n == "auto" and n is not None:
        told = defaults.about_the_cap(n, terms)  # type: ignore[arg-type]
        unset.append(f"{told}; -n N sets another, none lifts it")
    found = replace(settings, n=n)
    if card is not None and cost is not None:
        given = has_budget(settings)
        unset += [
            f"{line}; {_HOW[bool(cost.micro_usd)]}"
            for line in defaults.about_the_money(card, cost, given=given)
        ]
        usual = defaults.usual_budget(card, cost).usd
        if not given:  # what is unlimited is so knowingly, now that it is told
            found = replace(found, budget_usd=math.inf if usual is None else usual)
    return Limited(settings=found, unset=tuple(unset), card=card, price=cost)


def _refuse(settings: Settings) -> None:
    from api_smoothing.certify import Spec, certifier_of

    spec = Spec(
        radius=settings.radius,
        n=settings.n if isinstance(settings.n, int) else None,
        sigma=settings.sigma,
        alpha=settings.alpha,
        method=settings.method,
        noise=settings.noise,
    )
    certifier_of(spec)


USUAL_TOLD: Final = (
    f"the best radius for {USUAL} queries an image; -n N sets another number, --radius R a target"
)
_HOW: Final = {
    True: "--budget-usd X sets another, none lifts it",
    False: "--budget-queries Q limits the queries",
}
