"""What an estimate needs of provider and denoiser, read off their cards: torch, which takes seconds, is not loaded.

It serves while no answers of theirs are kept: those are found by the arithmetic of this machine, which torch knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from api_smoothing.adapters.base import Adapter, AdapterCard, Answer, EncodedImage, Verdict
from api_smoothing.cli.refusals import BUNDLED
from api_smoothing.denoisers import registry as denoisers
from api_smoothing.denoisers import samplers
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.selection import foresee, resolve

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.cli.settings import Settings

_PHOTOGRAPH: Final = 224  # the side of images for a provider that names none


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """A provider, and what denoises for it, of which only the facts are there: both refuse to work."""

    adapter: Adapter
    denoiser: Denoiser | None


def foreseen(settings: Settings, options: Mapping[str, Any]) -> Foreseen | None:
    """What `settings` name, with the provider's `options`; None where only loading it tells, or answers are kept."""
    if settings.device not in ("auto", "cpu"):  # only torch knows whether it is there
        return None
    adapter = _adapter(settings, options)
    if adapter is None:
        return None
    denoiser = None
    if settings.denoiser is not None:
        denoiser = _denoiser(settings.denoiser, settings, adapter.card)
        if denoiser is None:
            return None
    return None if _kept(settings, adapter, denoiser) else Foreseen(adapter=adapter, denoiser=denoiser)


def _adapter(settings: Settings, options: Mapping[str, Any]) -> Adapter | None:
    from api_smoothing.adapters import registry

    given = {name: value for name, value in options.items() if value is not None}
    if not registry.provider(settings.provider).local:
        return registry.load(settings.provider, **given)
    name, side = BUNDLED
    if settings.provider != "torchvision" or given not in ({}, {"model": name}):
        return None
    card = AdapterCard(name=f"torchvision/{name}", fingerprint=name, accepts="tensor", native_side=side)
    return _Provider(card)


def _denoiser(choice: str, settings: Settings, adapter: AdapterCard) -> Denoiser | None:
    side = adapter.native_side or _PHOTOGRAPH
    name = resolve(choice, side=side if settings.size is None else settings.size, sigma=settings.sigma)
    if denoisers.describe(name) is None:
        return None
    card = foresee(name, size=settings.size, sigma=settings.sigma, native_side=side)
    assert card is not None
    method, _ = samplers.split(name.partition("?")[2])
    return _Denoiser(card) if method is None or method["method"] == "oneshot" else None


def _kept(settings: Settings, adapter: Adapter, denoiser: Denoiser | None) -> bool:
    """Whether any answers are kept that may be of the same queries."""
    if settings.cache is False:
        return False
    from contextlib import closing

    from api_smoothing.engine.storage.answers import DiskCache
    from api_smoothing.home import answers_folder, home

    folder = answers_folder(home()) if settings.cache is True else Path(settings.cache)
    if not (folder / "cache.db").is_file():
        return False
    with closing(DiskCache(folder)) as cache:
        return any(
            answers
            and facts.get("provider") == adapter.card.provider
            and facts.get("sigma") == settings.sigma
            and str(facts.get("denoiser")).partition("@")[0] == str(denoiser and denoiser.card.id)
            for _, facts, answers in cache.streams()
        )


class _Provider:
    def __init__(self, card: AdapterCard) -> None:
        self.card = card

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer | Verdict]:
        _refuse()

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


class _Denoiser:
    compute, paths_per_query = "foreseen", 1

    def __init__(self, card: DenoiserCard) -> None:
        self.card = card

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        _refuse()


def _refuse() -> NoReturn:
    raise AssertionError("an estimate sends nothing")
