"""Where the report's runs come from: run files, and files of the authors' code."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.report import foreign

if TYPE_CHECKING:
    from api_smoothing.recorded.run import Run


def read(path: Path, *, sigma: float | None = None) -> Run:
    """The run in a file. `sigma` is for one of the authors' code whose name does not tell it.

    Raises ConfigurationError where it is no such file, or damaged.
    """
    from api_smoothing.recorded.run import read_run

    return _foreign(path, sigma) if foreign.is_foreign(path) else read_run(path)


def _foreign(path: Path, sigma: float | None) -> Run:
    from api_smoothing.recorded.run import Run
    from api_smoothing.results import RunHeader

    found = list(foreign.read(path, sigma))
    certificates = [certificate for certificate, _ in found]
    settings = {
        "provider": "locuslab/smoothing",
        "denoiser": None,
        "sigma": certificates[0].sigma if certificates else sigma,
        "alpha": certificates[0].alpha if certificates else None,
        "method": "clopper-pearson",
        "noise": "gaussian",
        "data": path.name,
    }
    created = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return Run(
        header=RunHeader(settings=settings, version="locuslab/smoothing", created=created),
        certificates=tuple(certificates),
        clean={},
        unreadable={},
        planned=(),
        path=str(path),
        seconds=sum(seconds for _, seconds in found),
    )
