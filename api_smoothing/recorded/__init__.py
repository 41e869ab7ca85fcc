"""What run files of data sets say: the last certificate of each image, numbers with intervals, gates."""

from __future__ import annotations

from api_smoothing.recorded.attacked import Attacks, attacks_on
from api_smoothing.recorded.run import Run, read_run
from api_smoothing.recorded.summary import Summary, certified_at, summarize

__all__ = ["Attacks", "Run", "Summary", "attacks_on", "certified_at", "read_run", "summarize"]
