"""From a data set and a provider to numbers: what is certified, how sure, at what price.

`evaluate` asks and writes a run file; an `Evaluation` shows what came of it. `evaluate_corrupted` does so for each of
several corruptions of one set, beside the set as it is.
"""

from __future__ import annotations

from api_smoothing.evaluation.corrupted import evaluate_corrupted
from api_smoothing.evaluation.evaluating import evaluate
from api_smoothing.evaluation.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate", "evaluate_corrupted"]
