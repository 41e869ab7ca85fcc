"""What run files of data sets say: the last certificate of each image, numbers with intervals, gates."""

from __future__ import annotations

from api_smoothing.recorded.run import Run, read_run
from api_smoothing.recorded.summary import Summary, certified_at, summarize

__all__ = ["Run", "Summary", "certified_at", "read_run", "summarize"]
