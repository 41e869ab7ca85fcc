"""Providers: one file each, one interface. `names()` imports nothing heavy."""

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
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.adapters.registry import load, names

__all__ = [
    "Adapter",
    "AdapterCard",
    "Answer",
    "Credentials",
    "EncodedImage",
    "Label",
    "LabelMap",
    "Quota",
    "Verdict",
    "load",
    "names",
]
