"""What certify, predict and estimate share: settings, the facade made from them, the resuming command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from api_smoothing.cli.progress import Progress
from api_smoothing.cli.settings import Settings, resolve_settings

if TYPE_CHECKING:
    from api_smoothing import SmoothedAPI

#: Every setting of the facade; commands add those of their own question (radius, n, …).
FACADE: Final = (
    "provider",
    "model",
    "sigma",
    "denoiser",
    "labels",
    "alpha",
    "method",
    "noise",
    "seed",
    "size",
    "device",
    "budget_queries",
    "budget_usd",
    "cache",
)


def settings_of(args: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The merged settings; the bundled classifier is the default model of the default provider."""
    from dataclasses import replace

    settings = resolve_settings(args, names)
    if settings.provider == "torchvision" and settings.model is None:
        settings = replace(settings, model="cifar10")
    return settings


def open_api(settings: Settings, progress: Progress | None = None) -> SmoothedAPI:
    """The facade for these settings, reporting to `progress`."""
    if progress is not None:
        progress.say("loading …")
    from api_smoothing import Budget, SmoothedAPI

    return SmoothedAPI(
        settings.provider,
        model=settings.model,
        sigma=settings.sigma,
        denoiser=settings.denoiser,
        labels=settings.labels,
        alpha=settings.alpha,
        method=settings.method,
        noise=settings.noise,
        seed=settings.seed,
        device=settings.device,
        size=settings.size,
        budget=Budget(queries=settings.budget_queries, usd=settings.budget_usd),
        cache=settings.cache,
        observers=() if progress is None else (progress,),
    )


def how_to_resume(settings: Settings, argv: Sequence[str]) -> str:
    """What became of the answers so far, and the command that goes on from there."""
    again = f"api-smooth {shlex.join(argv)}"
    if settings.cache is False:
        return f"with --no-cache the answers are gone; start over with: {again}"
    return f"all answers are kept; resume with: {again}"


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"api-smooth: {' '.join(text.split())}", file=sys.stderr)
