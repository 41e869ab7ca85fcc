"""From a data set and a provider to numbers: what is certified, how sure, at what price.

`evaluate` asks and writes a run file; an `Evaluation` shows what came of it.
"""

from __future__ import annotations

from api_smoothing.evaluation.evaluating import evaluate
from api_smoothing.evaluation.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
