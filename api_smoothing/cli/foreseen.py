"""What an estimate needs of the networks, as their cards tell it: neither weights nor torch, which takes seconds.

An estimate counts the answers that are kept, under names that tell in which arithmetic they were computed. Which one
that is here only torch knows; so each of those it may be is looked under, and the one with answers is meant. Where the
name takes the network itself, no kept answer is counted, and that is told.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from api_smoothing.adapters import AdapterCard
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.home import answers_folder, home

if TYPE_CHECKING:
    from api_smoothing.cli.settings import Settings

BUNDLED: Final = ("cifar10", 32)  # the default model of the local provider, and its side

_ARITHMETICS: Final = ("fp32", "bf16")  # what the CPU may compute in: see `precision`
_ACCELERATORS: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenDenoiser:
    """A denoiser of which there is the card alone."""

    card: DenoiserCard
    compute: str
    paths_per_query: int

    def __call__(self, *_: object) -> NoReturn:
        raise NotImplementedError("an estimate denoises nothing")

    path = __call__


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenModel:
    """A model of this process of which there is the card alone."""

    card: AdapterCard

    def label(self, *_: object) -> NoReturn:
        raise NotImplementedError("an estimate asks nobody")

    verdict = label


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What takes the place of the networks; `model` is None for a service, `denoiser` where there is none."""

    model: ForeseenModel | None
    denoiser: ForeseenDenoiser | None


def foresee(settings: Settings, *, native_side: int | None, kept: bool) -> tuple[Sequence[Foreseen], bool]:
    """The ways in which the networks may be named here, and whether kept answers are found by them.

    `native_side` is the side the model was made for, where it names one. `kept` says that there may be answers which
    are to be counted.
    """
    from api_smoothing.adapters import registry

    local = registry.provider(settings.provider).local
    usual = settings.device == "cpu" or (settings.device == "auto" and not (kept and _accelerated()))
    bundled = settings.model in (None, BUNDLED[0]) and not settings.options
    found, paths, exact = (None, 1, True) if settings.denoiser is None else _denoiser(settings, native_side)
    named = usual and exact and (bundled or not local)
    ways = [
        Foreseen(
            model=ForeseenModel(card=_bundled(compute) if bundled else _own(str(settings.model)))
            if local
            else None,
            denoiser=None
            if found is None
            else ForeseenDenoiser(card=found, compute=compute, paths_per_query=paths),
        )
        for compute in _ARITHMETICS[: 2 if kept and named else 1]
    ]
    return ways, named


def _denoiser(settings: Settings, native_side: int | None) -> tuple[DenoiserCard, int, bool]:
    """(its card; its paths; whether the card names it, and not what it is made of)."""
    from api_smoothing.denoisers import registry, samplers, selection
    from api_smoothing.engine.parts import PHOTOGRAPH

    assert settings.denoiser is not None
    side = native_side or PHOTOGRAPH
    of = {"size": settings.size, "sigma": settings.sigma, "native_side": side}
    name = selection.resolve(settings.denoiser, side=settings.size or side, sigma=settings.sigma)
    method, _ = samplers.split(name.partition("?")[2])
    paths = (method or {}).get("paths", 1)
    if registry.describe(name) is None:  # only loading tells for which σ and sides it is
        return DenoiserCard(id=name, sha256="", sigma_range=(0.0, math.inf), named=False), paths, False
    made = method is not None and method["method"] != "oneshot"
    return selection.foresee(name, **of), paths, not made  # type: ignore[arg-type, return-value]


def _own(model: str) -> AdapterCard:
    """The card of another model of this process, whose classes and weights are not looked at."""
    return AdapterCard(name=f"torchvision/{model}", fingerprint="", accepts="tensor")


def _bundled(compute: str) -> AdapterCard:
    """The card of the bundled classifier on the CPU, as `adapters.local.torchvision` makes it."""
    import json
    from importlib import resources

    text = (resources.files("api_smoothing.adapters.local") / "weights" / "cifar10.json").read_text("utf-8")
    return AdapterCard(
        name=f"torchvision/{BUNDLED[0]}",
        fingerprint=f"{BUNDLED[0]}@{json.loads(text)['sha256']}/{compute}/cpu",
        accepts="tensor",
        batch=256,
        max_labels=5,
        native_side=BUNDLED[1],
    )


def kept_answers(settings: Settings, *, of: str | None = None) -> bool:
    """Whether the folder of the answers holds any, `of` this provider if one is named; a database may."""
    if settings.store is not None:
        return True
    if settings.cache is False:
        return False
    folder = answers_folder(home()) if settings.cache is True else Path(settings.cache)
    if not folder.is_dir():
        return False
    from api_smoothing.engine.storage import FolderStorage

    with closing(FolderStorage(home(), cache=folder)) as storage:
        return storage.contents().answers > 0 if of is None else storage.has_answers_of(of)


def kept_budgets(settings: Settings) -> bool:
    """Whether something may have been spent already; where nothing has, an estimate has no use for the databases."""
    if settings.store is not None or settings.cache not in (True, False):
        return True
    return any((folder / "ledger.db").exists() for folder in (home(), answers_folder(home())))


def _accelerated() -> bool:
    """Whether "auto" may mean something other than the CPU."""
    return sys.platform == "win32" or any(Path(device).exists() for device in _ACCELERATORS)
