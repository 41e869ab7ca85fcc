"""Training denoisers and classifiers: objectives, surrogates, recipes, and the loop they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api_smoothing.training.classifier import train_classifier
    from api_smoothing.training.denoiser import train_denoiser
    from api_smoothing.training.recogniser import train_recogniser

__all__ = ["train_classifier", "train_denoiser", "train_recogniser"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"api_smoothing.training.{name.removeprefix('train_')}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
