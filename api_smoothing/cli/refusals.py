"""What can be refused before torch is loaded, which takes seconds: names, options, what is out of reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import registry

if TYPE_CHECKING:
    from api_smoothing.cli.settings import Settings

BUNDLED: Final = ("cifar10", 32)  # the default model of the local provider, and its side


def refuse_early(settings: Settings, options: Mapping[str, Any]) -> None:
    """Raise what the facade would of these settings and of the provider's `options`, as far as no network is needed.

    What it lets pass the facade still checks.
    """
    declared = registry.provider(settings.provider)
    if settings.labels is not None:
        from api_smoothing.adapters.labels.label_map import LabelMap

        LabelMap.load(settings.labels)
    if declared.local:
        side = BUNDLED[1] if settings.model in (None, BUNDLED[0]) else None
    else:
        given = {name: value for name, value in options.items() if value is not None}
        side = registry.load(settings.provider, **given).card.native_side
    _refuse_radius(settings)
    if side is not None or not declared.local or settings.size is not None:
        _refuse_denoiser(settings, side)


def _refuse_denoiser(settings: Settings, side: int | None) -> None:
    """Raise what choosing the denoiser would, where its card tells without loading it."""
    if settings.denoiser is None:
        return
    from api_smoothing.denoisers import registry as denoisers
    from api_smoothing.denoisers.selection import foresee

    name = settings.denoiser
    if not set(name) & set("?:./\\") and name not in ("auto", *denoisers.names()):
        denoisers.load(name)  # which says that there is none
    if name == "auto" or denoisers.describe(name) is not None:
        foresee(name, size=settings.size, sigma=settings.sigma, native_side=side)


def _refuse_radius(settings: Settings) -> None:
    """Raise UnreachableRadiusError where no answers at all could certify the radius."""
    if settings.radius is None:
        return
    from api_smoothing.certify.radius import threshold

    threshold(settings.radius, sigma=settings.sigma, noise=settings.noise)
