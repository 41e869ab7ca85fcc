"""Provider names and what they declare: the built-in ones, then those of installed plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters.base import Adapter
from api_smoothing.adapters.provider import Provider, resolve
from api_smoothing.errors import ConfigurationError, UnknownOption, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "api_smoothing.adapters"
#: Each built-in provider's declaration, imported when it is asked for.
BUILT_IN: Final = {
    "torchvision": "api_smoothing.adapters.local:PROVIDER",
    "aws": "api_smoothing.adapters.aws:PROVIDER",
    "azure": "api_smoothing.adapters.azure:PROVIDER",
    "google": "api_smoothing.adapters.google:PROVIDER",
    "clarifai": "api_smoothing.adapters.clarifai:PROVIDER",
    "http": "api_smoothing.adapters.http:PROVIDER",
    "openai": "api_smoothing.adapters.http:OPENAI",
}


def names() -> list[str]:
    """Every provider name that `load` takes, built-in ones first."""
    return [*BUILT_IN, *sorted(set(_plugins()) - set(BUILT_IN))]


def provider(name: str) -> Provider:
    """What the provider called `name` declares.

    A plugin is an entry point of group `api_smoothing.adapters` that names a `Provider`, or only the callable that
    makes its adapter. Plugins add names; a built-in name always means the built-in provider.

    Raises ConfigurationError for an unknown name, and for a plugin that cannot be imported or declares another one.
    """
    if name in BUILT_IN:
        return _declared(name, BUILT_IN[name])
    if point := _plugins().get(name):
        try:
            return _declared(name, f"{point.module}:{point.attr}")
        except ConfigurationError:
            raise
        except Exception as error:  # a plugin may raise anything
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigurationError(
                f"the provider {name} ({point.value}) cannot be imported: {why}; repair or uninstall its package"
            ) from error
    raise ConfigurationError(unknown("provider", name, names()))


def find(name: str) -> Provider | None:
    """What the provider called `name` declares, None where there is none of that name."""
    return provider(name) if name in BUILT_IN or name in _plugins() else None


def declared() -> Iterator[Provider]:
    """What every provider declares, built-in ones first. A plugin that cannot be imported is left out."""
    for name in names():
        try:
            yield provider(name)
        except ConfigurationError:
            continue


def vocabularies() -> list[str]:
    """The providers with a vocabulary of their own, for which label maps may have sections."""
    return sorted(found.name for found in declared() if found.vocabulary)


def load(name: str, **options: Any) -> Adapter:
    """The adapter called `name`, set up with its own `options`.

    Raises ConfigurationError as `provider` does, and whatever one-line error the adapter has for its options.
    """
    factory = resolve(provider(name).load)
    _check(name, factory, options)
    adapter: Adapter = factory(**options)
    return adapter


def _declared(name: str, dotted: str) -> Provider:
    found = resolve(dotted)
    if isinstance(found, Provider):
        if found.name != name:
            raise ConfigurationError(f"{dotted} declares the provider {found.name!r}, but is called {name!r}")
        return found
    if not callable(found):
        raise ConfigurationError(f"{dotted} is neither a Provider nor what makes an adapter of {name}")
    module = dotted.partition(":")[0]
    looks = callable(getattr(import_module(module), "credentials", None))
    return Provider(name=name, load=dotted, credentials=f"{module}:credentials" if looks else None)


def _check(provider: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options the loader does not have, and text where it takes a number."""
    parameters = inspect.signature(factory).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option, value in options.items():
        if option not in parameters:
            if free:
                continue
            raise UnknownOption(provider, option, list(parameters))
        default = parameters[option].default
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise ConfigurationError(f"the option {option} of {provider} is a number, not {value!r}")


def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}
