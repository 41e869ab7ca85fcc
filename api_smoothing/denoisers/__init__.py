"""Denoisers: D(x, σ) → an estimate of the clean image. `names()` lists them, `load()` gives one, `wrap()` makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.registry import load, names

if TYPE_CHECKING:
    from api_smoothing.denoisers.wrapped import wrap

__all__ = ["Denoiser", "DenoiserCard", "load", "names", "wrap"]


def __getattr__(name: str) -> Callable[..., Any]:
    if name == "wrap":
        from api_smoothing.denoisers.wrapped import wrap

        return wrap
    raise AttributeError(f"module {__name__} has no attribute {name}")
