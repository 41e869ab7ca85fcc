"""Cells of certified accuracy: CIFAR-10's test images and ResNet-56 behind one denoiser at one σ."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_smoothing import SmoothedAPI, denoisers, evaluate
from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.radius import radius as radius_of
from api_smoothing.convnet import CLASSES
from api_smoothing.recorded import read_run, summarize
from api_smoothing.report.curves import curve
from api_smoothing.training.likeness import psnr
from api_smoothing.training.measure import LEVELS, measure
from reproduce import inputs
from reproduce.cells import Cells
from reproduce.pages import NOT_RUN, per_cent, plain
from reproduce.plots import Line

ALPHA, TARGET = 0.001, "resnet56"
RADII = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of a table: a denoiser by name or file, or none; `trained` is what its training here depended on."""

    row: str
    denoiser: str | None
    name: str  # of its cells
    trained: Mapping[str, Any] | None = None


def certified(args: argparse.Namespace, cells: Cells, method: Method, sigma: float) -> Path | None:
    """The run file of `method` at `sigma`; None where it was not run."""
    settings = {"images": args.images, "n": args.n, "sigma": sigma, "seed": args.seed}
    settings["denoiser"] = method.trained or method.denoiser or "none"
    name = f"{method.name}-{sigma:g}"
    run = cells.file(name, settings, ".jsonl")

    def ask() -> str:
        net = inputs.classifier(args.data, TARGET)
        pairs = inputs.cifar10(args.data, args.images)
        run.parent.mkdir(parents=True, exist_ok=True)
        with SmoothedAPI(
            net,
            denoiser=method.denoiser,
            sigma=sigma,
            alpha=ALPHA,
            size=32,
            seed=args.seed,
            store="memory",
            class_names=CLASSES,
            observers=(),
        ) as api:
            evaluate(api, pairs, radii=reach(sigma, args.n), n=args.n, output=run)
        return run.name

    found = cells.get(name, settings, ask)
    return None if found is None else run.parent / found


def most(sigma: float, n: int) -> float:
    """The largest radius that n answers can show, all of them alike."""
    return float(radius_of(float(clopper_pearson.lower(n, n, ALPHA)), sigma=sigma, noise="gaussian"))


def reach(sigma: float, n: int) -> list[float]:
    """Those of `RADII` that n answers can show at all."""
    return [radius for radius in RADII if radius < most(sigma, n)]


def at_radii(run: Path | None) -> list[str]:
    """A row's cells at `RADII`: per cent with the interval, a dash where so few answers cannot show it."""
    if run is None:
        return [NOT_RUN] * len(RADII)
    found = {at.radius: at.certified for at in summarize(read_run(run)).radii}
    return [per_cent(found[r].k, found[r].n) if r in found else "–" for r in RADII]


def line_of(name: str, run: Path) -> Line:
    """The curve of a run, with its band."""
    found = curve(read_run(run).certificates)
    share, low, high = (100 * part for part in (found.share, found.low, found.high))
    return Line(
        name=plain(name),
        x=found.radius.tolist(),
        y=share.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        steps=True,
    )


def single_draws(args: argparse.Namespace, cells: Cells, method: Method) -> list[str]:
    """What ResNet-56 reads truly of single draws, in per cent, and how close they are, at each of `LEVELS`."""
    settings = {"images": args.draws, "denoiser": method.trained or method.denoiser, "levels": LEVELS}

    def look() -> dict[str, dict[str, float]]:
        assert method.denoiser is not None
        found = denoisers.load(method.denoiser)
        low, high = found.card.sigma_range
        return measure(
            found,
            inputs.reported(args.data, args.draws),
            {TARGET: inputs.classifier(args.data, TARGET)},
            levels=[level for level in LEVELS if low <= level <= high],
            likenesses={"psnr": psnr},
        )

    found = cells.get(f"draws-{method.name}", settings, look)
    if found is None:
        return [NOT_RUN] * len(LEVELS)
    return [_told(found.get(f"{level:g}")) for level in LEVELS]


def _told(at: Mapping[str, float] | None) -> str:
    return "–" if at is None else f"{100 * at[f'accuracy_{TARGET}']:.1f} ({at['psnr']:.1f} dB)"
