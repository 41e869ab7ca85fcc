"""Providers in this process, and how answers are read as classes."""

from __future__ import annotations

import pytest

from api_smoothing import LabelMap, adapters
from api_smoothing.adapters import registry
from api_smoothing.adapters.local.adapter import ModuleAdapter
from api_smoothing.errors import ConfigurationError


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """A misspelt provider or map gets the name that was probably meant."""
    with pytest.raises(ConfigurationError, match="torchvision"):
        adapters.load("torchvison")
    with pytest.raises(ConfigurationError, match="cifar10"):
        LabelMap.load("cifar")


def test_plugins_add_names_and_never_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point makes a new name loadable; one that takes a built-in name is ignored."""

    class Plugin:
        def load(self) -> object:
            return lambda **options: options

    monkeypatch.setattr(registry, "_plugins", lambda: {"acme": Plugin(), "torchvision": Plugin()})
    assert adapters.names() == ["torchvision", "aws", "azure", "google", "clarifai", "http", "acme"]
    assert adapters.load("acme", key=1) == {"key": 1}
    assert isinstance(adapters.load("torchvision"), ModuleAdapter)
