"""What a provider declares about itself. Its folder holds the rest, and is imported when that is used.

A built-in provider is its folder, with a `PROVIDER` of this kind, one line in the registry and one extra. One from
elsewhere is the same, with an entry point in place of the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from typing import Any, Literal, TypeAlias

from api_smoothing.errors import ConfigurationError

#: Makes settings from a sandbox's endpoint and key.
ForSandbox: TypeAlias = Callable[[str, str], Mapping[str, Any]]


def usual_options(endpoint: str, key: str) -> dict[str, Any]:
    """The options of most loaders by which they reach a sandbox; `endpoint_id` names it in fingerprints."""
    return {"endpoint": endpoint, "endpoint_id": "sandbox", "key": key}


def no_variables(endpoint: str, key: str) -> dict[str, str]:
    """No variable is read by the provider's tools."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxDeclaration:
    """A provider's server on loopback, for rehearsals and tests; `sandbox.Sandbox` runs it.

    `front` ("MODULE:NAME") is called with the Sandbox and has `start()` and `stop()`: a `sandbox.http.HttpFront` or
    the like. `version` is the model version that answers carry, `micro_usd` the list price of an image in millionths
    of a dollar. With `rpc` the endpoint is "127.0.0.1:PORT", else "http://127.0.0.1:PORT".

    `options` makes from endpoint and key what `load` needs to reach it, `environment` the variables by which the
    provider's own tools do. A `model` among the options takes the place of a user's, unless that is one of `models`.
    `example` are the options without which `load` refuses, as a user might choose them; a rehearsal has the user's own.
    `vocabulary` ("PACKAGE:FILE") is what it says about an image; see `sandbox.vocabulary`.
    """

    front: str
    version: str
    micro_usd: int = 0
    rpc: bool = False
    options: ForSandbox = usual_options
    environment: ForSandbox = no_variables
    models: tuple[str, ...] = ()
    example: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What can be said of a provider without importing what it needs. Dotted names are "MODULE:NAME".

    `load` is the dotted name of the callable that makes the adapter, `credentials` that of one that looks for
    credentials and returns a `Credentials`. `extra` is the extra of api-smooth that installs `package`, the package
    to look for. `heavy` are modules that must not be imported before the first query. A `local` model runs in this
    process; its `load` takes `device`. `default_model` is the model that is meant when none is named.

    With a `vocabulary` of its own, label maps have sections for the provider. `label_maps` are such sections for the
    built-in maps: from the name of a map to a TOML file ("PACKAGE:FILE") of tables [classes.CLASS.PROVIDER]. `filter`
    says whether the service looks for given labels alone (option `only`), by their names or also by their ids.
    `words` is a TOML file ("PACKAGE:FILE") with lists `meta` and `general`, either or none: see `labels.label_map`.
    `prices` is a TOML file ("PACKAGE:FILE") of price tables, called "PROVIDER/…"; see `engine.estimate.pricing`.
    """

    name: str
    load: str
    credentials: str | None = None
    extra: str | None = None
    package: str | None = None
    heavy: tuple[str, ...] = ()
    local: bool = False
    default_model: str | None = None
    vocabulary: bool = False
    label_maps: Mapping[str, str] = field(default_factory=dict)
    filter: Literal["names", "ids"] | None = None
    words: str | None = None
    prices: str | None = None
    sandbox: SandboxDeclaration | None = None


def resolve(dotted: str) -> Any:
    """What a dotted name "MODULE:NAME" stands for; its module is imported."""
    module, _, name = dotted.partition(":")
    return attrgetter(name)(import_module(module))


def text_of(resource: str) -> str:
    """The text of a file "PACKAGE:FILE" that comes with a package. Raises ConfigurationError where it is not there."""
    package, _, file = resource.partition(":")
    try:
        from importlib import resources

        return resources.files(package).joinpath(file).read_text("utf-8")
    except (ImportError, OSError) as error:
        raise ConfigurationError(
            f"{resource} is declared by a provider, but cannot be read ({type(error).__name__}); "
            "install its package anew"
        ) from None
