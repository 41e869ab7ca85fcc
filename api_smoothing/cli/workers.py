"""The flags that have a run done by several processes: on a cluster, or as several accounts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_smoothing.cli.settings import Settings
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from api_smoothing.cluster.accounts import Account


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    """--ray and --accounts."""
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--ray",
        metavar="auto|local|ADDRESS",
        help="certify on a Ray cluster: the one running here, one for this command, or that of a head HOST:PORT",
    )
    group.add_argument(
        "--accounts",
        type=Path,
        metavar="FILE",
        help="ask as several accounts of the provider, whose quotas add up (.toml, see docs/scale.md)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does a run: the `engine` (None: this process), and the `accounts` it asks as."""

    engine: Any = None
    accounts: Sequence[Account] = ()

    @property
    def account(self) -> str | None:
        """The one that this process asks as."""
        return self.accounts[0].name if self.accounts else None

    def sharing(self, settings: Settings) -> Settings:
        """`settings` with what all accounts together may do. Raises ConfigurationError for two kinds of budget."""
        if not self.accounts:
            return settings
        rates = [account.rate for account in self.accounts]
        if all(rate is not None for rate in rates):
            settings = replace(settings, rate=sum(rate for rate in rates if rate is not None))
        owns = [account.usd for account in self.accounts if account.usd is not None]
        if not owns:
            return settings
        if settings.budget_usd is not None or settings.budget_queries is not None:
            raise ConfigurationError(
                "the accounts have budgets of their own: leave out --budget-usd and --budget-queries, or budget_usd"
            )
        return replace(settings, budget_usd=sum(owns))

    def first_account(self, settings: Settings) -> Settings:
        """`settings` of this process, which asks as the first account; its variables are set from now on."""
        if not self.accounts:
            return settings
        from api_smoothing.cluster.recipe import own_run

        first = self.accounts[0]
        os.environ.update(first.values())
        settings = replace(settings, options={**settings.options, **first.options})
        if first.rate is not None:
            settings = replace(settings, rate=first.rate)
        if first.usd is not None:
            settings = replace(settings, budget_usd=first.usd, run=own_run(str(settings.run), first))
        return settings


def workers_of(args: argparse.Namespace) -> Workers:
    """What the flags say. Raises ConfigurationError or MissingExtraError, before anything is loaded."""
    if args.ray is None and args.accounts is None:
        return Workers()
    from api_smoothing import cluster

    accounts = () if args.accounts is None else cluster.read_accounts(args.accounts)
    if args.ray is not None:
        return Workers(engine=cluster.Ray(args.ray, accounts=accounts), accounts=accounts)
    return Workers(engine=cluster.Processes(len(accounts), accounts=accounts), accounts=accounts)
