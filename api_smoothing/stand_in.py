"""A free rehearsal of an image at several σ, behind the denoiser that would be used.

For a service that costs money the sandbox's bundled classifiers stand in. What they say of an image is their own (ten
classes of photographs, or of CIFAR-10); how steady it stays under noise is what is looked at. A model of this process
is free, and is asked itself, with noise of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.certify import advice
from api_smoothing.certify.advice import LIKELY, RADII, prospect
from api_smoothing.certify.spec import USUAL
from api_smoothing.engine.parts import PHOTOGRAPH
from api_smoothing.engine.report import is_thumbnail
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import ImageLike
from api_smoothing.results import Certificate
from api_smoothing.sandbox.classifier import bundled_classifier
from api_smoothing.smoothed import SmoothedAPI

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.adapters.base import Adapter
    from api_smoothing.noise import NoiseKind

#: The σ that are compared.
SIGMAS: Final = advice.SIGMAS[1:]  # the faintest is for images that abstain at all of those
#: Noisy copies a σ: enough to tell a share of 0.9 from one of 0.6.
DRAWS: Final = 20
#: Queries that a radius is given where nobody has set a number.
CAP: Final = 1000
_SURE: Final = 0.95  # above LIKELY: of several σ the first that seems likely is taken, which flatters it


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """At `sigma`, the most frequent class has `votes` of `n` noisy copies; of `size`, where that is another one."""

    sigma: float
    votes: int
    n: int
    size: int | None = None


def shares(
    img: ImageLike,
    *,
    adapter: Adapter,
    labels: Any = None,
    size: int | tuple[int, int] | None = None,
    denoiser: Any = "auto",
    noise: NoiseKind = "gaussian",
    sigmas: Sequence[float] = SIGMAS,
    draws: int = DRAWS,
    device: str = "auto",
) -> Iterator[Share]:
    """The share at each σ of `img`, as `adapter` would be asked; a service is not. Keeps nothing.

    `labels` goes with a model of this process alone. A σ that the denoiser is not for is left out.
    """
    from api_smoothing.engine import parts

    card = adapter.card
    free = card.accepts == "tensor"
    asked = adapter if free else answers
    for sigma in sigmas:
        try:
            chosen = parts.denoiser(denoiser, sigma=sigma, size=size, card=card, device=parts.device(device))
        except ConfigurationError:  # it is not for this σ
            continue
        side = parts.size(size, chosen, card)
        with SmoothedAPI(
            asked,
            sigma=sigma,
            denoiser=chosen,
            labels=labels if free else None,
            size=side,
            noise=noise,
            store="memory",
            cache=False,
            device=device,
        ) as api:
            found = api.predict(img, n=draws)
        yield Share(sigma=sigma, votes=found.votes, n=found.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Settings that would likely certify an image, by the rehearsal `share` of `whom`; `radius` None: the best one."""

    whom: str
    share: Share
    n: int
    radius: float | None
    chance: float

    def __str__(self) -> str:
        aim = "a radius" if self.radius is None else f"r={self.radius:g}"
        size = "" if self.share.size is None else f"size={self.share.size} at "
        return (
            f"{size}σ={self.share.sigma:g} with n={self.n:,} would likely certify {aim}: {self.share.votes} of "
            f"{self.share.n} copies agree there in a free run of {self.whom} behind the same denoiser"
        )


def whom(adapter: Adapter) -> str:
    """Who is asked in a rehearsal."""
    return "the model itself" if adapter.card.accepts == "tensor" else "the sandbox's classifier"


def suggest(img: ImageLike, done: Certificate, *, adapter: Adapter, **settings: Any) -> Suggestion | None:
    """Another σ for an image that abstained at `done.sigma`, smaller ones first; None where none is likely.

    Before those a larger size, where a photograph was asked about as a thumbnail. First for the radius that was asked
    for, then for the largest smaller one. `settings` are those of `shares`.
    """
    sigmas = sorted((s for s in advice.SIGMAS if s != done.sigma), key=lambda s: (s > done.sigma, -s))
    rehearsed: list[Share] = []
    who = whom(adapter)
    noise: NoiseKind = done.noise  # type: ignore[assignment]
    n = max(done.n, USUAL) if done.target_radius is None else max(done.n, CAP)
    usual = shares(img, adapter=adapter, noise=noise, sigmas=sigmas, **settings)
    for share in chain(_larger(img, done, adapter, settings), usual):
        rehearsed.append(share)
        if found := _likely(share, done.target_radius, n, done.alpha, noise, who, least=_SURE):
            return found
    smaller = [aim for aim in RADII if aim < (done.target_radius or 0.0)]
    for aim in smaller or (None,):  # without a target, what more queries give
        for share in sorted(rehearsed, key=lambda one: -one.votes / one.n):  # the steadiest first
            if found := _likely(share, aim, max(n, CAP), done.alpha, noise, who, least=LIKELY):
                return found
    return None


def _larger(img: ImageLike, done: Certificate, adapter: Adapter, settings: dict[str, Any]) -> Iterator[Share]:
    """The share at the same σ and the size of photographs, of one that a service was shown as a thumbnail."""
    whole = done.space_original or done.space
    if adapter.card.accepts != "tensor" and is_thumbnail(done.space, whole):
        larger = {**settings, "size": PHOTOGRAPH}
        for share in shares(img, adapter=adapter, noise=done.noise, sigmas=(done.sigma,), **larger):  # type: ignore[arg-type]
            yield replace(share, size=PHOTOGRAPH)


def _likely(
    share: Share, aim: float | None, n: int, alpha: float, noise: NoiseKind, who: str, *, least: float
) -> Suggestion | None:
    of = {"sigma": share.sigma, "noise": noise, "alpha": alpha, "target": aim, "cap": n}
    _, _, chance = prospect(share.votes, share.n, **of)  # type: ignore[arg-type]
    if chance < least:
        return None
    return Suggestion(whom=who, share=share, n=n, radius=aim, chance=chance)


def answers(images: Tensor) -> list[str]:
    """The likeliest class of each of the float32 images (N,3,H,W) in [0,1], on the 8-bit grid."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [max(scores, key=scores.__getitem__) for scores in bundled_classifier()([*pixels])]
