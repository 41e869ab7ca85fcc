"""Provider names and what they load: the built-in ones, then those of installed plugins."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from api_smoothing.adapters.base import Adapter
from api_smoothing.errors import ConfigurationError

GROUP = "api_smoothing.adapters"
BUILT_IN = {
    "torchvision": "api_smoothing.adapters.local.torchvision:load",
    "aws": "api_smoothing.adapters.aws.adapter:load",
    "azure": "api_smoothing.adapters.azure.adapter:load",
    "google": "api_smoothing.adapters.google.adapter:load",
    "clarifai": "api_smoothing.adapters.clarifai.adapter:load",
    "http": "api_smoothing.adapters.http.adapter:load",
}


def names() -> list[str]:
    """Every provider name that `load` takes, built-in ones first."""
    return [*BUILT_IN, *sorted(set(_plugins()) - set(BUILT_IN))]


def load(name: str, **options: Any) -> Adapter:
    """The adapter called `name`, set up with its own `options`.

    A plugin is an entry point of group `api_smoothing.adapters` that names a callable returning an Adapter.
    Plugins add names; a built-in name always means the built-in adapter.

    Raises ConfigurationError for an unknown name, and whatever one-line error the adapter has for its options.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        factory = getattr(import_module(module), attribute)
    elif plugin := _plugins().get(name):
        factory = plugin.load()
    else:
        raise ConfigurationError(unknown("provider", name, names()))
    _check(name, factory, options)
    adapter: Adapter = factory(**options)
    return adapter


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The error line for a name nobody knows, with the nearest known ones."""
    near = difflib.get_close_matches(name, known, n=3) or known[:5]
    return f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?"


def _check(provider: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options the loader does not have, and text where it takes a number."""
    parameters = inspect.signature(factory).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option, value in options.items():
        if option not in parameters:
            if free:
                continue
            near = difflib.get_close_matches(option, parameters, n=1) or list(parameters)
            raise ConfigurationError(
                f"{provider} has no option {option!r}; did you mean {' or '.join(near)}?"
            )
        default = parameters[option].default
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise ConfigurationError(f"the option {option} of {provider} is a number, not {value!r}")


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
