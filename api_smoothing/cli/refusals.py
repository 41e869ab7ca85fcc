"""What can be refused before torch is loaded, which takes seconds: names, options, what is out of reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import registry
from api_smoothing.cli.foreseen import BUNDLED
from api_smoothing.cli.options import refuse_unknown_option
from api_smoothing.errors import ConfigurationError, UnknownOption, WeightsError, unknown

if TYPE_CHECKING:
    from api_smoothing.adapters.base import AdapterCard
    from api_smoothing.cli.settings import Settings

_REGISTERED: Final = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.M)


def refuse_early(
    settings: Settings,
    options: Mapping[str, Any],
    *,
    asks: Callable[[AdapterCard], bool] = lambda card: False,
) -> int | None:
    """Raise what the facade would of these settings and of the provider's `options`, as far as no network is needed.

    What it lets pass the facade still checks. `asks` tells whether a service will surely be asked, which takes
    credentials. Returns the side that the model names as its own.
    """
    declared = registry.provider(settings.provider)
    if settings.labels is not None:
        from api_smoothing.adapters.labels.label_map import LabelMap

        LabelMap.load(settings.labels)
    if declared.local:
        side = BUNDLED[1] if settings.model in (None, BUNDLED[0]) else None
        for option, value in options.items():
            if value is not None:
                refuse_unknown_option(settings.provider, option)
        if str(settings.model).endswith((".pth", ".pt", ".th", ".safetensors")):
            _refuse_missing(Path(str(settings.model)))
        elif side is None and not Path(str(settings.model)).is_file():
            _refuse_unknown_model(str(settings.model))
    else:
        given = {name: value for name, value in options.items() if value is not None}
        adapter = registry.load(settings.provider, **given)
        side = adapter.card.native_side
        find = getattr(adapter, "find_credentials", None)
        if find is not None and asks(adapter.card):
            find()
    _refuse_radius(settings)
    if side is not None or not declared.local or settings.size is not None:
        _refuse_denoiser(settings, side)
    return side


def _refuse_missing(checkpoint: Path) -> None:
    if not checkpoint.is_file():
        raise ConfigurationError(
            f"no checkpoint at {checkpoint}; give the path of a .pth or .safetensors file"
        )


def _refuse_unknown_model(name: str) -> None:
    """Look for `name` among what torchvision's files register: importing it would bring torch."""
    found = PathFinder.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return  # the loader says how to install it
    files = (Path(found.submodule_search_locations[0]) / "models").glob("*.py")
    known = [model for file in sorted(files) for model in _REGISTERED.findall(file.read_text("utf-8"))]
    if known and name not in known:
        raise ConfigurationError(unknown("model", name, [BUNDLED[0], *known]))


def _refuse_denoiser(settings: Settings, side: int | None) -> None:
    """Raise what choosing the denoiser would, where its card tells without loading it."""
    if settings.denoiser is None:
        return
    from api_smoothing.denoisers import registry as denoisers
    from api_smoothing.denoisers.selection import foresee

    name = refuse_unknown_denoiser(settings.denoiser)
    if name == "auto" or denoisers.describe(name) is not None:
        foresee(name, size=settings.size, sigma=settings.sigma, native_side=side)


def refuse_unknown_denoiser(name: str) -> str:
    """`name`. Raises what loading it would, as far as names and options alone tell."""
    from api_smoothing.denoisers import registry as denoisers
    from api_smoothing.denoisers import samplers

    file, _, words = name.partition("?")
    _, words = samplers.split(words)
    known = file == "auto" or file in denoisers.PINNED  # without a look at what is installed
    if not (known or set(file) & set(":./\\") or file in denoisers.names()):
        denoisers.load(file)  # which says that there is none
    if words and file in ("auto", *denoisers.PINNED):
        option = words.partition("=")[0]
        raise UnknownOption(file, option, ["method", *samplers.METHODS["guided"], *samplers.RANGES])
    if Path(file).suffix in denoisers.CHECKPOINTS and not Path(file).is_file():
        raise WeightsError(f"no denoiser weights at {file}; give the path of a checkpoint")
    return name


def _refuse_radius(settings: Settings) -> None:
    """Raise UnreachableRadiusError where no answers at all could certify the radius."""
    if settings.radius is None:
        return
    from api_smoothing.certify.radius import threshold

    threshold(settings.radius, sigma=settings.sigma, noise=settings.noise)
