"""From a user's settings to the parts they name, refusing in one line what cannot work."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from api_smoothing import adapters
from api_smoothing.adapters import registry
from api_smoothing.adapters.base import Adapter, AdapterCard, Answer, Label
from api_smoothing.adapters.labels.label_map import LabelMap, TopLabel, first_label, kinds_of
from api_smoothing.denoisers.adopted import UNKNOWN
from api_smoothing.denoisers.replicas import Replicas
from api_smoothing.denoisers.selection import select
from api_smoothing.errors import ConfigurationError, UnknownOption
from api_smoothing.home import home
from api_smoothing.precision import check_device, devices, kind_of
from api_smoothing.results import Budget

if TYPE_CHECKING:
    from torch import nn

    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.engine.storage import Storage

METHODS = ("auto", "sequential", "fixed", "clopper-pearson", "runner-up")
#: The side that images are brought to for a provider that names none: what photographic classifiers are made for.
PHOTOGRAPH = 224

NOISES = ("gaussian", "uniform", "laplace")


def check(*, sigma: float, alpha: float, method: str, noise: str, budget: Budget | None) -> None:
    """Refuse settings outside their ranges."""
    if not (math.isfinite(sigma) and 0 < sigma <= 10):
        raise ConfigurationError(
            f"sigma must be positive, in [0,1] pixel units, not {sigma:g}; 0.25 is usual"
        )
    if not 0 < alpha <= 0.1:
        raise ConfigurationError(f"alpha must be above 0 and at most 0.1, not {alpha:g}; 0.001 is usual")
    if method not in METHODS:
        raise ConfigurationError(f"unknown method {method!r}; use one of {', '.join(METHODS)}")
    if noise not in NOISES:
        raise ConfigurationError(f"unknown noise {noise!r}; use one of {', '.join(NOISES)}")
    if budget is not None:
        _check_budget(budget)


def check_sharing(prior: object, reuse: object) -> None:
    """Refuse what images cannot share."""
    if prior not in (None, "learn"):
        from api_smoothing.certify.prior import Prior

        if not isinstance(prior, Prior):
            raise ConfigurationError(f'prior must be None, "learn" or a certify.prior.Prior, not {prior!r}')
    if reuse not in (None, "ball"):
        raise ConfigurationError(f'reuse must be None or "ball", not {reuse!r}')


def _check_budget(budget: Budget) -> None:
    queries = budget.queries
    if queries is not None and (isinstance(queries, bool) or not isinstance(queries, int)):
        raise ConfigurationError(f"the budget in queries must be a whole number, not {queries!r}")
    for name in ("usd", "usd_per_day"):
        usd = getattr(budget, name)
        if usd is not None and not (isinstance(usd, int | float) and math.isfinite(usd)):
            raise ConfigurationError(f"the budget in {name} must be a finite number, not {usd!r}")
    for name in ("queries", "usd", "usd_per_day"):
        limit = getattr(budget, name)
        if limit is not None and limit < 0:
            raise ConfigurationError(f"the budget in {name} must not be negative, not {limit}")


def device(name: str, *, several: bool = False) -> str:
    """The torch device meant by `name`; "auto" is CUDA where there is one. Raises ConfigurationError.

    Where they are asked for, `several` of one model may be meant: "cuda:0,cuda:1" is itself, "cuda:all" all there are.
    """
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda:all" and torch.cuda.is_available():
        name = ",".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    names = devices(name)
    for one in names:
        check_device(one)
    if len(names) > 1:
        _check_several(names, several)
    return ",".join(names)


def _check_several(names: Sequence[str], several: bool) -> None:
    """Refuse devices whose answers could not be told apart, or would not be shared out."""
    if not several:
        raise ConfigurationError(f"this runs on one device; choose one of {', '.join(names)}")
    if len({*names}) < len(names) or not all(name.startswith("cuda:") for name in names):
        raise ConfigurationError(
            f"several devices are different CUDA cards, such as cuda:0,cuda:1, not {','.join(names)}"
        )
    kinds = sorted({kind_of(name).removeprefix("cuda ") for name in names})
    if len(kinds) > 1:
        raise ConfigurationError(
            f"{' and '.join(kinds)} round differently, so their answers must not be mixed; name cards of one model"
        )


def adapter(
    provider: object,
    *,
    model: str | Path | None,
    device: str,
    beside: Collection[str] = (),
    **options: Any,
) -> Adapter:
    """The adapter for a provider's name, an Adapter, an nn.Module or a callable.

    `beside` names the arguments that the caller takes itself, for the message about one that nobody takes.
    """
    names = devices(device)
    local = isinstance(provider, str) and _is_local(provider)
    if len(names) > 1 and not local:
        raise ConfigurationError(
            f"several devices are for a model in this process that is loaded by name; choose one of {', '.join(names)}"
        )
    if isinstance(provider, str):
        load = partial(adapters.load, provider, **options, **_given(model=model))
        try:
            return _replicated({name: load(device=name) for name in names}) if local else load()
        except UnknownOption as error:
            raise error.beside([*beside]) from None
    if isinstance(provider, Adapter):
        _refuse_options(provider, model, options)
        return provider
    from torch import nn

    from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter

    if model is not None:
        raise ConfigurationError("model= goes with a provider's name; here the provider is the model")
    if isinstance(provider, nn.Module):
        _refuse_unknown(ModuleAdapter, options, beside)
        return ModuleAdapter(provider, device=device, **options)
    if callable(provider):
        _refuse_unknown(CallableAdapter, options, beside)
        return CallableAdapter(provider, **options)
    raise ConfigurationError(
        f"provider is a {type(provider).__name__}; give a provider's name, an Adapter, an nn.Module or a callable"
    )


def _replicated(found: Mapping[str, Adapter]) -> Adapter:
    """The one adapter, or all of them as one."""
    if len(found) == 1:
        return next(iter(found.values()))
    from api_smoothing.adapters.local.adapter import ReplicatedAdapter

    return ReplicatedAdapter(found)


def denoiser(
    choice: str | Path | Denoiser | None,
    *,
    sigma: float,
    size: int | tuple[int, int] | None,
    card: AdapterCard,
    device: str,
) -> Denoiser | None:
    """The denoiser meant by `choice`, checked to cover `sigma` and the size of the images."""
    names = devices(device)
    if len(names) > 1 and not isinstance(choice, str | Path | None):
        raise ConfigurationError(
            f"several devices are for a denoiser that is loaded by name; choose one of {', '.join(names)}"
        )
    found = {
        name: select(
            choice,
            size=size,
            native_side=card.native_side or PHOTOGRAPH,
            sigma=sigma,
            device=name,
            surrogates=partial(_network, device=name),
        )
        for name in names
    }
    chosen = {name: one for name, one in found.items() if one is not None}
    return Replicas(chosen) if len(chosen) > 1 else next(iter(chosen.values()), None)


def _network(name: str, *, device: str) -> nn.Module:
    """The local classifier of that name, for a denoiser that is guided by one."""
    from api_smoothing.adapters.local import torchvision

    return torchvision.load(model=name, device=device).module


def size(
    choice: int | tuple[int, int] | None, chosen: Denoiser | None, card: AdapterCard
) -> int | tuple[int, int] | None:
    """What images are brought to: as asked; else what the denoiser is for, the model's own side, or PHOTOGRAPH.

    Without a denoiser they stay as they are.
    """
    if choice is not None or chosen is None:
        return choice
    if chosen.card.sizes:
        return chosen.card.sizes[0]
    return card.native_side or PHOTOGRAPH


def whole_side(choice: object, chosen: Denoiser | None, card: AdapterCard) -> int | None:
    """The side that does a photograph justice; None where the model, or the `choice` of a denoiser, sets another."""
    free = (
        choice is None
        or choice == "auto"
        or chosen is None
        or PHOTOGRAPH in (chosen.card.sizes or (PHOTOGRAPH,))
    )
    return PHOTOGRAPH if free and card.accepts != "tensor" and card.native_side is None else None


def denoiser_name(chosen: Denoiser) -> str:
    """`id@sha256`, shortened."""
    return f"{chosen.card.id}@{chosen.card.sha256[:16]}"


def epoch(name: str | None) -> str | None:
    """The name of a round of fresh votes. Raises ConfigurationError for one that names nothing."""
    if name is not None and not (
        isinstance(name, str) and name.strip() and name.isprintable() and len(name) <= 64
    ):
        raise ConfigurationError(f"epoch must be a name of 1 to 64 printable characters, not {name!r}")
    return name


def storage(store: str | Storage | None, cache: bool | str | Path) -> Storage:
    """What a session remembers by: `store` if it is one, the installation's folder for None, "memory", or the database
    of a postgresql:// URL.

    `cache` is the folder of the answers, True for the installation's own, False to keep none.
    """
    from api_smoothing.engine.storage import (
        FolderStorage,
        MemoryStorage,
        Storage,
        is_address,
        masked,
        open_database,
    )

    if store is None:
        folder = None if isinstance(cache, bool) else Path(cache)
        return FolderStorage(home(), cache=folder, keep=cache is not False)
    if cache is not True and (store, cache) != ("memory", False):
        raise ConfigurationError(
            "cache= is about the folder of the answers; leave it out where store= is given"
        )
    if isinstance(store, str):
        if is_address(store):
            return open_database(store)
        if store != "memory":
            raise ConfigurationError(
                f"unknown store {masked(store)!r}; use 'memory' or a postgresql:// URL, or leave it out for a folder"
            )
        return MemoryStorage()
    if not isinstance(store, Storage):
        raise ConfigurationError(
            f"store is a {type(store).__name__}; give 'memory' or a Storage, or leave it out"
        )
    return store


def check_cache(choice: bool | str | Path, adapter: Adapter, denoiser: Denoiser | None) -> None:
    """Refuse a folder for answers that cannot be kept."""
    from api_smoothing.engine.session import nameable

    if isinstance(choice, bool) or adapter.card.accepts != "png" or nameable(adapter.card, denoiser):
        return
    if denoiser is not None and not denoiser.card.named:
        raise ConfigurationError(
            "answers behind a denoiser whose code has no name cannot be kept: give denoisers.wrap a fingerprint=, "
            "or leave cache out"
        )
    if denoiser is not None and denoiser.compute == UNKNOWN:
        raise ConfigurationError(
            "answers behind a denoiser that does not tell its arithmetic cannot be kept: give it `compute`, such "
            "as 'fp32', or leave cache out"
        )
    raise ConfigurationError(
        "answers of a provider or denoiser without a fingerprint cannot be kept: give it one, or leave cache out"
    )


def workers(concurrency: int | Literal["auto"]) -> int | None:
    """How many requests may be under way at once; None leaves it to the engine."""
    if concurrency == "auto":
        return None
    if concurrency < 1:
        raise ConfigurationError(f"concurrency must be at least 1, not {concurrency}")
    return concurrency


def label_map(choice: LabelMap | str | Path | None, card: AdapterCard) -> LabelMap | None:
    """The map meant by `choice`, as it reads this provider. Raises ConfigurationError for one that does not fit."""
    found = LabelMap.load(choice) if isinstance(choice, str | Path) else choice
    if found is None:
        return None
    fitted = found.for_provider(card.name)
    _check_fit(fitted, card)
    return fitted


def _check_fit(labels: LabelMap, card: AdapterCard) -> None:
    """Refuse a map of other things than a feature with words of its own, such as SafeSearch, speaks of.

    Its classes would always seem absent, and a word that is in both by chance means something else.
    """
    declared = registry.find(card.name)
    if card.labels is None or declared is None or not declared.vocabulary or declared.filter is not None:
        return
    meant = {entry.owner for name in card.labels for entry in labels.find(Label(name=name))[1]}
    if unsaid := [name for name in labels.classes if name not in meant]:
        raise ConfigurationError(
            f"the label map {labels.name} does not fit this feature of {card.name}: nothing it says means "
            f"{unsaid[0]!r}; it says {', '.join(card.labels)}. Leave the map out, or use one of these words alone"
        )


def reader(labels: LabelMap | None, adapter: Adapter) -> Callable[[Answer], Hashable | None]:
    """How an answer becomes a vote. A model in this process has the order of its labels from its own scores."""
    if labels is None:
        return TopLabel(kinds_of(adapter.card.name)) if adapter.card.accepts == "png" else first_label
    return scored(labels, adapter) if labels.has_thresholds else labels


def reading(labels: LabelMap | None, adapter: Adapter) -> str | None:
    """Names how `reader` reads, where that is not simply the best label: `map@sha256`, shortened."""
    if labels is not None or adapter.card.accepts != "png":
        return map_name(labels)
    return kinds_of(adapter.card.name).reading


def map_name(labels: LabelMap | None) -> str | None:
    """`map@sha256`, shortened; None without a map."""
    return None if labels is None else f"{labels.name}@{labels.sha256[:16]}"


V = TypeVar("V")


def scored(read: Callable[[Answer], V], adapter: Adapter) -> Callable[[Answer], V]:
    """`read`, which holds scores to thresholds, refusing scores of which the adapter says that they are none."""
    doubt = getattr(adapter, "doubt", None)
    if doubt is None:
        return read

    def checked(answer: Answer) -> V:
        if reason := doubt(answer):
            raise ConfigurationError(f"no threshold can be held to what {adapter.card.name} says: {reason}")
        return read(answer)

    return checked


def _is_local(provider: str) -> bool:
    declared = registry.find(provider)
    return declared is not None and declared.local


def _given(**options: Any) -> dict[str, Any]:
    return {k: v for k, v in options.items() if v is not None}


def _refuse_unknown(kind: type, options: Collection[str], beside: Collection[str]) -> None:
    """Refuse an argument that neither the adapter of a model in this process takes, nor who makes it."""
    known = [*inspect.signature(kind).parameters][1:]
    for option in options:
        if option not in known:
            raise UnknownOption("a model of this process", option, [*known, *beside])


def _refuse_options(provider: Adapter, model: object, options: dict[str, Any]) -> None:
    extra = [*(["model"] if model is not None else []), *options]
    if extra:
        raise ConfigurationError(f"{extra[0]}= goes with a provider's name, not with a ready Adapter")
