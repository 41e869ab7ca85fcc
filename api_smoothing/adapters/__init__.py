"""Providers: a folder each, one interface. `names()` imports nothing heavy."""

from __future__ import annotations

from api_smoothing.adapters.base import (
    Adapter,
    AdapterCard,
    Answer,
    Credentials,
    EncodedImage,
    Label,
    Quota,
    Verdict,
)
from api_smoothing.adapters.labels import LabelMap
from api_smoothing.adapters.provider import Provider, SandboxDeclaration
from api_smoothing.adapters.registry import load, names

__all__ = [
    "Adapter",
    "AdapterCard",
    "Answer",
    "Credentials",
    "EncodedImage",
    "Label",
    "LabelMap",
    "Provider",
    "Quota",
    "SandboxDeclaration",
    "Verdict",
    "load",
    "names",
]
