"""What the report has of each run: its summary, its columns, its curve, and a name that tells it from the others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.errors import ConfigurationError
from api_smoothing.report.curves import Curve, curve_of
from api_smoothing.report.rows import Rows, reach_of, rows_of
from api_smoothing.report.words import average, between, percent, short, told

if TYPE_CHECKING:
    from api_smoothing.recorded.attacked import Attacks
    from api_smoothing.recorded.run import Run
    from api_smoothing.recorded.summary import Share, Summary

#: By what runs are told apart, the first that differ: setting, and how its value is said.
_TELLING: Final = ("provider", "denoiser", "sigma", "size", "noise", "label_map", "model", "epoch", "n")
_MOST: Final = 3  # settings in a name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """One run. `settings` are its header's; `source` the file's name, `sha256` its digest if it is still there.

    `attacks` are those that lie beside the file.
    """

    name: str
    run: Run
    rows: Rows
    summary: Summary
    curve: Curve
    source: str
    sha256: str | None
    attacks: Attacks | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.run.header.settings

    @property
    def norm(self) -> str:
        """The norm of its radii, "ℓ2" or "ℓ1"."""
        return "ℓ2" if self.settings.get("noise", "gaussian") == "gaussian" else "ℓ1"

    @property
    def asked(self) -> list[float]:
        """The radii of its table, ascending."""
        return sorted(one.radius for one in self.summary.radii)

    @property
    def headline(self) -> float:
        """The radius its claim speaks of: the middle one of those above 0 that were asked for."""
        if self.claim is not None:
            return float(self.claim["radius"])
        positive = [radius for radius in self.asked if radius > 0]
        return positive[len(positive) // 2] if positive else 0.0

    @property
    def claim(self) -> dict[str, Any] | None:
        """The state of the claim that the run was made for, if it was for one."""
        return self.summary.claim

    @property
    def stops_early(self) -> bool:
        """Whether its votes stopped as several radii were decided."""
        return any(c is not None and c.radii and c.method == "sequential" for c in self.rows.certificates)

    @property
    def is_judged(self) -> bool:
        """Whether anything is known that labels can be held to; else an image counts whatever its label is."""
        return self.judged_by_truth or any(label is not None for label in self.rows.clean)

    @property
    def smoothed(self) -> Share | None:
        """How often the most frequent answer is right; None where nothing is known of that."""
        return self.summary.smoothed if self.is_judged else None

    @property
    def radius_on_average(self) -> tuple[str, str]:
        """The average certified radius and its interval as texts; dashes where nothing is known of what is right."""
        summary = self.summary
        return average(summary.acr, summary.acr_low, summary.acr_high) if self.is_judged else ("–", "–")

    @property
    def judged_by_truth(self) -> bool:
        """Whether labels are held to the true ones; else the unsmoothed answers take their place."""
        return self.summary.reference == "truth"


def entries_of(runs: Iterable[Run]) -> list[Entry]:
    """Everything about each run that the report needs. Raises ConfigurationError for runs about labels present."""
    from api_smoothing.recorded.attacked import attacks_on
    from api_smoothing.recorded.summary import summarize

    runs = list(runs)
    found = []
    for run in runs:
        if not all(math.isfinite(reach_of(certificate)) for certificate in run.certificates):
            raise ConfigurationError(f"{run.path} has a radius that is no number: it is damaged")
        if any(certificate.kind != "label" for certificate in run.certificates):
            raise ConfigurationError(
                f"{run.path} is about labels present or absent: a report reads runs about the label of an"
                " image"
            )
    for name, run in zip(names_of(runs), runs, strict=True):
        rows = rows_of(run)
        path = Path(run.path)
        found.append(
            Entry(
                name=name,
                run=run,
                rows=rows,
                summary=summarize(run),
                curve=curve_of(rows.right_reach),
                source=told(path.name),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
                attacks=attacks_on(run),
            )
        )
    return found


def names_of(runs: Sequence[Run]) -> list[str]:
    """A short name for each run, none twice: its provider, and the first settings that tell it from the others."""
    settings = [run.header.settings for run in runs]
    differing = [key for key in _TELLING if len({_said(key, one.get(key)) for one in settings}) > 1]
    names = [""] * len(runs)
    for count in range(1, _MOST + 1):
        keys = differing[:count] or ["provider"]
        names = [", ".join(_said(key, one.get(key)) for key in keys) for one in settings]
        if len(set(names)) == len(names):
            return names
    names = [f"{name} ({told(run.name)})" for name, run in zip(names, runs, strict=True)]
    return [name if names.count(name) == 1 else f"{name}, run {i + 1}" for i, name in enumerate(names)]


def _said(key: str, value: Any) -> str:
    if key == "denoiser":
        return "no denoiser" if value is None else short(str(value).partition("@")[0], 40)
    if key == "n" and value is None:
        return "stopped early"
    name = {"provider": "", "sigma": "σ = ", "n": "n = "}.get(key, f"{key.replace('_', ' ')} ")
    return (
        f"{name}{short(f'{value:g}' if isinstance(value, float) else 'none' if value is None else value, 40)}"
    )


def accuracy_of(entries: Sequence[Entry]) -> str:
    """What is counted: accuracy, where anything is known of what is right."""
    return "Certified accuracy" if any(entry.is_judged for entry in entries) else "Share certified"


def asked(entries: Sequence[Entry]) -> list[float]:
    """The radii of all runs' tables, ascending, none twice."""
    return sorted({radius for entry in entries for radius in entry.asked})


def at(entry: Entry, radius: float) -> tuple[str, str, str]:
    """The share certified right at `radius`, its interval, and the images, as texts."""
    curve = entry.curve
    i, n = curve.at(radius), curve.n
    if not n:
        return "–", "–", "–"
    k = int(curve.k[i])
    return percent(k / n), between(float(curve.low[i]), float(curve.high[i])), f"{k:,} of {n:,}"
