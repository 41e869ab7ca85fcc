"""What the commands that ask a provider share: settings, and the facade or the adapter made from them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.foreseen import Foreseen, ForeseenModel, foresee, kept_answers, kept_budgets
from api_smoothing.cli.options import as_meant, refuse_unknown_option
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.refusals import refuse_early
from api_smoothing.cli.settings import Settings, resolve_settings
from api_smoothing.cli.stopping import tell
from api_smoothing.cli.storage import open_storage
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing import Budget, CostEstimate, SmoothedAPI
    from api_smoothing.adapters import Adapter
    from api_smoothing.adapters.base import AdapterCard
    from api_smoothing.adapters.labels.label_map import LabelMap
    from api_smoothing.engine.estimate.pipeline import Pipeline

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
    "budget_usd_day",
    "run",
    "rate",
    "options",
    "cache",
    "store",
    "store_wait",
)

_UNCOUNTED: Final = "kept answers are not counted: which ones fit only loading the networks tells"

#: Where a sandbox would listen that is not started.
NOWHERE: Final = "http://127.0.0.1:9"


def add_sandbox_flag(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag --sandbox."""
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="ask a server on this machine that speaks the provider's protocol, free of charge",
    )


def add_retry_flag(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag --retry-failures."""
    parser.add_argument(
        "--retry-failures",
        action="store_true",
        help="ask queries again that finally failed before; otherwise they count as they did",
    )


def settings_of(args: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The merged settings, with the provider's default model where it declares one."""
    from api_smoothing.adapters import registry

    settings = resolve_settings(args, names)
    declared = registry.provider(settings.provider)
    if declared.local and getattr(args, "rate", None) is not None:  # set for all commands it means services
        refuse_unknown_option(settings.provider, "rate")
    if settings.model is None:
        settings = replace(settings, model=declared.default_model)
    return settings


@contextmanager
def open_api(
    settings: Settings,
    progress: Progress | None = None,
    *,
    sandbox: bool = False,
    retry_failures: bool = False,
    epoch: str | None = None,
    account: str | None = None,
    goes_on: bool = False,
) -> Iterator[SmoothedAPI]:
    """The facade for these settings, reporting to `progress`; with `sandbox`, on a server started for it.

    Raises CredentialsError, before anything that takes long, where there are none and a service will surely be asked:
    it has no answers here, and no run `goes_on` that may be complete.
    """

    def asks(card: AdapterCard) -> bool:
        return not (goes_on or kept_answers(settings, of=card.provider))

    with _options(settings, sandbox=sandbox, sends=False) as options:
        refuse_early(settings, options, asks=asks)
    if progress is not None:
        progress.say("loading …")
    with (
        _options(settings, sandbox=sandbox, sends=True) as options,
        _facade(
            settings, options, retry_failures=retry_failures, epoch=epoch, account=account, progress=progress
        ) as api,
    ):
        yield api


def estimates(
    settings: Settings, images: Sequence[str] | int, *, sandbox: bool, radii: Sequence[float] = ()
) -> CostEstimate:
    """What these images, or so many, would cost. Asks nobody, and loads neither a network nor torch."""
    more: dict[str, Any] = {} if settings.n0 is None else {"n0": settings.n0}
    with _options(settings, sandbox=sandbox, sends=False) as options:
        side = refuse_early(settings, options)
        kept = not isinstance(images, int) and kept_answers(settings)
        ways, named = foresee(settings, native_side=side, kept=kept)
        if isinstance(images, int):
            count: int | None = images
        else:
            count = None if kept and named else _readable(images)
        more |= {"radius": settings.radius, "radii": radii, "n": settings.n}
        found = []
        if count is not None and not (kept or kept_budgets(settings)):
            pipeline = _pipeline(settings, options, ways[0])
            found.append(pipeline.estimate(count, affordable=partial(_whole, pipeline), **more))
            ways = ()
        for way in ways:
            with _facade(settings, options, way=way) as api:
                found.append(api.estimate(images if count is None else count, **more))
    best = min(found, key=lambda estimate: estimate.queries_expected)
    if named or isinstance(images, int):
        return best
    return replace(best, assumptions=[_UNCOUNTED, *best.assumptions])


def _readable(images: Sequence[str]) -> int:
    """How many images there are. Raises ImageError for the first that cannot be read."""
    from api_smoothing.decode import decode

    return len([*map(decode, images)])


def _whole(pipeline: Pipeline) -> int | None:
    """The queries of a budget of which nothing was spent."""
    from api_smoothing.engine.storage.in_memory_budget import Limits

    return Limits(pipeline.budget, micro_usd=pipeline.price.micro_usd).left(0, 0)


def _pipeline(settings: Settings, options: Mapping[str, Any], way: Foreseen) -> Pipeline:
    """What the facade would make its estimates from, without it: where nothing is kept, nothing is opened."""
    from api_smoothing.adapters import registry
    from api_smoothing.engine import parts
    from api_smoothing.engine.estimate.pipeline import Pipeline

    sigma, alpha, method, noise = float(settings.sigma), settings.alpha, settings.method, settings.noise
    budget = _budget(settings)
    parts.check(sigma=sigma, alpha=alpha, method=method, noise=noise, budget=budget)
    parts.check_sharing(settings.prior, settings.reuse)
    given = {name: value for name, value in options.items() if value is not None}
    model = registry.load(settings.provider, **given) if way.model is None else way.model
    denoiser = parts.denoiser(way.denoiser, sigma=sigma, size=settings.size, card=model.card, device="cpu")
    parts.label_map(settings.labels, model.card)
    return Pipeline(
        card=model.card,
        denoiser=denoiser,
        size=parts.size(settings.size, denoiser, model.card),
        sigma=sigma,
        alpha=alpha,
        method=method,
        noise=noise,
        given=budget,
    )


@contextmanager
def _facade(
    settings: Settings,
    options: Mapping[str, Any],
    *,
    retry_failures: bool = False,
    epoch: str | None = None,
    account: str | None = None,
    progress: Progress | None = None,
    way: Foreseen | None = None,
) -> Iterator[SmoothedAPI]:
    """The facade itself; with `way`, on the cards of the networks in place of them."""
    from api_smoothing import SmoothedAPI

    provider: str | ForeseenModel = settings.provider
    if way is not None and way.model is not None:
        provider, options = way.model, {}
    made = partial(
        SmoothedAPI,
        provider,
        sigma=settings.sigma,
        denoiser=settings.denoiser if way is None else way.denoiser,
        labels=settings.labels,
        alpha=settings.alpha,
        method=settings.method,
        noise=settings.noise,
        seed=settings.seed,
        device=settings.device if way is None else "cpu",
        size=settings.size,
        budget=_budget(settings),
        retry_failures=retry_failures,
        epoch=epoch,
        account=account,
        prior=settings.prior,
        reuse=settings.reuse,
        observers=() if progress is None else (progress,),
        **options,
    )
    if settings.store is None:
        with made(cache=settings.cache) as api:
            yield api
        return
    with open_storage(settings) as storage, made(store=storage) as api:
        yield api


def has_budget(settings: Settings) -> bool:
    """Whether a run has a budget of its own, be it that there is no limit. None for a day says nothing of the run."""
    day = settings.budget_usd_day
    return (settings.budget_queries, settings.budget_usd) != (None, None) or day not in (None, math.inf)


def _budget(settings: Settings) -> Budget | None:
    """The budget, if one was set or named."""
    from api_smoothing import Budget

    if not has_budget(settings) and settings.run is None:
        return None
    usd, usd_per_day = (
        None if amount == math.inf else amount for amount in (settings.budget_usd, settings.budget_usd_day)
    )
    return Budget(queries=settings.budget_queries, usd=usd, usd_per_day=usd_per_day, run=settings.run)


@contextmanager
def open_adapter(settings: Settings, *, sandbox: bool = False, sends: bool = True) -> Iterator[Adapter]:
    """The provider alone, without noise or denoiser; `sends` as for `open_api`."""
    from api_smoothing.adapters import registry
    from api_smoothing.engine import parts

    local = registry.provider(settings.provider).local  # of another nothing runs here, and torch stays away
    with _options(settings, sandbox=sandbox, sends=sends) as options:
        device = parts.device(settings.device, several=True) if local else "cpu"
        yield parts.adapter(settings.provider, device=device, **options)


def card_of(settings: Settings, *, sandbox: bool) -> AdapterCard:
    """The card of a service; torch is left out."""
    from api_smoothing.adapters import registry

    with _options(settings, sandbox=sandbox, sends=False) as options:
        given = {name: value for name, value in options.items() if value is not None}
        return registry.load(settings.provider, **given).card


@contextmanager
def _options(settings: Settings, *, sandbox: bool, sends: bool) -> Iterator[dict[str, Any]]:
    """What goes to the provider's loader."""
    from api_smoothing.adapters import registry

    chosen = {"model": settings.model, **as_meant(settings.provider, settings.options)}
    if (
        settings.rate is not None and not registry.provider(settings.provider).local
    ):  # nothing limits what runs here
        chosen["rate"] = settings.rate
    if chosen.get("only") == "map":
        chosen["only"] = _label_map(settings)
    if not sandbox:
        yield chosen
        return
    from api_smoothing.sandbox import Sandbox

    server = Sandbox(settings.provider)
    given = {name: value for name, value in chosen.items() if value is not None}
    if not sends:
        yield server.rehearsing(given, endpoint=NOWHERE)
        return
    with server:
        yield server.rehearsing(given)


def _label_map(settings: Settings) -> LabelMap:
    """What answers are read by, for a filter of the same labels."""
    from api_smoothing.adapters.labels.label_map import LabelMap

    if settings.labels is None:
        raise ConfigurationError("only=map is a filter of the labels in a label map; name it with --labels")
    return LabelMap.load(settings.labels)


def add_yes_flag(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag --yes."""
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do not ask, at a terminal, before a run that may cost more than 1 dollar",
    )


def complain(text: str) -> None:
    """One line on standard error."""
    tell(f"api-smooth: {shown(text)}")
