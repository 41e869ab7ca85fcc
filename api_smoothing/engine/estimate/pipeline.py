"""What an estimate is made from: a provider and a denoiser as their cards tell them, and the settings of the proof.

Neither storage nor sending is imported here: an estimate of images of which nothing is kept takes neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.certify.spec import Method, Spec
from api_smoothing.denoisers.base import Denoiser
from api_smoothing.engine.estimate import defaults
from api_smoothing.engine.estimate.forecast import forecast
from api_smoothing.engine.estimate.pace import Size, pace
from api_smoothing.engine.estimate.pricing import CANARIES, Price, price
from api_smoothing.engine.estimate.queries import Votes
from api_smoothing.engine.estimate.shares import Prior
from api_smoothing.engine.estimate.shares import prior as shares_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.noise import NoiseKind
from api_smoothing.results import Budget, CostEstimate

Answers = int | Literal["auto"] | None

_MAJORITY = 1e-9  # a radius for those who ask about 0


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`card` and `denoiser` (None: none) at images of `size` (None: as they are); σ, α, rule and noise of the proof.

    `given` is the budget that was set, None where the usual one holds.
    """

    card: AdapterCard
    denoiser: Denoiser | None
    size: Size
    sigma: float
    alpha: float
    method: Method
    noise: NoiseKind
    given: Budget | None

    @cached_property
    def price(self) -> Price:
        """What a query costs."""
        return price(self.card)

    @cached_property
    def terms(self) -> defaults.Terms:
        """Whether queries cost money."""
        return defaults.terms_of(self.card, self.price)

    @cached_property
    def budget(self) -> Budget:
        """The budget that holds, given or usual."""
        return self.given or defaults.usual_budget(self.card, self.price)

    @property
    def extra_per_image(self) -> int:
        """Queries an image costs beyond its votes."""
        return CANARIES if self.card.drift == "canary" else 0

    @property
    def queries_per_vote(self) -> int:
        """Queries one vote takes: as many as the denoiser has paths."""
        return 1 if self.denoiser is None else self.denoiser.paths_per_query

    @property
    def vote_shares(self) -> Prior:
        """What is known, before any answer, of how images' votes agree."""
        return shares_of(self.card, sigma=self.sigma, size=self.size, denoiser=self._denoiser_id)

    def spec(self, radius: float | None, n: Answers, n0: int, radii: Sequence[float] = ()) -> Spec:
        """What `certify_many` makes of these arguments: the rule, and the number of answers that holds."""
        sequence = defaults.by_the_sequence(radius, radii, n, self.method)
        return Spec(
            radius=radius,
            radii=sequence,
            n=self.answers(_aim(radius, sequence), n, self.method, by_sequence=bool(sequence)),
            n0=n0,
            sigma=self.sigma,
            alpha=self.alpha,
            method=self.method,
            noise=self.noise,
        )

    def answers(
        self,
        radius: float | None,
        n: Answers,
        method: Method,
        max_classes: int = 1,
        by_sequence: bool = False,
    ) -> int | None:
        """The most answers an image may take."""
        cap = partial(
            defaults.usual_cap,
            terms=self.terms,
            sigma=self.sigma,
            alpha=self.alpha,
            noise=self.noise,
            max_classes=max_classes,
            by_sequence=by_sequence,
        )
        return defaults.answers_for(radius, n, method=method, cap=cap)

    def unset_cap(
        self, radius: float | None, radii: Sequence[float], asked: Answers, n: int | None
    ) -> tuple[str, ...]:
        """What is told of a cap that nobody set."""
        if asked != "auto" or _aim(radius, radii) is None or n is None:
            return ()
        return (defaults.about_the_cap(n, self.terms),)

    def estimate(
        self,
        known: Callable[[], Sequence[Votes]] | int,
        *,
        radius: float | None,
        radii: Sequence[float] = (),
        n: Answers = "auto",
        n0: int = 100,
        within_budget: bool = True,
        affordable: Callable[[], int | None],
    ) -> CostEstimate:
        """See `SmoothedAPI.estimate`; `known` are the votes that each image has, or how many images have none.

        `affordable` tells what the budget has left, in queries (None: no limit).
        """
        if isinstance(known, int) and not 1 <= known <= defaults.MOST_IMAGES:
            raise ConfigurationError(
                f"an estimate is for 1 to {defaults.MOST_IMAGES:,} images, not {known:,}"
            )
        votes: Sequence[Votes] = [()] * known if isinstance(known, int) else known()
        spec = self.spec(radius, n, n0, radii)
        limited = within_budget and (self.given is not None or spec.n is None)
        return forecast(
            votes,
            spec=spec,
            affordable=affordable() if limited else None,
            card=self.card,
            price=self.price,
            extra_per_image=self.extra_per_image,
            queries_per_vote=self.queries_per_vote,
            prior=self.vote_shares,
            pace=pace(self.card, denoiser=self._denoiser_id, size=self.size),
            unset=self.unset_cap(radius, spec.radii, n, spec.n),
            stops_at=None if self.given is not None else self.budget.usd,
        )

    @property
    def _denoiser_id(self) -> str | None:
        return None if self.denoiser is None else self.denoiser.card.id


def _aim(radius: float | None, radii: Sequence[float]) -> float | None:
    """The radius that decides how many answers are wanted: the one asked about, or the largest."""
    return max(*radii, _MAJORITY) if radii else radius
