"""Images certified by many processes: of this machine, or of a Ray cluster.

Each image is certified by one worker, by the code that certifies it in one process, with the answers, budgets and turns
that all workers share in a folder of one machine or in a database. So its certificate is the same, and what was paid is
paid once, whichever worker ends when.

accounts     several accounts at one provider
recipe       how a worker makes the same SmoothedAPI
host         what runs in a worker
messages     what driver and workers say
engine       the interface of what starts workers; `processes` and `on_ray` are two
dispatch     who is handed what, and when again
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any

from api_smoothing.certify import Spec
from api_smoothing.cluster.accounts import Account, checked, read_accounts
from api_smoothing.cluster.dispatch import Dispatch
from api_smoothing.cluster.engine import Engine, Worker, engine_of
from api_smoothing.cluster.on_ray import Ray
from api_smoothing.cluster.processes import Processes
from api_smoothing.cluster.recipe import recipes
from api_smoothing.engine.lessons import Lessons
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import Later, Loaded
from api_smoothing.results import Certificate
from api_smoothing.smoothed import SmoothedAPI

__all__ = ["Account", "Engine", "Processes", "Ray", "Worker", "read_accounts", "work"]


def work(
    api: SmoothedAPI, choice: object, spec: Spec, question: Mapping[str, Any], lessons: Lessons | None
) -> Callable[[Iterator[Loaded | Later]], Generator[Certificate]]:
    """What certifies images by the workers of an engine, as `api` would. Raises ConfigurationError.

    `lessons` are those of the run, where its images teach one another.
    """
    engine = engine_of(choice)
    accounts = checked(engine.accounts)
    if accounts and api.made["account"] not in [account.name for account in accounts]:
        raise ConfigurationError(
            f"this process asks too: give SmoothedAPI account={accounts[0].name!r}, with that account's keys"
        )
    dispatch = Dispatch(
        engine,
        recipes(api, question, accounts),
        pays=partial(_pays, api, spec, limited=any(account.usd is not None for account in accounts)),
        tell=api.tell,
        lessons=lessons,
    )
    return dispatch.results


def _pays(api: SmoothedAPI, spec: Spec, images: int, *, limited: bool) -> bool:
    """Whether the budget of the run pays so many; one that each account has for itself is looked at by its worker."""
    return limited or api.session.pays(images, spec.most)
