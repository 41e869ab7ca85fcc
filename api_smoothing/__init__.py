"""Provable robustness for vision models you can only call, not change.

What is public, and stays. Everything is loaded on first use.

SmoothedAPI   a provider behind noise, a denoiser and a certifier
Budget        the most that may be spent, in queries and US dollars
LabelMap      how answers are read as classes
Certificate   what was proved about one image; JSON in and out
Prediction    a label without a radius
CostEstimate  what a run would cost, before anything is sent
Provenance    what answered, and under which settings
RunHeader     the first line of a run file
purify        one image with the noise and the attacks taken out
evaluate      a whole data set: what is certified, how sure, at what price
Evaluation    what came of it: numbers with intervals, table, plot, report
compare       defences under attacks and corruptions, all on the same images
Comparison    what came of it: accuracy with intervals, paired tests, costs
runs          run files: `read`, `header`, `open`
errors        the one error tree; every message is one line
events        what observers are told during a run
"""

from __future__ import annotations

from api_smoothing.version import __version__

TYPE_CHECKING = False  # not of `typing`, which takes as long as all else that `--help` does
if TYPE_CHECKING:
    from typing import Any

    from api_smoothing import errors, events, runs
    from api_smoothing.adapters.labels.label_map import LabelMap
    from api_smoothing.defences import Comparison, compare
    from api_smoothing.evaluation import Evaluation, evaluate
    from api_smoothing.purification import purify
    from api_smoothing.results import (
        Budget,
        Certificate,
        CostEstimate,
        Prediction,
        Provenance,
        RunHeader,
    )
    from api_smoothing.smoothed import SmoothedAPI


_HOMES = {
    "Budget": "api_smoothing.results",
    "Certificate": "api_smoothing.results",
    "Comparison": "api_smoothing.defences",
    "CostEstimate": "api_smoothing.results",
    "LabelMap": "api_smoothing.adapters.labels.label_map",
    "Prediction": "api_smoothing.results",
    "Provenance": "api_smoothing.results",
    "RunHeader": "api_smoothing.results",
    "Evaluation": "api_smoothing.evaluation",
    "SmoothedAPI": "api_smoothing.smoothed",
    "compare": "api_smoothing.defences",
    "evaluate": "api_smoothing.evaluation",
    "purify": "api_smoothing.purification",
}
_MODULES = ("errors", "events", "runs")

__all__ = [
    "Budget",
    "Certificate",
    "Comparison",
    "CostEstimate",
    "Evaluation",
    "LabelMap",
    "Prediction",
    "Provenance",
    "RunHeader",
    "SmoothedAPI",
    "__version__",
    "compare",
    "errors",
    "evaluate",
    "events",
    "purify",
    "runs",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'api_smoothing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
