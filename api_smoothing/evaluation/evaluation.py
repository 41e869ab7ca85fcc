"""What `evaluate` returns: the run, its numbers, and the ways to look at them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_smoothing.recorded.run import Run, read_run
from api_smoothing.recorded.summary import Share, Summary, summarize
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A run over a data set. `left` images were not come to; `out_of_budget` says that it was for want of money."""

    run: Run
    left: int = 0
    out_of_budget: bool = False

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """The evaluation in a run file. Raises ConfigurationError for what is none."""
        run = read_run(path)
        there = len(run.certificates) + len(run.unreadable)
        left = run.images - there if run.left is None else run.left
        return cls(run=run, left=left, out_of_budget=run.stopped == "budget")

    def __bool__(self) -> bool:
        raise TypeError("an Evaluation is neither true nor false: look at .summary, .claim or .left")

    @cached_property
    def summary(self) -> Summary:
        """The numbers. Raises ConfigurationError where there are no images yet."""
        return summarize(self.run)

    @property
    def claim(self) -> dict[str, Any] | None:
        """The state of the claim, if there is one: `state`, `statement`, `lower`, …"""
        return self.summary.claim

    def rows(self) -> list[tuple[str, str, str]]:
        """The table: what, its value, its interval."""
        return rows_of(self.summary)

    def table(self) -> str:
        """The numbers as plain text."""
        rows = self.rows()
        wide = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c}".rstrip() for a, b, c in rows)

    def to_json(self) -> str:
        """The summary as one line of JSON."""
        return self.summary.to_json()

    def report(self, path: str | Path, *, beside: Sequence[Evaluation] = ()) -> Path:
        """Write one HTML file that needs nothing else, with other evaluations `beside` to compare."""
        Path(path).write_text(_report().html([self.run, *(one.run for one in beside)]), encoding="utf-8")
        return Path(path)

    def compare(self, other: Evaluation) -> str:
        """The two evaluations side by side, with what differs and how surely, in Markdown."""
        return str(_report().table([self.run, other.run]))

    def plot(self) -> Figure:
        """Certified accuracy against the radius, with its band (matplotlib)."""
        figure: Figure = _report().plot([self.run])
        return figure

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{html.escape(shown(a))}</th><td>{html.escape(shown(b))}</td><td>{html.escape(c)}</td></tr>"
            for a, b, c in self.rows()
        )
        return f"<table>{cells}</table>"


def rows_of(summary: Summary) -> list[tuple[str, str, str]]:
    """What a table of one evaluation says: what, its value, its interval.

    A claim ends the run by what it has seen, for which an exact interval does not hold: its own bound is what is known.
    """
    told = _share if summary.claim is None else _counted
    done = f"{summary.images:,}" + (f" of {summary.planned:,}" if summary.planned > summary.images else "")
    sandbox = summary.provider.endswith("@sandbox")
    right = "right" if summary.reference == "truth" else "as unsmoothed"
    rows = [("images", done, "")]
    if summary.clean is not None:
        rows.append(("clean accuracy", *told(summary.clean)))
    if summary.reference == "truth":
        rows.append(("smoothed accuracy", *told(summary.smoothed)))
    if summary.agreement is not None:
        rows.append(("agreement with unsmoothed", *told(summary.agreement)))
    for at in summary.radii:
        rows.append((f"certified {right} at {at.radius:g}", *told(at.certified)))
    rows += [
        (
            "average certified radius",
            f"{summary.acr:.4f}",
            f"{summary.acr_low:.4f} to {summary.acr_high:.4f}" if summary.claim is None else "",
        ),
        ("abstained", *told(summary.abstained)),
        ("failed", *told(summary.failed)),
        ("queries", f"{summary.queries:,}", f"{summary.cached:,} more were cached" if summary.cached else ""),
        ("dollars", f"${summary.usd:.4f}", "not charged by the sandbox" if sandbox else ""),
        ("seconds", f"{summary.seconds:.1f}", ""),
    ]
    if summary.unmapped:
        rows.insert(1, ("labels that are no class", f"{summary.unmapped:,}", "never right"))
    if summary.claim is not None:
        rows.append(
            ("claim", str(summary.claim["state"]), str(summary.claim["statement"]).partition(": ")[2])
        )
    return rows


def _counted(share: Share) -> tuple[str, str]:
    return _share(share)[0], f"({share.k} of {share.n})"


def _share(share: Share) -> tuple[str, str]:
    if share.value is None:
        return "none", ""
    return f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}  ({share.k} of {share.n})"


def _report() -> Any:
    """What shows evaluations. It reads them, and so is known here by its name alone."""
    return import_module("api_smoothing.report")
