"""Providers: one file each, one interface. `names()` imports nothing heavy."""

from __future__ import annotations

from api_smoothing.adapters.base import Adapter, AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.labels import LabelMap
from api_smoothing.adapters.registry import load, names

__all__ = [
    "Adapter",
    "AdapterCard",
    "Answer",
    "EncodedImage",
    "Label",
    "LabelMap",
    "Verdict",
    "load",
    "names",
]
