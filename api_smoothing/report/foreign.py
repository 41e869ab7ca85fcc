"""Certificates of the authors' code (github.com/locuslab/smoothing, certify.py) as a run of ours.

Its files are lines of tabs: `idx label predict radius correct time`, predict −1 where it abstained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scipy.special import ndtr

from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Certificate
from api_smoothing.shown import as_shown

HEADER: Final = ("idx", "label", "predict", "radius", "correct", "time")
_SIGMA: Final = re.compile(r"(?:sigma|noise|σ)[_=-]?(\d*\.?\d+)", re.IGNORECASE)
_TIME: Final = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_ALPHA: Final = 0.001  # of certify.py where nobody says otherwise


def is_foreign(path: Path) -> bool:
    """Whether the file begins with that header."""
    try:
        with path.open("rb") as file:
            return tuple(file.readline(200).decode("utf-8", "replace").split()) == HEADER
    except OSError:
        return False


def sigma_of(path: Path) -> float | None:
    """σ as the file's name or its folder's tells it: "sigma_0.25", "noise_0.50"."""
    for name in [path.name, *(folder.name for folder in path.resolve().parents)][:4]:
        if found := _SIGMA.search(name.removesuffix(".tsv")):
            return float(found[1]) or None
    return None


def read(path: Path, sigma: float | None) -> Iterator[tuple[Certificate, float]]:
    """The certificates and the seconds each took. Raises ConfigurationError, with the line's number, where one is none.

    A radius stands for the bound that gives it, p↓ = Φ(radius/σ); votes, queries and the image are not in such a file.
    """
    sigma = sigma_of(path) if sigma is None else sigma
    if sigma is None:
        raise ConfigurationError(f"{path} does not tell its σ: give --sigma, as in --sigma 0.25")
    created = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if number == 1 or not line.strip():
            continue
        try:
            index, truth, predicted, radius, correct, time = line.split("\t")
            found = _certificate(int(index), int(truth), int(predicted), float(radius), sigma, created)
            if int(correct) != (predicted == truth):
                raise ValueError("correct is not what label and predict say")
            yield found, _seconds(time)
        except ValueError as error:
            raise ConfigurationError(
                f"{path}, line {number}: {as_shown(error)}: it needs {', '.join(HEADER)}, tabs between them"
            ) from None


def _certificate(
    index: int, truth: int, predicted: int, radius: float, sigma: float, created: str
) -> Certificate:
    if not (math.isfinite(radius) and radius >= 0.0):
        raise ValueError(f"radius {radius!r} is none")
    abstained = predicted == -1
    label = None if abstained else str(predicted)
    return Certificate(
        label=label,
        radius=0.0 if abstained else radius,
        radius_original=0.0 if abstained else radius,
        p_lower=0.0 if abstained else float(ndtr(radius / sigma)),
        votes=0,
        n=0,
        n0=0,
        sigma=sigma,
        alpha=_ALPHA,
        norm="l2",
        method="clopper-pearson",
        target_radius=None,
        reached=None,
        stopped="n",
        reason="",
        runner_up=None,
        counts={},
        failed=0,
        queries=0,
        cached=0,
        cost_usd=0.0,
        provider="locuslab/smoothing",
        model="",
        model_version=None,
        denoiser=None,
        label_map=None,
        noise="gaussian",
        seed="",
        image=str(index),
        image_sha256="",
        space=(0, 0),
        created=created,
        item={"id": str(index), "path": None, "truth": str(truth)},
    )


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"time {text.strip()[:20]!r} is none")
    days, hours, minutes, seconds = found.groups()
    return 86400 * int(days or 0) + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
