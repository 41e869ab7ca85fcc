"""Providers in this process, and how answers are read as classes."""

from __future__ import annotations

import inspect
import sys
import tomllib
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from api_smoothing import LabelMap, adapters
from api_smoothing.adapters import Credentials, Provider, registry
from api_smoothing.adapters.local.adapter import ModuleAdapter
from api_smoothing.adapters.provider import resolve
from api_smoothing.engine.estimate.pricing import prices_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox.vocabulary import read_vocabulary

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """A misspelt provider or map gets the name that was probably meant."""
    with pytest.raises(ConfigurationError, match="torchvision"):
        adapters.load("torchvison")
    with pytest.raises(ConfigurationError, match="cifar10"):
        LabelMap.load("cifar")


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> types.ModuleType:
    """Entry points of a module `acme`, which is returned to be filled."""
    module = types.ModuleType("acme")
    monkeypatch.setitem(sys.modules, "acme", module)
    found = {n: EntryPoint(name=n, value=value, group=registry.GROUP) for n, value in points.items()}
    monkeypatch.setattr(registry, "_plugins", lambda: found)
    return module


def test_plugins_add_names_and_never_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point makes a new name loadable; one that takes a built-in name is ignored."""
    module = install(monkeypatch, acme="acme:load", torchvision="acme:load")
    module.load = lambda **options: options  # type: ignore[attr-defined]
    assert adapters.names() == ["torchvision", "aws", "azure", "google", "clarifai", "http", "openai", "acme"]
    assert adapters.load("acme", key=1) == {"key": 1}
    assert isinstance(adapters.load("torchvision"), ModuleAdapter)


def test_a_plugin_may_declare_itself_or_only_what_makes_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point names a Provider, or a callable, to which everything else is default."""
    module = install(monkeypatch, acme="acme:PROVIDER", bare="acme:make")
    module.make = lambda **options: options  # type: ignore[attr-defined]
    module.credentials = lambda: None  # type: ignore[attr-defined]
    module.PROVIDER = Provider(name="acme", load="acme:make", vocabulary=True)  # type: ignore[attr-defined]
    assert registry.provider("acme") is module.PROVIDER
    assert registry.provider("bare") == Provider(
        name="bare", load="acme:make", credentials="acme:credentials"
    )
    assert "acme" in registry.vocabularies()
    assert "bare" not in registry.vocabularies()
    assert adapters.load("acme", key=1) == adapters.load("bare", key=1) == {"key": 1}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("acme:PROVIDER", "'other'"),
        ("acme:missing", "missing"),
        ("acme:__name__", "neither a Provider nor"),
        ("no_such_module:x", "uninstall"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_line(
    value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that fails to import, or declares another name, is told in one line, and hides no other provider."""
    module = install(monkeypatch, acme=value)
    module.PROVIDER = Provider(name="other", load="acme:make")  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=says) as error:
        adapters.load("acme")
    assert "\n" not in str(error.value)
    assert [found.name for found in registry.declared()] == list(registry.BUILT_IN)
    assert registry.find("nobody") is None


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_what_a_built_in_provider_declares_is_there(name: str) -> None:
    """Its loader and credentials, its extra, its prices under its own name, its filter, its sandbox and vocabulary."""
    found = registry.provider(name)
    options = inspect.signature(resolve(found.load)).parameters
    assert ("device" in options) == found.local
    assert ("only" in options) == (found.filter is not None)
    assert found.credentials is None or isinstance(resolve(found.credentials)(), Credentials)
    assert found.extra in tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(prices_of(found)) == {key for key in prices_of(found) if key.startswith(f"{name}/")}
    assert (found.prices is None) == (not prices_of(found))
    if found.sandbox is not None:
        assert found.sandbox.options("http://127.0.0.1:9", "k").keys() <= options.keys() or name == "http"
        assert found.sandbox.vocabulary is None or read_vocabulary(found.sandbox.vocabulary).words
