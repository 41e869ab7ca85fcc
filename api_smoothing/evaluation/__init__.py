"""From a data set and a provider to numbers: what is certified, how sure, at what price.

`evaluate` asks and writes a run file, `read_run` and `summarize` read one; an `Evaluation` shows it.
"""

from __future__ import annotations

from api_smoothing.evaluation.evaluating import evaluate
from api_smoothing.evaluation.evaluation import Evaluation
from api_smoothing.evaluation.recorded import Run, read_run
from api_smoothing.evaluation.summary import Summary, certified_at, summarize

__all__ = ["Evaluation", "Run", "Summary", "certified_at", "evaluate", "read_run", "summarize"]
