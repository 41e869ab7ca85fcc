"""From run files to evidence people can read: a page, tables and figures.

html    one self-contained page of one or several runs
table   the same figures as Markdown
plot    certified accuracy as a matplotlib figure
curve   certified accuracy at every radius with exact bands
read    a run file, or a file of the authors' code, as these take it
"""

from __future__ import annotations

from api_smoothing.report.curves import Curve, curve
from api_smoothing.report.figure import plot
from api_smoothing.report.page import html
from api_smoothing.report.source import read
from api_smoothing.report.tables import table

__all__ = ["Curve", "curve", "html", "plot", "read", "table"]
