"""What becomes of a run that ends early: what is kept, and the command that goes on from there."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from api_smoothing import remote
from api_smoothing.cli.settings import Settings
from api_smoothing.cli.storage import open_storage
from api_smoothing.remote import is_remote
from api_smoothing.shown import is_hidden, shown

#: A value among the provider's options that must not be repeated in messages.
_SECRET: Final = re.compile(r"(\w*(?:key|secret|token|password)\w*)=[^,]*", re.IGNORECASE)


def run_name(settings: Settings, images: Sequence[str], *, about: str) -> str:
    """The run a budget is for when none is named: the same question about the same files.

    `about` holds what belongs to the question and is no setting: the command, the labels, the sandbox.

    So a command that is interrupted, or killed, and given again has one budget, not two.
    """
    question = {
        name: value
        for name, value in asdict(settings).items()
        if name not in ("budget_queries", "budget_usd", "budget_usd_day", "run", "cache", "device", "rate")
        and name not in ("store", "store_wait")
        and (value is not None or name not in ("prior", "reuse"))  # younger than the names of runs
    }
    named = sorted(image if is_remote(image) else str(Path(image).absolute()) for image in images)
    facts = [question, about, named]
    return f"command-{hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]}"


def how_to_resume(settings: Settings, argv: Sequence[str], *, answered: bool = True) -> str:
    """What became of the answers so far, if there are any, and the command that goes on from there."""
    command = " ".join(map(_quoted, ["api-smooth", *without_secrets(argv)]))
    if not answered:
        return f"nothing was asked; resume with: {command}"
    if settings.cache is False:
        return f"with --no-cache the answers are gone; start over with: {command}"
    return f"all answers are kept; resume with: {command}"


def without_secrets(argv: Sequence[str]) -> list[str]:
    """`argv` with what must not be repeated masked, and every other word as it is."""
    before = ["", *argv[:-1]]
    return [
        _SECRET.sub(r"\1=***", word)
        if previous == "--options" or word.startswith("--options=")
        else _masked(word)
        for previous, word in zip(before, argv, strict=False)
    ]


def _masked(word: str) -> str:
    """`word` without the password of a database's URL, or the signature of a file's."""
    from api_smoothing.engine.storage import is_address, masked

    if is_remote(word):
        return remote.masked(word)
    flag, equals, url = word.partition("=") if word.startswith("--store=") else ("", "", word)
    return f"{flag}{equals}{masked(url)}" if is_address(url) else word


def _quoted(word: str) -> str:
    """A word as a shell takes it; what is not seen as `$'…'`, which bash, zsh and ksh read."""
    if not any(map(is_hidden, word)):
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{shown(plain)}'"


def is_limited(settings: Settings) -> bool:
    """Whether any budget is a limit."""
    limits = (settings.budget_queries, settings.budget_usd, settings.budget_usd_day)
    return any(limit is not None and limit != math.inf for limit in limits)


def what_is_left(settings: Settings, account: str = "") -> str:
    """What became of the run's budget, in words that follow "the budget"; `account` has the days."""
    spent = _spent(settings, account)
    left: list[tuple[float, str]] = []
    if settings.budget_queries is not None:
        rest = settings.budget_queries - spent.queries
        left.append((rest, f"{max(0, rest):,} queries"))
    for limit, usd, when in (
        (settings.budget_usd, spent.usd, ""),
        (settings.budget_usd_day, spent.usd_today, " for today, until 00:00 UTC,"),
    ):
        if limit is not None and limit != math.inf:
            left.append((limit - usd, f"${max(0.0, limit - usd):.4f}{when}"))
    if not left or any(rest <= 0 for rest, _ in left):
        day = settings.budget_usd_day
        if day is not None and day <= spent.usd_today:
            return "of the day is exhausted until 00:00 UTC; --budget-usd-day sets a larger one"
        return "is exhausted"
    return f"has {' and '.join(told for _, told in left)} left, too little for another image: raise it"


def dollars_left(settings: Settings, account: str, *, usd_each: float) -> float:
    """The most that the budgets allow to be spent still, in queries of `usd_each`."""
    spent = _spent(settings, account)
    queries = math.inf if settings.budget_queries is None else settings.budget_queries - spent.queries
    dollars = [
        limit - usd
        for limit, usd in ((settings.budget_usd, spent.usd), (settings.budget_usd_day, spent.usd_today))
        if limit is not None
    ]
    return max(0.0, min([queries * usd_each, *dollars]))


def with_the_number(argv: Sequence[str], asked: Settings, settings: Settings) -> list[str]:
    """`argv` with the number of queries that was taken where none was `asked` for: what goes on has the same rule."""
    if asked.n != "auto" or settings.n is None:
        return list(argv)
    return _with_flag(argv, "-n", str(settings.n))


def retrying(argv: Sequence[str]) -> list[str]:
    """`argv` with the flag that asks failed queries again, before what stands after "--"."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    return [*argv[:end], *(() if "--retry-failures" in argv[:end] else ["--retry-failures"]), *argv[end:]]


def with_larger_budget(
    settings: Settings,
    argv: Sequence[str],
    *,
    fewest: int = 0,
    usd_each: float = 0.0,
    account: str = "",
) -> list[str]:
    """`argv` with a budget that buys something.

    That is twice the old one, or twice what the run has spent, where others or earlier commands have spent more:
    a run keeps its name, and the same budget would still be spent. `fewest` more queries, of `usd_each`, fit into
    it in any case. Where the day of the `account` is what has ended, the budget stays: the command goes on tomorrow.
    """
    spent = _spent(settings, account)
    again = list(argv)
    if settings.budget_usd_day is not None and settings.budget_usd_day - spent.usd_today < max(
        usd_each, 1e-6
    ):
        return again
    if settings.budget_queries is not None:
        most = max(2 * max(settings.budget_queries, spent.queries), spent.queries + fewest, 1)
        again = _with_flag(again, "--budget-queries", str(most))
    if settings.budget_usd is not None and settings.budget_usd != math.inf:
        dollars = max(2 * max(settings.budget_usd, spent.usd), spent.usd + fewest * usd_each) or 1.0
        again = _with_flag(again, "--budget-usd", _rounded_up(dollars))
    return again


class _Spent(NamedTuple):
    queries: int = 0
    usd: float = 0.0
    usd_today: float = 0.0


def _spent(settings: Settings, account: str = "") -> _Spent:
    """What is charged to the run of `settings`, by whomever, and today to the `account`, by all of its runs."""
    from api_smoothing.results import Budget

    if settings.run is None:
        return _Spent()
    with (
        open_storage(settings) as storage,
        closing(
            storage.budget(Budget(), run=settings.run, provider="", micro_usd=0, account=account)
        ) as found,
    ):
        queries, micro_usd = found.spent()
        return _Spent(queries, micro_usd / 1e6, found.today() / 1e6)


def _rounded_up(dollars: float) -> str:
    """To whole micro-dollars, in which budgets are kept."""
    return f"{math.ceil(dollars * 1e6 - 1e-3) / 1e6:.6f}".rstrip("0").rstrip(".")


def _with_flag(argv: Sequence[str], flag: str, value: str) -> list[str]:
    """`argv` with `flag` set to `value`: last, but before what stands after "--"."""
    out: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest = [word, *words]
        elif word == flag:
            next(words, None)
        elif not word.startswith(f"{flag}="):
            out.append(word)
    return [*out, flag, value, *rest]
