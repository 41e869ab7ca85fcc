"""Provable robustness for vision models you can only call, not change."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api_smoothing.adapters.labels.label_map import LabelMap
    from api_smoothing.results import Budget, Certificate, CostEstimate, Prediction, RunHeader
    from api_smoothing.smoothed import SmoothedAPI

__version__ = "0.1.0"

_HOMES = {
    "Budget": "api_smoothing.results",
    "Certificate": "api_smoothing.results",
    "CostEstimate": "api_smoothing.results",
    "LabelMap": "api_smoothing.adapters.labels.label_map",
    "Prediction": "api_smoothing.results",
    "RunHeader": "api_smoothing.results",
    "SmoothedAPI": "api_smoothing.smoothed",
}

__all__ = [
    "Budget",
    "Certificate",
    "CostEstimate",
    "LabelMap",
    "Prediction",
    "RunHeader",
    "SmoothedAPI",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'api_smoothing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
