"""How another process makes the same SmoothedAPI: by names, with the storage that all share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.cluster.accounts import Account
from api_smoothing.engine.session import nameable
from api_smoothing.engine.storage import Shareable, Storage
from api_smoothing.engine.storage.whereabouts import boot
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Budget
from api_smoothing.smoothed import SmoothedAPI
from api_smoothing.version import __version__

#: Variables that say where this program keeps its own files.
_OWN: Final = ("API_SMOOTH_HOME", "API_SMOOTH_MACHINE")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Recipe:
    """Everything a worker is made of. It holds keys: nothing shows it, and it is sent to workers alone.

    `arguments` are those of SmoothedAPI, `question` those of `certify_many`, `opener` opens the storage and `place` is
    what that must see. `variables` are set where the worker runs. `expected` is what its SmoothedAPI must say of
    itself, `machine` the only one on which it can be reached what is asked. A `pure` worker asks nobody outside.
    """

    arguments: Mapping[str, Any]
    question: Mapping[str, Any]
    opener: Callable[[], Storage]
    place: tuple[object, ...]
    variables: Mapping[str, str]
    expected: Mapping[str, Any]
    machine: str | None
    account: str | None
    pure: bool
    version: str = __version__

    @property
    def device(self) -> str:
        """Where its networks run: "auto", "cpu", "cuda", …"""
        return str(self.arguments["device"])

    @contextmanager
    def opened(self) -> Iterator[SmoothedAPI]:
        """The SmoothedAPI, in the worker's process. Raises ConfigurationError where it would not be the same."""
        if self.version != __version__:
            raise ConfigurationError(
                f"a worker has api-smooth {__version__}, this run {self.version}: install the same on all machines"
            )
        if self.machine is not None and self.machine != boot():
            raise ConfigurationError(
                "a server on this machine cannot be asked by workers of other machines: leave the sandbox out, or name "
                "an address that all of them reach"
            )
        os.environ.update(self.variables)
        storage = self.opener() if not self.place or self._sees() else None
        if not isinstance(storage, Storage):
            raise _no_store()
        with closing(storage), SmoothedAPI(**self.arguments, store=storage, observers=()) as api:
            if (found := said_of(api)) != self.expected:
                names = [name for name in self.expected if self.expected[name] != found.get(name)]
                if self.account is not None and {"provider", "model"} & {*names}:
                    raise ConfigurationError(
                        f"the account {self.account} reaches another classifier ({found['model']}); where it is the "
                        "same behind another address, give all accounts one endpoint_id among their options"
                    )
                raise ConfigurationError(
                    f"a worker would not ask the same, its {names[0]} is another: have the same files, variables and "
                    "pricing.toml on all machines"
                )
            yield api

    def _sees(self) -> bool:
        """Whether the folders are those of the driver, on its machine."""
        if self.place[0] != boot():
            return False
        storage = self.opener()
        with closing(storage):
            return isinstance(storage, Shareable) and storage.place() == self.place


def recipes(api: SmoothedAPI, question: Mapping[str, Any], accounts: Sequence[Account] = ()) -> list[Recipe]:
    """Recipes for the workers of `api`: one for each of the accounts, or one. Raises ConfigurationError."""
    made, card = api.made, api.card
    _check(api)
    assert isinstance(api.storage, Shareable)
    arguments = {
        name: value for name, value in made.items() if name not in ("store", "cache", "prior", "reuse")
    }
    for name in ("model", "denoiser", "labels"):
        arguments[name] = _absolute(arguments[name])
    budget = replace(api.budget, run=api.session.run)
    declared = registry.provider(str(made["provider"]))
    recipe = Recipe(
        arguments={**arguments, "budget": budget, "prior": made["prior"]},
        question=question,
        opener=api.storage.opener(),
        place=api.storage.place(),
        variables={**_variables(_OWN), **_variables(_names(declared, api))},
        expected=said_of(api),
        machine=boot() if card.place in ("sandbox", "loopback") else None,
        account=made["account"],
        pure=declared.local,
    )
    if not accounts:
        return [recipe]
    return [_of_account(recipe, account, api.budget) for account in accounts]


def said_of(api: SmoothedAPI) -> dict[str, Any]:
    """What must be the same of all workers: every setting of a run, and the price of a query."""
    return {**api.settings(), "price": api.usd_per_query}


def _of_account(recipe: Recipe, account: Account, whole: Budget) -> Recipe:
    arguments = {**recipe.arguments, **account.options, "account": account.name}
    if account.rate is not None:
        arguments["rate"] = account.rate
    if account.usd is not None:
        run = own_run(str(recipe.arguments["budget"].run).removesuffix(f"#{recipe.account}"), account)
        arguments["budget"] = Budget(usd=account.usd, usd_per_day=whole.usd_per_day, run=run)
    return replace(
        recipe,
        arguments=arguments,
        variables={**recipe.variables, **account.values()},
        account=account.name,
    )


def own_run(run: str, account: Account) -> str:
    """The name of the ledger of one account, where each has a budget of its own."""
    return f"{run}#{account.name}"


def _check(api: SmoothedAPI) -> None:
    """Refuse what another process cannot make, or cannot know."""
    made = api.made
    if not isinstance(made["provider"], str) or not isinstance(made["denoiser"], str | Path | None):
        raise ConfigurationError(
            "several processes load provider and denoiser by name: name them, or leave engine out"
        )
    if not isinstance(made["labels"], str | Path | LabelMap | None):
        raise ConfigurationError("several processes load the label map by name, or are given a LabelMap")
    if made["reuse"] is not None:
        raise ConfigurationError(
            'with reuse="ball" an image may wait for any other: leave it out, or leave engine out'
        )
    pays = not registry.provider(made["provider"]).local  # what one worker has paid for, others must find
    if not isinstance(api.storage, Shareable) or (pays and not api.storage.keeps):
        raise _keeps_nothing()
    if not nameable(api.card, api.denoiser):
        raise ConfigurationError(
            "answers of a provider or denoiser without a fingerprint cannot be shared by several processes: give it "
            "one, or leave engine out"
        )
    limits = (api.budget.queries, api.budget.usd)
    if api.session.run is None and any(limit is not None for limit in limits):
        raise ConfigurationError(
            "several processes share the budget of a run by its name: give Budget(run=…) one"
        )


def _keeps_nothing() -> ConfigurationError:
    return ConfigurationError(
        "several processes share the answers that are kept: leave cache and store as they are, or name a database"
    )


def _no_store() -> ConfigurationError:
    return ConfigurationError(
        "workers run on several machines, and answers, budgets and turns lie in a folder of one: name a database that "
        "all reach, --store postgresql://… (docs/store.md)"
    )


def _absolute(value: Any) -> Any:
    """A file's whole path: workers may stand in another folder."""
    return str(Path(value).absolute()) if isinstance(value, str | Path) and Path(value).exists() else value


def _names(declared: Any, api: SmoothedAPI) -> list[str]:
    """The variables by which the provider's own tools find account and keys."""
    told = declared.sandbox.environment("", "") if declared.sandbox is not None else {}
    families = tuple({f"{name.partition('_')[0]}_" for name in told})
    own = getattr(api.adapter, "variables", ())
    return [*own, *(name for name in os.environ if families and name.startswith(families))]


def _variables(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
