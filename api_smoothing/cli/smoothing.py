"""What certify, predict and estimate share: settings, the facade made from them, the resuming command."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.progress import Progress
from api_smoothing.cli.settings import Settings, resolve_settings
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from api_smoothing import SmoothedAPI
    from api_smoothing.adapters import Adapter

#: A value among the provider's options that must not be repeated in messages.
_SECRET: Final = re.compile(r"(\w*(?:key|secret|token|password)\w*)=[^,]*", re.IGNORECASE)

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
    "run",
    "rate",
    "options",
    "cache",
)


def add_sandbox_flag(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag --sandbox."""
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="ask a server on this machine that speaks the provider's protocol, free of charge",
    )


def settings_of(args: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The merged settings; the bundled classifier is the default model of the default provider."""
    from dataclasses import replace

    settings = resolve_settings(args, names)
    if settings.provider == "torchvision" and settings.model is None:
        settings = replace(settings, model="cifar10")
    return settings


@contextmanager
def open_api(
    settings: Settings, progress: Progress | None = None, *, sandbox: bool = False, sends: bool = True
) -> Iterator[SmoothedAPI]:
    """The facade for these settings, reporting to `progress`; with `sandbox`, on a server started for it.

    `sends` False leaves the server out: an estimate asks nobody.
    """
    if progress is not None:
        progress.say("loading …")
    from api_smoothing import Budget, SmoothedAPI

    with _options(settings, sandbox=sandbox, sends=sends) as options:
        budget = Budget(queries=settings.budget_queries, usd=settings.budget_usd, run=settings.run)
        with SmoothedAPI(
            settings.provider,
            sigma=settings.sigma,
            denoiser=settings.denoiser,
            labels=settings.labels,
            alpha=settings.alpha,
            method=settings.method,
            noise=settings.noise,
            seed=settings.seed,
            device=settings.device,
            size=settings.size,
            budget=budget,
            cache=settings.cache,
            observers=() if progress is None else (progress,),
            **options,
        ) as api:
            yield api


@contextmanager
def open_adapter(settings: Settings, *, sandbox: bool = False) -> Iterator[Adapter]:
    """The provider alone, without noise or denoiser."""
    from api_smoothing.engine import parts

    with _options(settings, sandbox=sandbox, sends=True) as options:
        yield parts.adapter(settings.provider, device=parts.device(settings.device), **options)


@contextmanager
def _options(settings: Settings, *, sandbox: bool, sends: bool) -> Iterator[dict[str, Any]]:
    """What goes to the provider's loader."""
    chosen = {"model": settings.model, **settings.options}
    if settings.rate is not None:
        chosen["rate"] = settings.rate
    if not sandbox:
        yield chosen
        return
    from api_smoothing.sandbox import PROVIDERS, Sandbox

    if settings.provider not in PROVIDERS:
        raise ConfigurationError(
            f"there is no sandbox of {settings.provider}; --sandbox goes with {', '.join(PROVIDERS)}"
        )
    given = {name: value for name, value in chosen.items() if value is not None}
    if not sends:
        model = "sandbox-json" if settings.provider == "http" else None
        yield {"model": model, **given, "endpoint": "http://127.0.0.1:9", "endpoint_id": "sandbox"}
        return
    with Sandbox(settings.provider) as server:
        yield {"model": None, **given, **server.options()}  # what the user set for the service must not win


def run_name(settings: Settings, images: Sequence[str], *, about: str) -> str:
    """The run a budget is for when none is named: the same question about the same files.

    `about` holds what belongs to the question and is no setting: the command, the labels, the sandbox.

    So a command that is interrupted, or killed, and given again has one budget, not two.
    """
    question = {
        name: value
        for name, value in asdict(settings).items()
        if name not in ("budget_queries", "budget_usd", "run", "cache", "device", "rate")
    }
    facts = [question, about, sorted(str(Path(image).absolute()) for image in images)]
    return f"command-{hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]}"


def how_to_resume(settings: Settings, argv: Sequence[str], *, spent: bool = False) -> str:
    """What became of the answers so far, and the command that goes on from there.

    A budget that is `spent` is doubled in it: a run keeps its name, so the same budget would still be spent.
    """
    again = [_SECRET.sub(r"\1=***", word) for word in argv]
    if spent and settings.budget_queries is not None:
        again = _with_flag(again, "--budget-queries", str(max(1, 2 * settings.budget_queries)))
    if spent and settings.budget_usd is not None:
        again = _with_flag(again, "--budget-usd", f"{2 * settings.budget_usd or 1:g}")
    command = f"api-smooth {shlex.join(again)}"
    if settings.cache is False:
        return f"with --no-cache the answers are gone; start over with: {command}"
    return f"all answers are kept; resume with: {command}"


def _with_flag(argv: Sequence[str], flag: str, value: str) -> list[str]:
    """`argv` with `flag` set to `value`, in place where it is there already."""
    out, skip = [], False
    for word in argv:
        if skip:
            skip = False
        elif word == flag or word.startswith(f"{flag}="):
            skip = word == flag
        else:
            out.append(word)
    return [*out, flag, value]


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"api-smooth: {' '.join(text.split())}", file=sys.stderr)
